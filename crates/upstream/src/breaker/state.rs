//! The breaker's state and how it changes: no waiting, no lock.

use tokio::time::Instant;

use crate::attempt::after;
use crate::window::Window;
use crate::{BreakerConfig, LastFailure};
use std::time::Duration;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer came to its clean end.
    Succeeded,
    /// The upstream is at fault.
    Failed,
    /// It answered, and the caller is at fault: it lives, but nothing is said of how well.
    Answered,
    /// The caller went away.
    Unknown,
}

/// Who was let through when.
#[derive(Debug)]
pub(super) struct Pass {
    /// The state's at that time. What became of an attempt counts only in its own generation.
    generation: u64,
    probe: bool,
}

/// An answer to one who wants to get through.
#[derive(Debug)]
pub(super) enum Entry {
    Through(Pass),
    Wait {
        /// None: until the probe that is under way is back.
        until: Option<Instant>,
        /// Because the upstream asked for it, not because it fails.
        paused: bool,
    },
}

#[derive(Debug)]
pub(super) struct State {
    config: BreakerConfig,
    mode: Mode,
    /// Counts changes of mode.
    generation: u64,
    /// The calls that ended since it closed, the failed ones marked.
    window: Window,
    /// Until then others' failures are reason enough to open at the first of our own.
    suspected: Option<Instant>,
    pub(super) last_failure: Option<LastFailure>,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Closed,
    /// Once `until` has come, the next one probes.
    Open {
        until: Instant,
        paused: bool,
    },
    Probing {
        paused: bool,
    },
}

impl State {
    pub(super) fn new(config: BreakerConfig) -> Self {
        let window = Window::new(config.window);
        Self { config, mode: Mode::Closed, generation: 0, window, suspected: None, last_failure: None }
    }

    pub(super) fn status(&self, now: Instant) -> &'static str {
        match self.mode {
            Mode::Closed => "closed",
            Mode::Open { until, .. } if now < until => "open",
            Mode::Open { .. } | Mode::Probing { .. } => "half_open",
        }
    }

    /// When somebody may be let through, and whether it is a pause that the upstream asked for: what [`Self::enter`] would say, without
    /// entering. None when it would let through.
    pub(super) fn closed(&self, now: Instant) -> Option<(Option<Instant>, bool)> {
        match self.mode {
            Mode::Open { until, paused } if now < until => Some((Some(until), paused)),
            Mode::Probing { paused } => Some((None, paused)),
            Mode::Closed | Mode::Open { .. } => None,
        }
    }

    pub(super) fn enter(&mut self, now: Instant) -> Entry {
        match self.mode {
            Mode::Closed => Entry::Through(Pass { generation: self.generation, probe: false }),
            Mode::Open { until, paused } if now < until => Entry::Wait { until: Some(until), paused },
            Mode::Open { paused, .. } => {
                self.change(Mode::Probing { paused });
                Entry::Through(Pass { generation: self.generation, probe: true })
            }
            Mode::Probing { paused } => Entry::Wait { until: None, paused },
        }
    }

    /// A probe whose head came closes the breaker: its body may last for minutes. True if it did.
    pub(super) fn head_came(&mut self, pass: &mut Pass) -> bool {
        let probing = matches!(self.mode, Mode::Probing { .. }) && self.generation == pass.generation;
        if probing {
            self.change(Mode::Closed);
            pass.generation = self.generation;
        }
        probing
    }

    /// How long it is open now, if this has opened it.
    pub(super) fn settle(&mut self, pass: &Pass, outcome: Outcome, now: Instant) -> Option<Duration> {
        if self.generation != pass.generation {
            return None;
        }
        if matches!(outcome, Outcome::Succeeded | Outcome::Answered) {
            self.suspected = None;
        }
        match (self.mode, outcome) {
            (Mode::Closed, Outcome::Succeeded) => self.window.now().calls += 1,
            (Mode::Closed, Outcome::Failed) => {
                let count = self.window.now();
                count.calls += 1;
                count.marked += 1;
                let recent = self.window.sum();
                #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
                let too_many = recent.marked as f64 >= self.config.failures * recent.calls as f64;
                let enough = recent.calls >= u64::from(self.config.minimum);
                // The probe closed it with its head and then broke: nothing has worked yet.
                let probe_broke = pass.probe && recent.marked == recent.calls;
                let suspected = self.suspected.is_some_and(|until| now < until);
                if probe_broke || suspected || (enough && too_many) {
                    return Some(self.open(now));
                }
            }
            (Mode::Probing { .. }, Outcome::Succeeded | Outcome::Answered) => self.change(Mode::Closed),
            (Mode::Probing { .. }, Outcome::Failed) => return Some(self.open(now)),
            // The next one probes.
            (Mode::Probing { paused }, Outcome::Unknown) => self.change(Mode::Open { until: now, paused }),
            (Mode::Closed, Outcome::Answered | Outcome::Unknown) | (Mode::Open { .. }, _) => {}
        }
        None
    }

    /// Somebody else found that it fails.
    pub(super) fn suspect(&mut self, now: Instant, duration: Duration) {
        self.suspected = Some(after(now, duration.min(self.config.cool_down)));
    }

    /// The upstream wants to be left alone. Counts whoever was told so: it is about now. Only a probe that is under way is let
    /// finish first. True if nobody knew.
    pub(super) fn pause(&mut self, now: Instant, pause: Duration) -> bool {
        let end = after(now, pause);
        let is_news = matches!(self.mode, Mode::Closed) && !pause.is_zero();
        match self.mode {
            _ if pause.is_zero() => {}
            Mode::Closed => self.change(Mode::Open { until: end, paused: true }),
            Mode::Open { until, paused } => self.mode = Mode::Open { until: until.max(end), paused },
            Mode::Probing { .. } => {}
        }
        is_news
    }

    fn open(&mut self, now: Instant) -> Duration {
        self.suspected = None;
        self.change(Mode::Open { until: after(now, self.config.cool_down), paused: false });
        self.config.cool_down
    }

    fn change(&mut self, mode: Mode) {
        self.mode = mode;
        self.generation += 1;
        self.window.clear();
    }
}

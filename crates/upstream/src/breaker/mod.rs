//! Not asking an upstream that fails, or that asked for a pause.
//!
//! Closed, it counts what becomes of attempts over a window. Too many failures open it: nobody is let through. After a while, or
//! when the pause that the upstream asked for is over, one attempt probes, and what becomes of it decides.

mod hint;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

pub use hint::Hint;
use hint::Listener;
use http::StatusCode;
pub(crate) use state::Outcome;
use state::{Entry, Pass, State};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tower::Service;

use crate::around::call;
use crate::attempt::{Answer, Attempt, Queue, after};
use crate::{Clock, Config, Failure, LastFailure, Observer, Verdict};

/// The longest pause that an upstream is granted. One that asks for an hour is asked again after this, by one call.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Lets an attempt through or not, and takes note of what becomes of it.
pub(crate) async fn guard<S>(breaker: Arc<Breaker>, attempt: Attempt, next: S) -> Result<Answer, Failure>
where
    S: Service<Attempt, Response = Answer, Error = Failure>,
{
    let mut ticket = breaker.admit(attempt.journey.deadline).await?;
    ticket.observer.clone_from(&attempt.journey.call.observer);
    let mut result = call(next, attempt).await;
    match &mut result {
        Ok(answer) if answer.verdict == Verdict::Fine => {
            ticket.head_came();
            answer.response.body.ride(ticket);
        }
        Ok(answer) => ticket.settle_verdict(answer.verdict),
        Err(failure) => ticket.settle_failure(failure),
    }
    result
}

/// One upstream's breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// How long a call waits for the end of a pause: as long as its own retry might. Zero where calls are not sent again.
    patience: Duration,
    state: Mutex<State>,
    /// Somebody may get through now who could not before.
    changed: Notify,
    queue: Queue,
    listener: OnceLock<Listener>,
}

impl Breaker {
    pub(crate) fn new(config: &Config) -> Self {
        let patience = if config.retry.attempts_max > 1 { config.retry.cap } else { Duration::ZERO };
        Self {
            patience,
            state: Mutex::new(State::new(config.breaker.clone())),
            changed: Notify::new(),
            queue: Queue::default(),
            listener: OnceLock::new(),
        }
    }

    /// `closed`, `open` or `half_open`.
    pub(crate) fn status(&self) -> &'static str {
        self.state().status(Instant::now())
    }

    pub(crate) fn last_failure(&self) -> Option<LastFailure> {
        self.state().last_failure.clone()
    }

    /// How long a call made now would be refused for because the breaker is open. A pause that the upstream asked for is none of
    /// this: its limit is reached, and it is no less healthy for that.
    pub(crate) fn closed_for(&self) -> Option<Duration> {
        let now = Instant::now();
        let (until, paused) = self.state().closed(now)?;
        (!paused).then(|| until.map_or(Duration::from_secs(1), |until| until - now))
    }

    /// Somebody else has learnt this. Goes no further.
    pub(crate) fn hint(&self, hint: Hint) {
        let mut state = self.state();
        match hint {
            Hint::Failing(duration) => state.suspect(Instant::now(), duration),
            Hint::Paused(duration) => {
                state.pause(Instant::now(), duration.min(PAUSE_MAX));
            }
        }
    }

    /// Tells this one what is learnt here, from now on. The first stands.
    pub(crate) fn listen(&self, listener: Box<dyn Fn(Hint) + Send + Sync>) {
        // An upstream outlives a reload: it has its listener already.
        let _ = self.listener.set(Listener(listener));
    }

    fn tell(&self, hint: Option<Hint>) {
        if let (Some(hint), Some(listener)) = (hint, self.listener.get()) {
            (listener.0)(hint);
        }
    }

    /// Waits for the end of a short pause; otherwise decides at once.
    async fn admit(self: &Arc<Self>, deadline: Instant) -> Result<Ticket, Failure> {
        let patience = after(Instant::now(), self.patience).min(deadline);
        let mut waiting = None;
        loop {
            let changed = self.changed.notified();
            let now = Instant::now();
            let (until, paused) = match self.state().enter(now) {
                Entry::Through(pass) => {
                    return Ok(Ticket { breaker: self.clone(), pass, settled: false, observer: None });
                }
                Entry::Wait { until, paused } => (until, paused),
            };
            if waiting.is_none() {
                waiting = self.queue.enter();
            }
            // A probe that is under way takes as long as it takes; ask again in a second.
            let retry_after = until.map_or(Duration::from_secs(1), |until| until - now);
            let end = until.unwrap_or(patience);
            if !paused || waiting.is_none() || now >= patience || end > patience {
                return Err(if paused {
                    Failure::Paused { retry_after }
                } else {
                    Failure::BreakerOpen { retry_after }
                });
            }
            let _ = timeout_at(end, changed).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for an attempt that was let through, until its body has ended. Dropped before, the caller went away, which says nothing of
/// the upstream.
#[derive(Debug)]
pub(crate) struct Ticket {
    breaker: Arc<Breaker>,
    pass: Pass,
    settled: bool,
    observer: Option<Arc<dyn Observer>>,
}

impl Ticket {
    /// The head of an answer came: enough to let the others through again, though not yet a success.
    fn head_came(&mut self) {
        if self.breaker.state().head_came(&mut self.pass) {
            self.breaker.changed.notify_waiters();
        }
    }

    /// The attempt, or its body, failed.
    pub(crate) fn settle_failure(self, failure: &Failure) {
        let (outcome, pause) = match failure {
            Failure::Unreachable
            | Failure::Broken
            | Failure::Unreadable
            | Failure::TimedOut(Clock::Connect | Clock::Headers | Clock::Idle) => (Outcome::Failed, None),
            Failure::Refused(refusal) => {
                let asks =
                    matches!(refusal.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
                let outcome =
                    if refusal.status.is_server_error() { Outcome::Failed } else { Outcome::Answered };
                (outcome, refusal.retry_after.filter(|_| asks))
            }
            Failure::TimedOut(Clock::Total)
            | Failure::NoPlace
            | Failure::BreakerOpen { .. }
            | Failure::Paused { .. }
            | Failure::TooLong => (Outcome::Unknown, None),
        };
        let what = (outcome == Outcome::Failed || pause.is_some()).then(|| failure.to_string());
        self.settle(outcome, pause, what);
    }

    /// The answer says this of itself.
    pub(crate) fn settle_verdict(self, verdict: Verdict) {
        let (outcome, pause, what) = match verdict {
            Verdict::Fine => (Outcome::Succeeded, None, None),
            Verdict::Refused => (Outcome::Answered, None, None),
            Verdict::Busy { retry_after } => (Outcome::Answered, retry_after, None),
            Verdict::Unavailable { retry_after } => {
                (Outcome::Failed, retry_after, Some("the answer says that it is unavailable"))
            }
            Verdict::Failed => (Outcome::Failed, None, Some("the answer says that it failed")),
        };
        self.settle(outcome, pause, what.map(str::to_owned));
    }

    /// What became of it; how long the upstream wants to be left alone; in what words.
    pub(crate) fn settle(mut self, outcome: Outcome, pause: Option<Duration>, what: Option<String>) {
        let mut state = self.breaker.state();
        if let Some(what) = what {
            state.last_failure = Some(LastFailure { what, at: SystemTime::now() });
        }
        let now = Instant::now();
        let opened = state.settle(&self.pass, outcome, now).map(Hint::Failing);
        let pause = pause.map(|pause| pause.min(PAUSE_MAX));
        let paused = pause.filter(|pause| state.pause(now, *pause)).map(Hint::Paused);
        drop(state);
        self.settled = true;
        self.breaker.changed.notify_waiters();
        self.breaker.tell(opened);
        self.breaker.tell(paused);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            let gave_up = self.observer.as_ref().is_some_and(|observer| observer.gave_up());
            let outcome = if gave_up { Outcome::Failed } else { Outcome::Unknown };
            let mut state = self.breaker.state();
            if gave_up {
                let what = "no answer for as long as was waited".to_owned();
                state.last_failure = Some(LastFailure { what, at: SystemTime::now() });
            }
            state.settle(&self.pass, outcome, Instant::now());
            drop(state);
            self.breaker.changed.notify_waiters();
        }
    }
}

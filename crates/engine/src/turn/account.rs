//! What is on record of a turn's calls: the ledger's rows, the list of attempts, and what the store should know before a call is
//! sent.

use std::sync::Arc;
use std::time::Duration;

use chat::{
    Attempt, AttemptOutcome, AttemptReport, Effect, ErrorCode, LedgerRow, Progress, ProviderError, Timestamp,
    Usage,
};

use super::{Active, Life};
use crate::call::Call;
use crate::catalog::Assistant;
use crate::observe::log_failure;

/// Numbers the turn's calls and keeps their rows until the store has them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    next: u32,
    pub(super) all: Vec<LedgerRow>,
    /// The calls that were made, whatever became of them, with their time.
    pub(super) made: Vec<(Arc<Assistant>, Timestamp)>,
}

impl Life {
    /// A call is dropped because another one was quicker.
    pub(super) fn note_loser(&mut self, loser: &mut Active) {
        self.note_untold(loser);
        let loser = &*loser;
        loser.call.ended(AttemptOutcome::HEDGED.as_str(), loser.call.status());
        if loser.call.is_asked {
            self.job.thread.in_doubt();
        }
        if loser.call.is_under_way() {
            self.may_have_acted(Effect::Possible);
            self.enter(&loser.call, "hedged".to_owned(), loser.call.facts.usage.clone(), false);
        }
        self.attempt(
            &loser.call,
            AttemptOutcome::HEDGED,
            loser.call.status(),
            loser.call.duration(),
            loser.call.facts.usage.clone(),
        );
    }

    /// An attempt at the call at `index` failed, and another follows.
    pub(super) fn note_retry(&mut self, index: usize, report: &AttemptReport, usage: Option<Usage>) {
        let Some(active) = self.active.get_mut(index) else { return };
        self.job.running.write(|log| active.writing.again(log));
        self.told += 1;
        active.number = self.told;
        let (assistant, at) = (Arc::clone(&active.call.assistant), active.call.at);
        self.put_retry(&assistant, at, report, usage);
        self.note_in_flight();
    }

    /// The same of a call that is dropped: what it told last is not lost with it.
    pub(super) fn note_untold(&mut self, active: &mut Active) {
        for (report, usage) in active.call.untold() {
            self.put_retry(&Arc::clone(&active.call.assistant), active.call.at, &report, usage);
        }
    }

    fn put_retry(
        &mut self,
        assistant: &Assistant,
        at: Timestamp,
        report: &AttemptReport,
        usage: Option<Usage>,
    ) {
        if report.failure.was_sent() && !report.unsent {
            let outcome = report.failure.code().as_str().to_owned();
            let row = self.job.row(assistant, at, outcome, usage.clone(), false);
            self.ledger.enter(row);
        }
        let step = Progress::step("retry")
            .with("assistant", assistant.name.as_str())
            .with("code", report.failure.code().as_str())
            .with("retry_in_ms", Attempt::millis(report.retry_in));
        self.attempts.push(Attempt {
            assistant: assistant.name.clone(),
            provider: assistant.provider.name.clone(),
            outcome: AttemptOutcome::Failed(report.failure.code()),
            status: report.status,
            duration_ms: Attempt::millis(report.duration),
            usage,
        });
        self.job.running.write(|log| log.progress(step));
        self.may_have_acted(report.failure.effect());
    }

    pub(super) fn may_have_acted(&mut self, effect: Effect) {
        if effect == Effect::Possible {
            self.effect = effect;
        }
    }

    /// A call failed for good.
    pub(super) fn note_failure(&mut self, active: &mut Active, error: &ProviderError) {
        self.note_untold(active);
        let active = &*active;
        // A clock, or a bound of our own, knows of no status; the head may have come all the same.
        let status = error.status.or_else(|| active.call.status());
        let usage = error.usage.clone().or_else(|| active.call.facts.usage.clone());
        self.may_have_acted(if active.call.has_text { Effect::Possible } else { error.failure.effect() });
        let is_told = active.call.is_told();
        if !is_told {
            active.call.ended(error.failure.code().as_str(), status);
            log_failure(self.job.running.id, &active.call.assistant, error);
        }
        if error.was_sent() && !is_told {
            self.enter(
                &active.call,
                error.failure.code().as_str().to_owned(),
                usage.clone(),
                active.call.has_text,
            );
        }
        if active.call.is_asked {
            self.job.thread.failed(error);
        }
        let outcome = AttemptOutcome::Failed(error.failure.code());
        let duration = if error.was_sent() { active.call.duration() } else { Duration::ZERO };
        if !is_told {
            self.attempt(&active.call, outcome, status, duration, usage);
        }
        self.note_in_flight();
    }

    pub(super) fn attempt(
        &mut self,
        call: &Call,
        outcome: AttemptOutcome,
        status: Option<u16>,
        duration: Duration,
        usage: Option<Usage>,
    ) {
        self.attempts.push(Attempt {
            assistant: call.assistant.name.clone(),
            provider: call.assistant.provider.name.clone(),
            outcome,
            status,
            duration_ms: Attempt::millis(duration),
            usage,
        });
    }

    pub(super) fn enter(&mut self, call: &Call, outcome: String, usage: Option<Usage>, answered: bool) {
        let row = self.job.row(&call.assistant, call.at, outcome, usage, answered);
        self.ledger.enter(row);
    }

    /// Puts calls on record that were lost between being under way and being entered: code that panics drops what it holds.
    pub(super) fn enter_lost(&mut self) {
        for (assistant, at) in std::mem::take(&mut self.ledger.made) {
            let runs = self.active.iter().any(|active| Arc::ptr_eq(&active.call.assistant, &assistant));
            let entered = self.ledger.all.iter().any(|row| row.assistant == assistant.name && row.at == at);
            if !runs && !entered {
                let outcome = ErrorCode::Internal.as_str().to_owned();
                let answered =
                    self.author.as_ref().is_some_and(|(author, _)| Arc::ptr_eq(author, &assistant));
                let row = self.job.row(&assistant, at, outcome, None, answered);
                self.ledger.enter(row);
            }
        }
    }

    /// Tells the recorder what the store should know if the process ended now.
    pub(super) fn note_in_flight(&mut self) {
        if !self.job.recorder.notes_calls() {
            self.release();
            return;
        }
        let mut rows = Vec::with_capacity(self.active.len());
        for (number, active) in (self.ledger.next..).zip(&self.active) {
            let outcome = LedgerRow::INTERRUPTED.to_owned();
            let row = self.job.row(&active.call.assistant, active.call.at, outcome, None, false);
            rows.push(LedgerRow { number, ..row });
        }
        let note = self.job.recorder.calls(&self.ledger.all, rows, &self.attempts);
        for active in &mut self.active {
            active.note = note;
        }
        self.release();
    }

    /// Lets those calls be sent that the store knows of by now.
    pub(super) fn release(&mut self) {
        for active in &mut self.active {
            if active.note.is_none_or(|note| self.job.recorder.has_noted(note)) {
                active.call.noted();
            }
        }
    }
}

impl Ledger {
    fn enter(&mut self, mut row: LedgerRow) {
        row.number = self.next;
        self.next += 1;
        self.all.push(row);
    }
}

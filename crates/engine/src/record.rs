//! What is written of a turn, and when: its acceptance, a checkpoint at least once a second while text comes, its end exactly once.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chat::{
    Attempt, Checkpoint, Content, ErrorCode, LedgerRow, MessageId, StoreError, TenantId, ThreadUpdate,
    Timestamp, Turn, TurnEnd, TurnError, TurnId, TurnMessage, TurnStatus, UpstreamIds,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Sleep;
use tracing::{error, warn};

use crate::call::Facts;
use crate::catalog::Assistant;
use crate::doubt;
use crate::engine::Inner;
use crate::lookup;
use crate::running::{Running, Stop};

/// How long text may wait for its checkpoint: with the time that a commit takes, well below the second that is promised.
const CHECKPOINT_AFTER: Duration = Duration::from_millis(400);
/// How many event numbers a checkpoint sets aside: a turn that has used them up waits for the next checkpoint.
pub(crate) const RESERVED_SEQ: u64 = 1_000_000;
/// How often the end is tried before the readers are told of it although the store has not taken it yet.
const END_TRIES_BEFORE_TELLING: u32 = 4;
/// How often it is looked whether the one who has taken a turn over has ended it, and for how long.
const TAKEN_OVER_LOOK: Duration = Duration::from_millis(200);
const TAKEN_OVER_MAX: Duration = Duration::from_secs(30);
/// The longest pause between two tries to record an end.
const END_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Writes one turn.
pub(crate) struct Recorder {
    inner: Arc<Inner>,
    tenant: TenantId,
    id: TurnId,
    owner: Arc<String>,
    reply_id: MessageId,
    stored: bool,
    /// The idempotency key of a turn that is not kept.
    unstored_key: Option<String>,
    due: Option<Pin<Box<Sleep>>>,
    writing: Option<(BoxFuture<'static, Result<(), StoreError>>, Mark)>,
    kept: Mark,
    calls: Calls,
    /// The last note of calls that was asked for, and the last that was written, or could not be.
    note: u64,
    noted: u64,
    /// What the call whose text stands told of itself, as JSON.
    upstream: String,
}

/// How far something is written.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    seq: u64,
    rows: usize,
    reserved: u64,
    note: u64,
}

/// The turn's calls as the store should know them.
#[derive(Debug, Default)]
struct Calls {
    ended: Vec<LedgerRow>,
    in_flight: Vec<LedgerRow>,
    attempts: Vec<Attempt>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("turn", &self.id).finish_non_exhaustive()
    }
}

impl Recorder {
    pub(crate) fn new(inner: Arc<Inner>, running: &Running, unstored_key: Option<String>) -> Self {
        Self {
            inner,
            tenant: running.tenant.clone(),
            id: running.id,
            owner: running.owner.clone().unwrap_or_default(),
            reply_id: running.reply_id,
            stored: running.stored,
            unstored_key,
            due: None,
            writing: None,
            kept: Mark { reserved: RESERVED_SEQ, ..Mark::default() },
            calls: Calls::default(),
            note: 0,
            noted: 0,
            upstream: String::new(),
        }
    }

    /// The reply, as the turn shows it.
    pub(crate) fn message(&self, content: Content, created_at: Timestamp) -> TurnMessage {
        TurnMessage { id: self.reply_id, content, created_at }
    }

    /// Something was written to the log.
    pub(crate) fn news(&mut self) {
        if self.stored && self.due.is_none() {
            self.due = Some(Box::pin(tokio::time::sleep(CHECKPOINT_AFTER)));
        }
    }

    /// Whether calls are noted at all.
    pub(crate) fn notes_calls(&self) -> bool {
        self.stored
    }

    /// Calls have ended or are to be sent: gives the number of the note of them, to ask [`Self::has_noted`] for. None where none is
    /// made: the first call of a turn needs no note, it is implied by the acceptance.
    pub(crate) fn calls(
        &mut self,
        ended: &[LedgerRow],
        in_flight: Vec<LedgerRow>,
        attempts: &[Attempt],
    ) -> Option<u64> {
        if !self.stored || (ended.is_empty() && in_flight.len() < 2 && attempts.is_empty()) {
            return None;
        }
        self.calls = Calls { ended: ended.to_vec(), in_flight, attempts: attempts.to_vec() };
        self.due = Some(Box::pin(tokio::time::sleep(Duration::ZERO)));
        self.note = self.note.saturating_add(1);
        Some(self.note)
    }

    /// Whether this note is written, or could not be: the turn goes on without a store, too.
    pub(crate) fn has_noted(&self, note: u64) -> bool {
        self.noted >= note
    }

    /// The call whose text stands has told this of itself so far.
    pub(crate) fn facts(&mut self, facts: &Facts) {
        if self.stored {
            let ids = &facts.upstream;
            let known = serde_json::json!({
                "request_id": ids.request_id,
                "conversation_id": ids.conversation_id,
                "message_id": ids.message_id,
                "model": facts.model,
                "usage": facts.usage,
            });
            self.upstream = known.to_string();
        }
    }

    /// A call has made this thread: nobody else is to see it in the provider's own list, whatever becomes of the turn. Written beside
    /// the turn, which does not wait for it.
    pub(crate) fn own_thread(&self, assistant: &Assistant, thread: String) {
        let inner = Arc::clone(&self.inner);
        let (tenant, provider) = (self.tenant.clone(), assistant.provider.name.clone());
        let upstream_id = assistant.upstream_id.clone();
        self.inner.tasks.spawn(async move {
            let mut pause = Duration::from_millis(50);
            while let Err(cause) = inner.store.own_thread(&tenant, &provider, &upstream_id, &thread).await {
                warn!(provider.name = %provider, error = %cause, "whose a thread is could not be kept, trying again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = pause.saturating_mul(2).min(END_PAUSE_MAX),
                    () = inner.closed.cancelled() => return,
                }
            }
        });
    }

    /// Whether there is an event number left to give out.
    pub(crate) fn has_room(&self, running: &Running) -> bool {
        // A piece makes a handful of events at the most.
        !self.stored || running.read(chat::EventLog::last_seq).saturating_add(16) < self.kept.reserved
    }

    /// Writes checkpoints when they are due; resolves when one is written. Dropping the future loses nothing.
    pub(crate) async fn keep(&mut self, running: &Running) {
        loop {
            if let Some((writing, mark)) = &mut self.writing {
                let (result, mark) = (writing.await, *mark);
                self.writing = None;
                self.written(result, mark, running);
                return;
            }
            match &mut self.due {
                Some(due) => due.await,
                None => std::future::pending().await,
            }
            self.due = None;
            self.begin(running);
        }
    }

    fn begin(&mut self, running: &Running) {
        let (slice, last_seq) = running.read(|log| (log.slice_after(self.kept.seq), log.last_seq()));
        let reserved_seq = last_seq.saturating_add(RESERVED_SEQ);
        let mark =
            Mark { seq: last_seq, rows: self.calls.ended.len(), reserved: reserved_seq, note: self.note };
        let checkpoint = Checkpoint {
            slice,
            after_seq: self.kept.seq,
            reserved_seq,
            last_seq,
            ledger: self.calls.ended.get(self.kept.rows..).unwrap_or_default().to_vec(),
            in_flight: self.calls.in_flight.clone(),
            attempts: serde_json::to_string(&self.calls.attempts).unwrap_or_default(),
            upstream: self.upstream.clone(),
        };
        let (inner, tenant, id) = (Arc::clone(&self.inner), self.tenant.clone(), self.id);
        let owner = Arc::clone(&self.owner);
        let writing = async move { inner.store.checkpoint(&tenant, id, &owner, checkpoint).await };
        self.writing = Some((writing.boxed(), mark));
    }

    fn written(&mut self, result: Result<(), StoreError>, mark: Mark, running: &Running) {
        self.noted = mark.note;
        match result {
            Ok(()) => self.kept = mark,
            // Erased: whatever comes is nobody's any more.
            Err(StoreError::NoTurn) => running.stop(Stop::Cancel),
            Err(StoreError::Fenced) => running.stop(Stop::Fenced),
            Err(cause) => {
                warn!(turn.id = %self.id, error = %cause, "a checkpoint could not be written, the turn goes on");
                self.news();
            }
        }
    }

    /// Waits for the checkpoint that is being written, if one is, also where it is what has panicked.
    pub(crate) async fn finish_writing(&mut self, running: &Running) {
        self.due = None;
        if let Some((writing, mark)) = self.writing.take()
            && let Ok(result) = AssertUnwindSafe(writing).catch_unwind().await
        {
            self.written(result, mark, running);
        }
    }

    /// Records the end, tells the readers, and gives the turn's place free.
    pub(crate) async fn end(
        mut self,
        running: &Arc<Running>,
        turn: Turn,
        thread: ThreadUpdate,
        rows: Vec<LedgerRow>,
        free_idempotency: bool,
    ) {
        if let Some((writing, mark)) = self.writing.take() {
            let result = writing.await;
            self.written(result, mark, running);
        }
        let Self { inner, tenant, id, owner, stored, unstored_key, kept, .. } = self;
        let turn = Arc::new(turn);
        if stored {
            let (mut log, log_text_is_reply) =
                running.read(|log| (log.slice_ended(), !log.has_replacement()));
            if log_text_is_reply {
                log.text = String::new();
            }
            let ledger = rows.get(kept.rows..).unwrap_or_default().to_vec();
            let end = TurnEnd {
                turn: turn.as_ref().clone(),
                log,
                log_text_is_reply,
                thread,
                ledger,
                free_idempotency,
                owner: owner.to_string(),
            };
            // Boxed: with all that may go wrong it is long, and every end, also of what is not kept, would be moved with room for it.
            Box::pin(record_end(&inner, &tenant, running, &turn, end)).await;
        } else {
            inner.unstored.add(rows);
            if let Some(key) = unstored_key.filter(|_| free_idempotency)
                && inner.store.free_unstored(&tenant, id, &key).await.is_err()
            {
                doubt::free(&inner, &tenant, (id, key), None);
            }
            tell(running, &turn);
        }
        running.settled.cancel();
        if stored || running.readers() == 0 {
            inner.registry.remove(id);
        }
    }
}

/// Tries until the store has the end, and tells the readers: at once when it is recorded, after a while all the same.
async fn record_end(inner: &Inner, tenant: &TenantId, running: &Running, turn: &Arc<Turn>, end: TurnEnd) {
    let mut tries: u32 = 0;
    let mut pause = Duration::from_millis(50);
    loop {
        match inner.store.end_turn(tenant, end.clone()).await {
            Ok(()) | Err(StoreError::NoTurn) => break,
            Err(StoreError::Fenced) => return taken_over(inner, tenant, running, turn, end).await,
            Err(StoreError::Damaged(cause)) => {
                error!(turn.id = %turn.id, error = %cause, "the store refuses the end of a turn: it is recorded as failed");
                let (end, log) = reduced(running, end);
                return record_refused(inner, tenant, running, end, log).await;
            }
            Err(cause) => {
                tries = tries.saturating_add(1);
                if tries == END_TRIES_BEFORE_TELLING {
                    error!(turn.id = %turn.id, error = %cause, "the end of a turn could not be recorded, trying on");
                    tell(running, turn);
                }
                if inner.closed.is_cancelled() {
                    // The next start records an end; those who read here are not left without one.
                    break;
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(END_PAUSE_MAX);
            }
        }
    }
    tell(running, turn);
}

/// Records the end that is left of one that the store will never take. Where it does not take that either the turn ends here alone,
/// so that nobody waits for it; what is in the store is looked at again as a turn that nobody runs.
async fn record_refused(
    inner: &Inner,
    tenant: &TenantId,
    running: &Running,
    end: TurnEnd,
    mut log: chat::EventLog,
) {
    let turn = Arc::new(end.turn.clone());
    let mut pause = Duration::from_millis(50);
    loop {
        match inner.store.end_turn(tenant, end.clone()).await {
            Ok(()) | Err(StoreError::NoTurn) => break,
            Err(StoreError::Unavailable(_) | StoreError::InDoubt(_)) if !inner.closed.is_cancelled() => {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(END_PAUSE_MAX);
            }
            Err(cause) => {
                error!(turn.id = %turn.id, error = %cause, "no end of a turn could be recorded: it is given up");
                inner.membership.look_for_all();
                break;
            }
        }
    }
    if !running.read(chat::EventLog::is_ended) {
        // The text that readers have is taken back.
        log.end(Arc::clone(&turn));
        running.adopt(turn, log);
    }
}

/// An end without anything that came from outside, in place of one that the store refuses, and its log.
fn reduced(running: &Running, mut end: TurnEnd) -> (TurnEnd, chat::EventLog) {
    let turn = &mut end.turn;
    turn.status = TurnStatus::Failed;
    turn.message = None;
    turn.sources = Vec::new();
    turn.attempts = Vec::new();
    turn.upstream = UpstreamIds::default();
    turn.usage = None;
    turn.model = None;
    turn.finish_reason = None;
    turn.error =
        Some(TurnError::new(ErrorCode::Internal, "the gateway's store could not keep the turn's end"));
    let mut log = chat::EventLog::started(running.snapshot());
    log.jump_above(running.read(chat::EventLog::last_seq));
    log.say_again();
    end.log = log.slice_ended();
    end.log_text_is_reply = false;
    if end.thread != ThreadUpdate::Untouched {
        end.thread = ThreadUpdate::InDoubt;
    }
    for row in &mut end.ledger {
        row.usage = None;
    }
    (end, log)
}

/// The turn is not this process's any more under the name that it was accepted by: the end is the one that whoever has it now has
/// recorded, or is about to. Calls that only this process knows of are put on record all the same.
async fn taken_over(inner: &Inner, tenant: &TenantId, running: &Running, turn: &Arc<Turn>, end: TurnEnd) {
    warn!(turn.id = %turn.id, "another process has taken the turn over: its end stands");
    let adopting = tokio::time::timeout(TAKEN_OVER_MAX, end_of_other(inner, tenant, end));
    match inner.closed.run_until_cancelled(adopting).await {
        Some(Ok(Some((turn, log)))) => running.adopt(turn, log),
        Some(Ok(None)) => tell(running, turn),
        _ => {
            inner.membership.look_for_all();
            tell(running, turn);
        }
    }
}

/// The end that another process has given the turn; none when the one that is at hand is recorded, or the turn is gone.
async fn end_of_other(
    inner: &Inner,
    tenant: &TenantId,
    mut end: TurnEnd,
) -> Option<(Arc<Turn>, chat::EventLog)> {
    loop {
        match inner.store.turn(tenant, end.turn.id).await {
            Ok(stored) if stored.turn.status.is_end() => {
                inner.unstored.add(end.ledger);
                return lookup::restore(stored).ok();
            }
            // It was this process itself, under the name that it has now: nobody else ends the turn.
            Ok(stored) if stored.owner == *inner.membership.owner() => {
                end.owner = stored.owner;
                if inner.store.end_turn(tenant, end.clone()).await.is_ok() {
                    return None;
                }
            }
            Err(StoreError::NoTurn) => {
                inner.unstored.add(end.ledger);
                return None;
            }
            _ => {}
        }
        tokio::time::sleep(TAKEN_OVER_LOOK).await;
    }
}

/// Writes the end to the log, once.
pub(crate) fn tell(running: &Running, turn: &Arc<Turn>) {
    running.set_snapshot(Arc::clone(turn));
    running.write(|log| {
        if !log.is_ended() {
            log.end(Arc::clone(turn));
        }
    });
}

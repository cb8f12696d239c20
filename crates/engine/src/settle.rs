//! Settling what a process that is gone has left running: each turn gets its one end.

use chat::{
    ErrorCode, EventLog, LedgerRow, ThreadUpdate, Timestamp, TurnEnd, TurnError, TurnMessage, TurnStatus,
    Unsettled,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::engine::Engine;
use crate::record::RESERVED_SEQ;
use crate::{Refused, lookup};

/// How many turns are settled at once: enough to share a commit, few enough for a store with a bounded queue.
const AT_ONCE: usize = 64;

impl Engine {
    /// Settles the turns that were running when the process before this one ended: each becomes `incomplete` or `failed` with the
    /// text that had been kept. Says how many there were.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn settle(&self) -> Result<usize, Refused> {
        let left = self.0.maintenance.unsettled(std::slice::from_ref(&self.0.owner)).await?;
        let count = left.len();
        let all = stream::iter(left).map(|unsettled| self.settle_one(unsettled));
        all.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(count)
    }

    async fn settle_one(&self, unsettled: Unsettled) -> Result<(), Refused> {
        let tenant = unsettled.tenant.clone();
        let id = unsettled.stored.turn.id;
        let end = end_of(unsettled)?;
        tracing::info!(turn.id = %id, status = end.turn.status.as_str(), "settled a turn that was left running");
        Ok(self.0.store.end_turn(&tenant, end).await?)
    }
}

/// The end of a turn whose process is gone.
fn end_of(unsettled: Unsettled) -> Result<TurnEnd, Refused> {
    let first = first_call(&unsettled);
    let Unsettled { stored, reply_id, mut in_flight, .. } = unsettled;
    in_flight.extend(first);
    let (owner, reserved, queued) =
        (stored.owner.clone(), stored.reserved_seq, stored.turn.status == TurnStatus::Queued);
    let started = lookup::started(&stored);
    let (turn, mut log) = lookup::restore(stored)?;
    if log.is_empty() {
        log = EventLog::started(std::sync::Arc::new(started));
    }
    log.jump_above(reserved.max(RESERVED_SEQ));
    // A reader may have seen more than was kept: what stands now is said once more, in place of all it has.
    log.say_again();
    let content = log.content();
    let now = Timestamp::now();
    let mut turn = turn.as_ref().clone();
    let has_text = !content.is_empty();
    turn.status = if has_text { TurnStatus::Incomplete } else { TurnStatus::Failed };
    turn.completed_at = Some(now);
    turn.message = has_text.then_some(TurnMessage { id: reply_id, content, created_at: now });
    turn.sources = log.sources().to_vec();
    let why = if queued {
        "the gateway stopped while the turn waited for the one before it"
    } else {
        "the gateway stopped while the turn ran; what had come is kept"
    };
    turn.error = Some(TurnError::new(ErrorCode::Internal, why));
    Ok(TurnEnd {
        log: log.slice_ended(),
        log_text_is_reply: false,
        thread: if queued { ThreadUpdate::Untouched } else { ThreadUpdate::InDoubt },
        ledger: in_flight,
        free_idempotency: false,
        owner,
        turn,
    })
}

/// The call that every turn begins with, which no checkpoint takes note of: it is implied until the turn has another, or an
/// attempt that failed. Whether it was made at all is not known; the ledger rather has a call too many than one too few.
fn first_call(unsettled: &Unsettled) -> Option<LedgerRow> {
    let (stored, turn) = (&unsettled.stored, &unsettled.stored.turn);
    let waits = turn.status == TurnStatus::Queued;
    if waits || !turn.attempts.is_empty() || !unsettled.in_flight.is_empty() {
        return None;
    }
    let (assistant, provider) = stored.asked.clone();
    Some(LedgerRow {
        turn_id: turn.id,
        number: 0,
        tenant: unsettled.tenant.clone(),
        key: unsettled.key,
        assistant,
        provider,
        at: turn.created_at,
        outcome: LedgerRow::INTERRUPTED.to_owned(),
        answered: turn.message.is_some(),
        usage: None,
    })
}

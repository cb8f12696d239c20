//! Settling what a process that is gone has left running: each turn gets its one end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chat::{
    ErrorCode, EventLog, KeyId, LedgerRow, Peer, StoreError, TenantId, ThreadUpdate, Timestamp, Turn,
    TurnEnd, TurnError, TurnId, TurnMessage, TurnStatus, Unsettled,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::engine::{Engine, Inner};
use crate::record::{RESERVED_SEQ, tell};
use crate::running::Running;
use crate::turn::panicked;
use crate::{Refused, lookup, membership};

/// How many turns are settled at once: enough to share a commit, few enough for a store with a bounded queue.
const AT_ONCE: usize = 64;
/// Between two tries to settle a turn whose task has panicked.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Engine {
    /// Enters this process among those that run turns on the store, and settles the turns that were left running by one that is gone:
    /// each becomes `incomplete` or `failed` with the text that had been kept. Says how many there were. Where several processes
    /// share the store this one looks after the turns of those that go from now on.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn settle(&self) -> Result<usize, Refused> {
        let inner = &self.0;
        membership::join(inner).await?;
        let settled = sweep(inner, Vec::new(), true).await?;
        if inner.maintenance.is_shared() {
            inner.tasks.spawn(membership::keep(Arc::clone(inner)));
        }
        Ok(settled)
    }
}

/// Takes over the turns of processes that are gone, and settles them; says how many there were. `all`: also those that were taken
/// over before and are not settled yet.
pub(crate) async fn sweep(inner: &Inner, lapsed: Vec<Peer>, all: bool) -> Result<usize, StoreError> {
    let owner = inner.membership.owner();
    let taken = inner.maintenance.take_over(&owner, lapsed).await?;
    if taken == 0 && !all {
        return Ok(0);
    }
    let open = inner.maintenance.open_turns(Some(&owner)).await?;
    // Asked for afterwards: a turn has its place before it is in the store, and until it has ended there.
    let here: HashSet<TurnId> = inner.registry.ids().into_iter().collect();
    let left = open.into_iter().filter(|(_, id)| !here.contains(id));
    let all = stream::iter(left).map(|(tenant, id)| settle_one(inner, tenant, id));
    let settled: Vec<bool> = all.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(settled.into_iter().filter(|settled| *settled).count())
}

/// The call that a turn begins with, of which nothing else is known.
pub(crate) fn first_row(turn: &Turn, running: &Running, key: KeyId) -> LedgerRow {
    LedgerRow {
        turn_id: turn.id,
        number: 0,
        tenant: running.tenant.clone(),
        key,
        assistant: turn.assistant.clone(),
        provider: turn.provider.clone(),
        at: turn.created_at,
        outcome: LedgerRow::INTERRUPTED.to_owned(),
        answered: false,
        usage: None,
    }
}

/// Ends a turn whose task has panicked where it could not end it itself. A turn that is kept is settled as if its process had gone;
/// `rows` are the calls of one that is not.
pub(crate) async fn abandoned(
    inner: &Inner,
    tenant: &TenantId,
    running: &Arc<Running>,
    rows: Vec<LedgerRow>,
) {
    tracing::error!(turn.id = %running.id, "the task of a turn panicked: the turn ends here");
    let mut pause = PAUSE_MIN;
    while running.stored && !running.read(EventLog::is_ended) {
        match settled(inner, tenant, running).await {
            Ok(()) => break,
            Err(cause) => {
                tracing::warn!(turn.id = %running.id, error = %cause, "a turn could not be settled, trying again");
            }
        }
        if inner.closed.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
    if !running.stored {
        inner.unstored.add(rows);
    }
    if !running.read(EventLog::is_ended) {
        tell(running, &Arc::new(as_it_broke(running)));
    }
    running.settled.cancel();
    if running.stored || running.readers() == 0 {
        inner.registry.remove(running.id);
    }
}

/// Settles it, and gives its readers the end that the store has.
async fn settled(inner: &Inner, tenant: &TenantId, running: &Running) -> Result<(), StoreError> {
    settle_one(inner, tenant.clone(), running.id).await?;
    match inner.store.turn(tenant, running.id).await {
        Ok(stored) if stored.turn.status.is_end() => {
            let (turn, log) = lookup::restore(stored)?;
            running.adopt(turn, log);
            Ok(())
        }
        // Erased, or another process has it: then that one ends it.
        Ok(_) | Err(StoreError::NoTurn) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The turn's end as far as this process knows it.
fn as_it_broke(running: &Running) -> Turn {
    let (content, sources) = running.read(|log| (log.content(), log.sources().to_vec()));
    let now = Timestamp::now();
    let mut turn = running.snapshot().as_ref().clone();
    let has_text = !content.is_empty();
    turn.status = if has_text { TurnStatus::Incomplete } else { TurnStatus::Failed };
    turn.completed_at = Some(now);
    turn.message = has_text.then_some(TurnMessage { id: running.reply_id, content, created_at: now });
    turn.sources = sources;
    turn.error = Some(panicked());
    turn
}

/// Settles a turn that this process owns and nobody runs; false when that is done already.
async fn settle_one(inner: &Inner, tenant: TenantId, id: TurnId) -> Result<bool, StoreError> {
    let Some(unsettled) = inner.maintenance.unsettled(&tenant, id).await? else { return Ok(false) };
    let end = end_of(unsettled)?;
    let status = end.turn.status.as_str();
    match inner.store.end_turn(&tenant, end).await {
        Ok(()) => {
            tracing::info!(turn.id = %id, status, "settled a turn that was left running");
            Ok(true)
        }
        // Erased, or taken over by yet another.
        Err(StoreError::NoTurn | StoreError::Fenced) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The end of a turn whose process is gone.
fn end_of(unsettled: Unsettled) -> Result<TurnEnd, StoreError> {
    let first = first_call(&unsettled);
    let Unsettled { stored, mut in_flight, .. } = unsettled;
    let reply_id = stored.reply_id;
    in_flight.extend(first);
    let (owner, reserved, queued) =
        (stored.owner.clone(), stored.reserved_seq, stored.turn.status == TurnStatus::Queued);
    let started = lookup::started(&stored);
    let (turn, mut log) = lookup::restore(stored)?;
    if log.is_empty() {
        log = EventLog::started(Arc::new(started));
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
        // One that waited has certainly done nothing: a repeat is a new turn.
        free_idempotency: queued,
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

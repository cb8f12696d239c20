//! Writes of which nobody knows whether they were done: the caller was told that its turn was not accepted, so that this is made
//! true. Until then the turn keeps its place, and a repeat of its request waits for what it comes to.

use std::sync::Arc;
use std::time::Duration;

use chat::{EventLog, StoreError, TenantId, ThreadUpdate, Turn, TurnEnd, TurnId};
use tracing::warn;

use crate::engine::Inner;
use crate::registry::Reservation;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends a turn that was not accepted, if the store has it all the same. What is asked later is done later, so that one answer is
/// enough.
pub(crate) fn refuse(inner: &Arc<Inner>, tenant: &TenantId, owner: &str, turn: Turn, place: Reservation) {
    let (inner, tenant, id) = (Arc::clone(inner), tenant.clone(), turn.id);
    let end = TurnEnd {
        log: EventLog::started(Arc::new(turn.clone())).slice_ended(),
        log_text_is_reply: true,
        thread: ThreadUpdate::Untouched,
        ledger: Vec::new(),
        free_idempotency: true,
        owner: owner.to_owned(),
        turn,
    };
    Arc::clone(&inner).tasks.spawn(async move {
        until_answered(&inner, id, || inner.store.end_turn(&tenant, end.clone())).await;
        drop(place);
    });
}

/// Frees the idempotency key of a turn that is not kept: it was not accepted, or has failed without effect.
pub(crate) fn free(
    inner: &Arc<Inner>,
    tenant: &TenantId,
    (id, key): (TurnId, String),
    place: Option<Reservation>,
) {
    let (inner, tenant) = (Arc::clone(inner), tenant.clone());
    Arc::clone(&inner).tasks.spawn(async move {
        until_answered(&inner, id, || inner.store.free_unstored(&tenant, id, &key)).await;
        drop(place);
    });
}

/// Asks until the store says yes or no. What is still in doubt when the process leaves is settled at the next start.
async fn until_answered<F>(inner: &Inner, id: TurnId, ask: impl Fn() -> F)
where
    F: Future<Output = Result<(), StoreError>>,
{
    loop {
        match ask().await {
            Err(cause @ (StoreError::Unavailable(_) | StoreError::InDoubt(_))) => {
                warn!(turn.id = %id, error = %cause, "the store does not say what it has of a turn that was not accepted, asking again");
            }
            _ => return,
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = inner.closed.cancelled() => return,
        }
    }
}

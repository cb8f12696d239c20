//! Turns that run in another process and are read here: a log that is fed from outside, for readers like any other.
//!
//! One task feeds a turn's log, however many read it, for as long as somebody does: from the store's checkpoints, which are a
//! second old at the most. The end is the store's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chat::{StoreError, TenantId, Timestamp, Turn, TurnId, TurnStatus};
use tracing::{debug, warn};

use crate::engine::Inner;
use crate::lookup;
use crate::running::{Running, Whose};

/// How often the store is asked what has come.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is asked while it does not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The turns that are followed, by id.
#[derive(Debug, Default)]
pub(crate) struct Followed(Mutex<HashMap<TurnId, Weak<Running>>>);

impl Followed {
    /// A turn that is followed already.
    pub(crate) fn find(&self, id: TurnId) -> Option<Arc<Running>> {
        self.lock().get(&id)?.upgrade()
    }

    /// The turn that is followed: this one from now on (true), or the one that somebody else entered before.
    fn enter(&self, running: Arc<Running>) -> (Arc<Running>, bool) {
        let mut turns = self.lock();
        if let Some(before) = turns.get(&running.id).and_then(Weak::upgrade) {
            return (before, false);
        }
        turns.insert(running.id, Arc::downgrade(&running));
        (running, true)
    }

    /// Forgets a turn that nobody but the caller holds; false when somebody does. Whoever looks for it afterwards enters it anew.
    fn forget_unread(&self, running: &Arc<Running>) -> bool {
        let mut turns = self.lock();
        let unread = Arc::strong_count(running) == 1;
        if unread {
            turns.remove(&running.id);
        }
        unread
    }

    fn forget(&self, id: TurnId) {
        self.lock().remove(&id);
    }

    /// Waits for the ends of all that are followed now.
    pub(crate) async fn all_settled(&self) {
        let all: Vec<_> =
            self.lock().values().filter_map(Weak::upgrade).map(|one| one.settled.clone()).collect();
        for settled in all {
            settled.cancelled().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TurnId, Weak<Running>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn that does not run here: as the store keeps it if it has ended, else followed from now on.
pub(crate) async fn find(
    inner: &Arc<Inner>,
    tenant: &TenantId,
    id: TurnId,
) -> Result<Arc<Running>, StoreError> {
    if let Some(running) = inner.followed.find(id).filter(|running| running.tenant == *tenant) {
        return Ok(running);
    }
    let stored = inner.store.turn(tenant, id).await?;
    let whose =
        Whose { tenant: tenant.clone(), user: stored.user.clone(), assistant: stored.asked.0.clone() };
    let (started, reply_id) = (Arc::new(lookup::started(&stored)), stored.reply_id);
    let (turn, mut log) = lookup::restore(stored)?;
    if log.is_empty() {
        log = chat::EventLog::started(Arc::clone(&started));
    }
    let running = Arc::new(Running::kept(turn, whose, reply_id, log));
    if running.settled.is_cancelled() {
        return Ok(running);
    }
    let (running, is_new) = inner.followed.enter(running);
    if is_new {
        inner.tasks.spawn(feed(Arc::clone(inner), Arc::clone(&running), started));
    }
    Ok(running)
}

/// How a look at the store came out.
enum Looked {
    Runs,
    Ended,
    /// The store does not answer.
    Unknown,
}

/// Feeds a turn's log until it has ended, or nobody reads it.
async fn feed(inner: Arc<Inner>, running: Arc<Running>, started: Arc<Turn>) {
    let (mut wished, mut pause) = (false, LOOK);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = running.stop.cancelled(), if !wished => {}
            // Readers come back elsewhere.
            () = inner.closed.cancelled() => return,
        }
        if running.stop.is_cancelled() && !wished {
            wished = wish_stop(&inner, &running).await;
        }
        match look(&inner, &running, &started).await {
            Looked::Runs => pause = LOOK,
            Looked::Ended => break,
            Looked::Unknown => pause = LOOK_AGAIN,
        }
        if inner.followed.forget_unread(&running) {
            return;
        }
    }
    inner.followed.forget(running.id);
    running.settled.cancel();
}

/// Tells whoever runs the turn that it is to stop; false when that could not be told.
async fn wish_stop(inner: &Inner, running: &Running) -> bool {
    match inner.store.wish_stop(&running.tenant, running.id).await {
        Ok(()) | Err(StoreError::NoTurn) => true,
        Err(error) => {
            warn!(turn.id = %running.id, %error, "a turn that runs elsewhere could not be told to stop, trying again");
            false
        }
    }
}

async fn look(inner: &Inner, running: &Running, started: &Arc<Turn>) -> Looked {
    let after = running.read(chat::EventLog::last_seq);
    let looked = match inner.store.turn_news(&running.tenant, running.id, after).await {
        Ok(news) if news.status.is_end() => end(inner, running).await.map(|()| Looked::Ended),
        Ok(news) => {
            stands(running, news.status);
            let mut complete = Ok(true);
            for (last, slice) in &news.slices {
                complete = running.write(|log| log.extend(slice, *last, started));
                if !matches!(complete, Ok(true)) {
                    break;
                }
            }
            match complete {
                Ok(true) => Ok(Looked::Runs),
                // What the store has begins behind what is known here, or cannot be read: all of it once more.
                Ok(false) | Err(_) => begin_again(inner, running).await.map(|()| Looked::Runs),
            }
        }
        Err(error) => Err(error),
    };
    match looked {
        Ok(looked) => looked,
        Err(StoreError::NoTurn) => {
            erased(running);
            Looked::Ended
        }
        Err(error) => {
            debug!(turn.id = %running.id, %error, "how a turn that runs elsewhere goes on is not known now");
            Looked::Unknown
        }
    }
}

/// Takes note of how the turn stands.
fn stands(running: &Running, status: TurnStatus) {
    let snapshot = running.snapshot();
    if snapshot.status != status {
        running.set_snapshot(Arc::new(Turn { status, ..snapshot.as_ref().clone() }));
    }
}

/// The turn has ended: its log is the store's.
async fn end(inner: &Inner, running: &Running) -> Result<(), StoreError> {
    let (turn, log) = lookup::restore(inner.store.turn(&running.tenant, running.id).await?)?;
    running.adopt(turn, log);
    Ok(())
}

async fn begin_again(inner: &Inner, running: &Running) -> Result<(), StoreError> {
    let (turn, log) = lookup::restore(inner.store.turn(&running.tenant, running.id).await?)?;
    if log.last_seq() > running.read(chat::EventLog::last_seq) {
        running.adopt(turn, log);
    }
    Ok(())
}

/// The turn was erased: whoever reads it is told that it is over.
fn erased(running: &Running) {
    let mut turn = running.snapshot().as_ref().clone();
    turn.status = TurnStatus::Cancelled;
    turn.completed_at = Some(Timestamp::now());
    let turn = Arc::new(turn);
    running.set_snapshot(Arc::clone(&turn));
    running.write(|log| log.end(turn));
}

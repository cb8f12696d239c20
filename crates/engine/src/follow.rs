//! Turns that run in another process and are read here: a log that is fed from outside, for readers like any other.
//!
//! One task feeds a turn's log, however many read it, for as long as somebody does: from what the other process tells at once,
//! where processes tell each other ([`chat::LiveTurns`]), and from the store's checkpoints, which are a second old at the most. The
//! end of a turn that is kept is the store's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use chat::{
    ErrorCode, EventLog, LiveEntries, LiveEntry, StoreError, TenantId, Timestamp, Turn, TurnError, TurnId,
    TurnMessage, TurnStatus,
};
use futures_util::StreamExt as _;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::engine::Inner;
use crate::lookup;
use crate::publish::SIGN_OF_LIFE;
use crate::running::{Running, Whose};

/// How often the store is asked what has come.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is asked while it does not answer, or what has come is told at once.
const LOOK_RARELY: Duration = Duration::from_secs(1);
/// How often the wish to stop a turn is said again while nobody has certainly heard it.
const WISH_AGAIN: Duration = Duration::from_millis(500);
/// How long a turn that is not kept is waited for: its acceptance may just be under way elsewhere.
pub(crate) const TOLD_WITHIN: Duration = Duration::from_millis(1500);
/// An id that is older than this is not waited for: no turn runs that long.
const RUNS_MAX: Duration = Duration::from_secs(24 * 3600);
/// A turn that is not kept and of which nothing was heard for so long is lost: so is its process, or the way to it.
const LOST_AFTER: Duration = SIGN_OF_LIFE.saturating_mul(3);

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

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn forget(&self, id: TurnId) {
        self.lock().remove(&id);
    }

    /// Waits until what is followed now is followed no more: the turns have ended, or their readers have left. Who comes later is not
    /// waited for, or a gateway that others still send readers to would never leave.
    pub(crate) async fn all_settled(&self) {
        let now: Vec<_> = self.lock().values().cloned().collect();
        for one in now {
            while let Some(settled) = one.upgrade().map(|running| running.settled.clone()) {
                if settled.is_cancelled() {
                    break;
                }
                let _ = tokio::time::timeout(LOOK, settled.cancelled()).await;
            }
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
    let stored = match inner.store.turn(tenant, id).await {
        Ok(stored) => stored,
        // One that is not kept stands in no store, and needs none.
        Err(error) => return unstored(inner, tenant, id).await.ok_or(error),
    };
    let whose =
        Whose { tenant: tenant.clone(), user: stored.user.clone(), assistant: stored.asked.0.clone() };
    let (started, reply_id) = (Arc::new(lookup::started(&stored)), stored.reply_id);
    let (turn, mut log) = lookup::restore(stored)?;
    if log.is_empty() {
        log = EventLog::started(Arc::clone(&started));
    }
    let running = Arc::new(Running::kept(turn, whose, reply_id, log));
    if running.settled.is_cancelled() {
        return Ok(running);
    }
    Ok(follow(inner, running, started, None))
}

/// A turn that is not kept, if another process tells of it.
pub(crate) async fn unstored(inner: &Arc<Inner>, tenant: &TenantId, id: TurnId) -> Option<Arc<Running>> {
    if let Some(running) = inner.followed.find(id).filter(|running| running.tenant == *tenant) {
        return Some(running);
    }
    let live = inner.live.get().filter(|live| live.is_up() && may_run(id))?;
    let mut entries = live.follow(id).ok()?;
    let theirs = async {
        loop {
            // Another tenant's is waited for as if there were none: how long it takes tells nobody anything.
            let LiveEntry { head: Some(head), slice, last_seq, end } = entries.next().await? else {
                continue;
            };
            if head.tenant == *tenant && !head.stored {
                return Some((head, LiveEntry { head: None, slice, last_seq, end }));
            }
        }
    };
    let (head, first) = tokio::time::timeout(TOLD_WITHIN, theirs).await.ok()??;
    let whose = Whose { tenant: tenant.clone(), user: head.user.clone(), assistant: head.assistant.clone() };
    let started = Arc::new(head.started.clone());
    let running = Running::elsewhere(Arc::clone(&started), whose, head.reply_id, false);
    let ended = take(&running, first, &started);
    let running = Arc::new(running);
    if ended == Taken::Ended {
        running.settled.cancel();
        return Some(running);
    }
    Some(follow(inner, running, started, Some(entries)))
}

/// Whether a turn with this id can be running at all.
fn may_run(id: TurnId) -> bool {
    let Some(made) = id.uuid().get_timestamp() else { return false };
    let (seconds, _) = made.to_unix();
    let made = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let age = made.and_then(|made| SystemTime::now().duration_since(made).ok());
    // One from the future was made by a process whose clock goes before ours.
    age.is_none_or(|age| age < RUNS_MAX)
}

/// Feeds this turn from now on, unless somebody entered it before.
fn follow(
    inner: &Arc<Inner>,
    running: Arc<Running>,
    started: Arc<Turn>,
    entries: Option<LiveEntries>,
) -> Arc<Running> {
    let (running, is_new) = inner.followed.enter(running);
    if is_new {
        let seen = running.read(EventLog::last_seq);
        let feeder = Feeder { inner: Arc::clone(inner), running: Arc::clone(&running), started, seen };
        inner.tasks.spawn(feeder.feed(entries));
    }
    running
}

/// What feeds a turn's log.
struct Feeder {
    inner: Arc<Inner>,
    running: Arc<Running>,
    started: Arc<Turn>,
    /// The last event that was seen in the store.
    seen: u64,
}

/// How a look at the store came out.
enum Looked {
    Runs,
    Ended,
    /// The store does not answer.
    Unknown,
}

/// Whether somebody here wants the turn stopped, and has said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    None,
    /// To be said again then, if the turn still runs.
    Again(Instant),
    /// It stands in the store.
    Kept,
}

impl Wish {
    fn is_due(self) -> bool {
        match self {
            Self::None => true,
            Self::Again(at) => at <= Instant::now(),
            Self::Kept => false,
        }
    }
}

/// What an entry came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Grown,
    Ended,
    /// Something before it is missing, or the end is to be read elsewhere.
    Look,
}

impl Feeder {
    /// Feeds until the turn has ended, or nobody reads it.
    async fn feed(mut self, mut entries: Option<LiveEntries>) {
        let mut heard = Instant::now();
        let mut look_at = heard + LOOK;
        let mut wish = Wish::None;
        loop {
            if entries.is_none() {
                entries = self.listen();
            }
            let mut looks = true;
            tokio::select! {
                entry = told(&mut entries) => match entry {
                    Some(entry) => {
                        heard = Instant::now();
                        match take(&self.running, entry, &self.started) {
                            Taken::Ended => break,
                            Taken::Grown => looks = false,
                            Taken::Look => {}
                        }
                    }
                    None => entries = None,
                },
                // However much is told: the store says also what nobody tells.
                () = tokio::time::sleep_until(look_at) => {}
                () = self.running.stop.cancelled(), if wish == Wish::None => {}
                // Readers come back elsewhere.
                () = self.inner.closed.cancelled() => {
                    self.running.abandoned.cancel();
                    return;
                }
            }
            if self.running.stop.is_cancelled() && wish.is_due() {
                wish = self.wish_stop().await;
            }
            if looks {
                let pause = match self.look(heard).await {
                    Looked::Ended => break,
                    Looked::Runs if self.is_told() && entries.is_some() => LOOK_RARELY,
                    Looked::Runs => LOOK,
                    Looked::Unknown => LOOK_RARELY,
                };
                look_at = Instant::now() + pause;
            }
            if self.inner.followed.forget_unread(&self.running) {
                return;
            }
        }
        self.inner.followed.forget(self.running.id);
        self.running.settled.cancel();
    }

    fn is_told(&self) -> bool {
        self.inner.live.get().is_some_and(|live| live.is_up())
    }

    fn listen(&self) -> Option<LiveEntries> {
        self.inner.live.get()?.follow(self.running.id).ok()
    }

    /// Tells whoever runs the turn that it is to stop.
    async fn wish_stop(&self) -> Wish {
        let again = Wish::Again(Instant::now() + WISH_AGAIN);
        let running = &self.running;
        if let Some(live) = self.inner.live.get() {
            live.wish_stop(running.id).await;
        }
        if !running.stored {
            // Nobody says whether it was heard.
            return again;
        }
        match self.inner.store.wish_stop(&running.tenant, running.id).await {
            Ok(()) | Err(StoreError::NoTurn) => Wish::Kept,
            Err(error) => {
                warn!(turn.id = %running.id, %error, "a turn that runs elsewhere could not be told to stop, trying again");
                again
            }
        }
    }

    /// Looks how the turn stands. Of one that is not kept something was heard last at `heard`.
    async fn look(&mut self, heard: Instant) -> Looked {
        if !self.running.stored {
            if heard.elapsed() < LOST_AFTER {
                return Looked::Runs;
            }
            lost(&self.running);
            return Looked::Ended;
        }
        match self.look_in_store().await {
            Ok(looked) => looked,
            Err(StoreError::NoTurn) => {
                erased(&self.running);
                Looked::Ended
            }
            Err(error) => {
                debug!(turn.id = %self.running.id, %error, "how a turn that runs elsewhere goes on is not known now");
                Looked::Unknown
            }
        }
    }

    async fn look_in_store(&mut self) -> Result<Looked, StoreError> {
        let running = &self.running;
        let news = self.inner.store.turn_news(&running.tenant, running.id, self.seen).await?;
        if news.status.is_end() {
            end(&self.inner, running).await?;
            return Ok(Looked::Ended);
        }
        stands(running, news.status);
        let Some((last, _)) = news.slices.last() else { return Ok(Looked::Runs) };
        self.seen = *last;
        let complete = running.write(|log| {
            let mut slices = news.slices.iter();
            slices.all(|(last, slice)| matches!(log.extend(slice, *last, &self.started, None), Ok(true)))
        });
        if !complete {
            // What the store has begins behind what is known here, or cannot be read: all of it once more.
            begin_again(&self.inner, running).await?;
        }
        running.note_checkpoint();
        Ok(Looked::Runs)
    }
}

/// The next entry; never resolves where nothing is told.
async fn told(entries: &mut Option<LiveEntries>) -> Option<LiveEntry> {
    match entries {
        Some(entries) => entries.next().await,
        None => std::future::pending().await,
    }
}

/// Takes an entry over into the log.
fn take(running: &Running, entry: LiveEntry, started: &Arc<Turn>) -> Taken {
    let LiveEntry { slice, last_seq, end, .. } = entry;
    let ends = end.is_some();
    let end = end.and_then(|end| {
        let retry_after = end.retry_after;
        end.turn.map(|mut turn| {
            if let Some(error) = &mut turn.error {
                error.retry_after = retry_after;
            }
            Arc::new(turn)
        })
    });
    if let Some(turn) = &end {
        running.set_snapshot(Arc::clone(turn));
    }
    let grown = running.write(|log| log.extend(&slice, last_seq, started, end.as_ref()));
    match (grown, ends) {
        (Ok(true), true) if end.is_some() => Taken::Ended,
        (Ok(true), false) => Taken::Grown,
        _ => Taken::Look,
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
    if log.last_seq() > running.read(EventLog::last_seq) {
        running.adopt(turn, log);
    }
    Ok(())
}

/// The turn was erased: whoever reads it is told that it is over.
fn erased(running: &Running) {
    over(running, TurnStatus::Cancelled, None);
}

/// Nothing is heard of a turn that stands in no store.
fn lost(running: &Running) {
    let has_text = running.read(|log| !log.content().is_empty());
    let status = if has_text { TurnStatus::Incomplete } else { TurnStatus::Failed };
    let why = "the gateway that runs the turn is gone, and the turn was not to be kept";
    over(running, status, Some(TurnError::new(ErrorCode::Internal, why)));
}

fn over(running: &Running, status: TurnStatus, error: Option<TurnError>) {
    let mut turn = running.snapshot().as_ref().clone();
    let (content, sources) = running.read(|log| (log.content(), log.sources().to_vec()));
    let now = Timestamp::now();
    (turn.status, turn.error, turn.sources, turn.completed_at) = (status, error, sources, Some(now));
    turn.message =
        (!content.is_empty()).then_some(TurnMessage { id: running.reply_id, content, created_at: now });
    let turn = Arc::new(turn);
    running.set_snapshot(Arc::clone(&turn));
    running.write(|log| log.end(turn));
}

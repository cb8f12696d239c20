//! A running turn's event log: one writer, many readers, replay from any event.
//!
//! The log is the turn. The task that runs the turn writes; every connection reads at its own pace, from where it likes. A
//! reader holds nothing of the writer up and costs it nothing: it keeps the number of the last event that it has seen.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use chat::{AllowedAssistants, AssistantName, EventLog, EventRef, MessageId, TenantId, Turn, TurnId, UserId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How many events one read gives at the most, so that a reader far behind does not hold the log for long.
const EVENTS_PER_READ_MAX: usize = 256;

/// Why a running turn is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody wants it so.
    Cancel,
    /// The process leaves.
    Drain,
}

/// A turn that runs here, or that has ended and is still being read.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) id: TurnId,
    pub(crate) tenant: TenantId,
    /// The end user of its conversation: a browser's token sees only its own.
    pub(crate) user: Option<UserId>,
    /// The assistant that was asked.
    pub(crate) assistant: AssistantName,
    /// The id of its reply.
    pub(crate) reply_id: MessageId,
    /// Whether it is kept in the store.
    pub(crate) stored: bool,
    /// Cancelled when the turn is to stop.
    pub(crate) stop: CancellationToken,
    stop_reason: OnceLock<Stop>,
    /// Cancelled once the end is in the log and in the store.
    pub(crate) settled: CancellationToken,
    log: Mutex<EventLog>,
    /// The turn as it stands while it runs.
    snapshot: Mutex<Arc<Turn>>,
    news: Notify,
    readers: AtomicUsize,
}

impl Running {
    pub(crate) fn new(turn: Arc<Turn>, whose: Whose, reply_id: MessageId, stored: bool) -> Self {
        Self {
            id: turn.id,
            tenant: whose.tenant,
            user: whose.user,
            assistant: whose.assistant,
            reply_id,
            stored,
            stop: CancellationToken::new(),
            stop_reason: OnceLock::new(),
            settled: CancellationToken::new(),
            log: Mutex::new(EventLog::started(Arc::clone(&turn))),
            snapshot: Mutex::new(turn),
            news: Notify::new(),
            readers: AtomicUsize::new(0),
        }
    }

    /// A turn that ended long ago, with its log as the store kept it.
    pub(crate) fn ended(turn: Arc<Turn>, whose: Whose, log: EventLog) -> Self {
        let reply_id = turn.message.as_ref().map_or_else(MessageId::new, |message| message.id);
        let running = Self::new(turn, whose, reply_id, true);
        *running.lock() = log;
        running.settled.cancel();
        running
    }

    /// Whether this caller's key and user may see it.
    pub(crate) fn visible_to(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
        allowed: &AllowedAssistants,
    ) -> bool {
        self.tenant == *tenant
            && user.is_none_or(|user| self.user.as_ref() == Some(user))
            && allowed.allows(&self.assistant)
    }

    /// Writes to the log, and tells the readers if anything was added.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut EventLog) -> T) -> T {
        let mut log = self.lock();
        let before = log.len();
        let result = write(&mut log);
        let news = log.len() > before;
        drop(log);
        if news {
            self.news.notify_waiters();
        }
        result
    }

    /// Reads the log.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&EventLog) -> T) -> T {
        read(&self.lock())
    }

    /// The turn as it stands, without the text that has come.
    pub(crate) fn snapshot(&self) -> Arc<Turn> {
        Arc::clone(&self.snapshot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The turn stands so now.
    pub(crate) fn set_snapshot(&self, turn: Arc<Turn>) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }

    /// Tells the turn to stop; the first reason stands.
    pub(crate) fn stop(&self, reason: Stop) {
        self.stop_reason.get_or_init(|| reason);
        self.stop.cancel();
    }

    /// Why it is to stop.
    pub(crate) fn stop_reason(&self) -> Stop {
        self.stop_reason.get().copied().unwrap_or(Stop::Cancel)
    }

    /// How many connections watch.
    pub(crate) fn readers(&self) -> usize {
        self.readers.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, EventLog> {
        // A panic while the log was held leaves it as it was before the last event: it can be read on.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose turn it is.
#[derive(Debug, Clone)]
pub(crate) struct Whose {
    pub(crate) tenant: TenantId,
    pub(crate) user: Option<UserId>,
    pub(crate) assistant: AssistantName,
}

/// What to do when a reader has left.
pub(crate) type Left = Box<dyn FnOnce(&Arc<Running>) + Send + Sync>;

/// Reads a turn's events from any place to the end. Leaving early changes nothing for the turn, unless the operator wants it to.
pub struct Reader {
    running: Arc<Running>,
    after: u64,
    repeated: bool,
    left: Option<Left>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("turn", &self.running.id)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// There were events, and there will be more.
    More,
    /// The last event was among them, or had been read before.
    Ended,
}

impl Reader {
    pub(crate) fn new(running: Arc<Running>, after: u64, repeated: bool, left: Option<Left>) -> Self {
        running.readers.fetch_add(1, Ordering::AcqRel);
        Self { running, after, repeated, left }
    }

    /// The turn that is read.
    #[must_use]
    pub fn turn_id(&self) -> TurnId {
        self.running.id
    }

    /// Whether the turn was there already: the request repeats one with the same idempotency key.
    #[must_use]
    pub fn is_repeat(&self) -> bool {
        self.repeated
    }

    /// The number of the last event read.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.after
    }

    /// Waits for events and hands them over, as many as there are (up to a bound). Dropping the future loses nothing.
    pub async fn read(&mut self, mut take: impl FnMut(u64, EventRef<'_>)) -> Read {
        let running = Arc::clone(&self.running);
        loop {
            // Asked for before looking, so that nothing written in between is missed.
            let news = running.news.notified();
            match self.read_now(&mut take) {
                None => news.await,
                Some(read) => return read,
            }
        }
    }

    /// Hands over the events that are there now; none when there is nothing yet.
    pub fn read_now(&mut self, take: &mut impl FnMut(u64, EventRef<'_>)) -> Option<Read> {
        let log = self.running.lock();
        let mut taken = 0;
        let mut ended = log.is_ended();
        while let Some((seq, event)) = log.next_after(self.after) {
            if taken == EVENTS_PER_READ_MAX {
                ended = false;
                break;
            }
            taken += 1;
            take(seq, event);
            self.after = seq;
        }
        match (ended, taken) {
            (true, _) => Some(Read::Ended),
            (false, 0) => None,
            (false, _) => Some(Read::More),
        }
    }

    /// Waits for the end of the turn and gives it whole.
    pub async fn end(&mut self) -> Arc<Turn> {
        let running = Arc::clone(&self.running);
        loop {
            let news = running.news.notified();
            if let Some(turn) = running.read(|log| log.ended().map(Arc::clone)) {
                self.after = running.read(EventLog::last_seq);
                return turn;
            }
            news.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.running.readers.fetch_sub(1, Ordering::AcqRel);
        if let Some(left) = self.left.take() {
            left(&self.running);
        }
    }
}

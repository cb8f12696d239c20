//! A running turn's event log: one writer, many readers, replay from any event.
//!
//! The log is the turn. The task that runs the turn writes; every connection reads at its own pace, from where it likes. A
//! reader holds nothing of the writer up and costs it nothing: it keeps the number of the last event that it has seen.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use chat::{
    AllowedAssistants, AssistantName, EventLog, EventRef, Frame, MessageId, TenantId, Turn, TurnId, UserId,
};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

use crate::catalog::Assistant;

/// How many events one read gives at the most, so that a reader far behind does not hold the log for long.
const EVENTS_PER_READ_MAX: usize = 256;

/// Why a running turn is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody wants it so.
    Cancel,
    /// The process leaves.
    Drain,
    /// Others took the process for dead: the turn is theirs.
    Fenced,
}

/// A turn that runs here, or elsewhere and is followed, or that has ended and is still being read.
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
    /// The name of this process, as its row has it; none when it does not run here.
    pub(crate) owner: Option<Arc<String>>,
    /// Whether nobody but who asked for it will ever read what its providers sent for the OpenAI dialect: the request cannot be
    /// repeated.
    read_once: bool,
    /// Cancelled when the turn is to stop.
    pub(crate) stop: CancellationToken,
    stop_reason: OnceLock<Stop>,
    /// Cancelled once the end is in the log and in the store.
    pub(crate) settled: CancellationToken,
    /// Cancelled when a turn that runs elsewhere is followed no more before it has ended: the process leaves.
    pub(crate) abandoned: CancellationToken,
    log: Mutex<EventLog>,
    /// The turn as it stands while it runs.
    snapshot: Mutex<Arc<Turn>>,
    /// Who has written what, where it runs here.
    authors: Mutex<Vec<Author>>,
    news: Notify,
    /// More is being written: readers are told once, after that.
    held: AtomicBool,
    /// Something was written while it was held.
    untold: AtomicBool,
    readers: AtomicUsize,
    /// Checkpoints of a turn that runs elsewhere that were seen here.
    checkpoints: AtomicUsize,
    /// It runs whether anybody reads or not, whatever is configured.
    unattended: AtomicBool,
    /// Somebody asks whether it is read elsewhere.
    asking: AtomicBool,
}

impl Running {
    /// A turn that is about to run here.
    pub(crate) fn new(
        turn: Arc<Turn>,
        whose: Whose,
        reply_id: MessageId,
        owner: Arc<String>,
        stored: bool,
    ) -> Self {
        Self { owner: Some(owner), ..Self::elsewhere(turn, whose, reply_id, stored) }
    }

    /// A turn that runs elsewhere, of which nothing but its beginning is known.
    pub(crate) fn elsewhere(turn: Arc<Turn>, whose: Whose, reply_id: MessageId, stored: bool) -> Self {
        Self {
            id: turn.id,
            tenant: whose.tenant,
            user: whose.user,
            assistant: whose.assistant,
            reply_id,
            stored,
            owner: None,
            read_once: false,
            stop: CancellationToken::new(),
            stop_reason: OnceLock::new(),
            settled: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            log: Mutex::new(EventLog::started(Arc::clone(&turn))),
            snapshot: Mutex::new(turn),
            authors: Mutex::default(),
            news: Notify::new(),
            held: AtomicBool::new(false),
            untold: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
            checkpoints: AtomicUsize::new(0),
            unattended: AtomicBool::new(false),
            asking: AtomicBool::new(false),
        }
    }

    /// The same for a turn whose request cannot be repeated.
    pub(crate) fn read_once(self) -> Self {
        Self { read_once: true, ..self }
    }

    /// A turn that does not run here, with its log as the store keeps it.
    pub(crate) fn kept(turn: Arc<Turn>, whose: Whose, reply_id: MessageId, log: EventLog) -> Self {
        let ended = turn.status.is_end();
        let running = Self::elsewhere(turn, whose, reply_id, true);
        *running.lock() = log;
        if ended {
            running.settled.cancel();
        }
        running
    }

    /// Puts another log in the place of this one: the store's, which says how the turn has ended. Readers go on behind the number of
    /// the last event that they have seen.
    pub(crate) fn adopt(&self, turn: Arc<Turn>, log: EventLog) {
        self.set_snapshot(turn);
        let mut own = self.lock();
        self.authors().clear();
        *own = log;
        drop(own);
        self.news.notify_waiters();
    }

    /// Resolves when something more is in the log.
    pub(crate) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// A further checkpoint of a turn that runs elsewhere was seen.
    pub(crate) fn note_checkpoint(&self) {
        self.checkpoints.fetch_add(1, Ordering::AcqRel);
        self.news.notify_waiters();
    }

    /// Waits until a log that comes from elsewhere has reached this event, or the turn has ended, or it is certain that the event has
    /// not been: the second checkpoint that is seen from now on was begun after now.
    pub(crate) async fn reached(&self, seq: u64) {
        let enough = self.checkpoints.load(Ordering::Acquire).saturating_add(2);
        loop {
            let news = self.news.notified();
            let reached = self.read(|log| log.last_seq() >= seq || log.is_ended());
            if reached || self.checkpoints.load(Ordering::Acquire) >= enough {
                return;
            }
            news.await;
        }
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
        let before = (log.len(), log.frame_count());
        let result = write(&mut log);
        let news = (log.len(), log.frame_count()) != before;
        drop(log);
        if news {
            if self.held.load(Ordering::Acquire) {
                self.untold.store(true, Ordering::Release);
            } else {
                self.news.notify_waiters();
            }
        }
        result
    }

    /// Holds back the word to the readers until this is dropped: what came together is read together. For the turn's own task, once
    /// at a time, and never over an `await`.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        self.held.store(true, Ordering::Release);
        Held(Arc::clone(self))
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

    /// What comes behind this event and this many frames is this assistant's. To be called with the log's lock held: who reads the
    /// text knows whose it is.
    pub(crate) fn written_by(&self, assistant: &Assistant, model: Option<String>, behind: (u64, usize)) {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let known = snapshot.assistant == assistant.name
            && snapshot.provider == assistant.provider.name
            && snapshot.model == model;
        if !known {
            let turn = Arc::make_mut(&mut snapshot);
            turn.assistant = assistant.name.clone();
            turn.provider = assistant.provider.name.clone();
            turn.model = model;
        }
        let turn = Arc::clone(&snapshot);
        drop(snapshot);
        self.authors().push(Author { event: behind.0, frames: behind.1, turn });
    }

    fn authors(&self) -> MutexGuard<'_, Vec<Author>> {
        self.authors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it runs on without readers, whatever is configured.
    pub(crate) fn is_unattended(&self) -> bool {
        self.unattended.load(Ordering::Acquire)
    }

    /// Whether nobody has asked yet if it is read elsewhere: from now on somebody does, until its end.
    pub(crate) fn begin_asking(&self) -> bool {
        !self.asking.swap(true, Ordering::AcqRel)
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

/// See [`Running::hold`].
#[derive(Debug)]
pub(crate) struct Held(Arc<Running>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
        if self.0.untold.swap(false, Ordering::AcqRel) {
            self.0.news.notify_waiters();
        }
    }
}

/// Whose the events and frames behind a place are.
#[derive(Debug)]
struct Author {
    /// The last event before them.
    event: u64,
    /// How many frames there were before them.
    frames: usize,
    /// The turn as it stood with them.
    turn: Arc<Turn>,
}

/// The turn as it stood with the last author that is meant; with the first one, before anybody had written.
fn author_of(authors: &[Author], is_meant: impl Fn(&Author) -> bool) -> Option<&Arc<Turn>> {
    let author = authors.iter().rfind(|author| is_meant(author)).or(authors.first());
    author.map(|author| &author.turn)
}

/// Tells how the turn stood, where that is not known by now.
fn stand<'a>(known: &mut Option<&'a Arc<Turn>>, turn: &'a Arc<Turn>, take: &mut impl FnMut(Seen<'_>)) {
    if known.is_none_or(|known| !Arc::ptr_eq(known, turn)) {
        *known = Some(turn);
        take(Seen::Standing(turn));
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
    /// How many frames have been read.
    frames: usize,
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

/// What a reader of the OpenAI dialect sees.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// The turn as it stood when that came which is given next, without its text: who answers. Before all else that a read gives, and
    /// where that changes.
    Standing(&'a Arc<Turn>),
    /// A frame, as a provider sent it. Before the events that were made of it.
    Frame(&'a Frame),
    /// An event and its number.
    Event(u64, EventRef<'a>),
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
        Self { running, after, frames: 0, repeated, left }
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

    /// Leaves as if nobody had come: for who asked only whether there is something to read.
    pub fn never_came(mut self) {
        self.left = None;
    }

    /// The number of the last event read.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.after
    }

    /// Resolves when nothing more will come here though the turn goes on elsewhere: the process leaves.
    pub fn abandoned(&self) -> impl Future<Output = ()> + use<> {
        self.running.abandoned.clone().cancelled_owned()
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
        let running = Arc::clone(&self.running);
        let log = running.lock();
        self.read_log(&log, take)
    }

    fn read_log(&mut self, log: &EventLog, take: &mut impl FnMut(u64, EventRef<'_>)) -> Option<Read> {
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

    /// As [`Self::read`], with what a provider sent for the OpenAI dialect before the events that were made of it.
    pub async fn follow(&mut self, mut take: impl FnMut(Seen<'_>)) -> Read {
        let running = Arc::clone(&self.running);
        loop {
            let news = running.news.notified();
            match self.follow_now(&mut take) {
                None => news.await,
                Some(read) => return read,
            }
        }
    }

    fn follow_now(&mut self, take: &mut impl FnMut(Seen<'_>)) -> Option<Read> {
        let running = Arc::clone(&self.running);
        let mut log = running.lock();
        self.frames = self.frames.max(log.frames_forgotten());
        let news = log.frame_count() > self.frames;
        if !news && log.next_after(self.after).is_none() {
            return self.read_log(&log, &mut |_, _| {});
        }
        let (snapshot, authors) = (running.snapshot(), running.authors());
        let mut standing = None;
        for frame in log.frames_after(self.frames).take(EVENTS_PER_READ_MAX) {
            let turn = author_of(&authors, |author| author.frames <= self.frames).unwrap_or(&snapshot);
            stand(&mut standing, turn, take);
            take(Seen::Frame(frame));
            self.frames += 1;
        }
        if running.read_once {
            log.forget_frames(self.frames);
        }
        if self.frames < log.frame_count() {
            return Some(Read::More);
        }
        // Under the same lock: no event is seen before the frame that it was made of.
        let read = self.read_log(&log, &mut |seq, event| {
            let turn = author_of(&authors, |author| author.event < seq).unwrap_or(&snapshot);
            stand(&mut standing, turn, take);
            take(Seen::Event(seq, event));
        });
        stand(&mut standing, &snapshot, take);
        read.or(news.then_some(Read::More))
    }

    /// The id that the reply has, or will have.
    #[must_use]
    pub fn reply_id(&self) -> MessageId {
        self.running.reply_id
    }

    /// The turn runs on from now on whether anybody reads or not, also where turns are cancelled once nobody does.
    pub fn leave_running(&self) {
        self.running.unattended.store(true, Ordering::Release);
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

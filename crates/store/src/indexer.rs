//! Brings the index of a SQLite store up to date, on a thread of its own behind the writer: see [`crate::index`].

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use chat::StoreError;

use crate::conn::Conn;
use crate::error::unavailable;
use crate::index::{self, Queue};
use crate::tasks;
use crate::work::{Job, Work};

/// How long the first of what is new waits for others, so that they are taken in together.
const GATHER: Duration = Duration::from_millis(50);

/// How long what the index was told may stay in the queue where nothing more comes, and how many of it where there does.
const SEAL_AFTER: Duration = Duration::from_millis(500);
const SEAL_EVERY: i64 = 512;

/// How long a failure of the index is left alone; twice as long after each that follows, up to a bound.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How many steps are still made when the store is closed; the rest is done after the next start.
const LAST_STEPS: u32 = 64;

/// How many may wait for the index at once.
const ASKS_MAX: usize = 1024;

/// The index as its users see it.
#[derive(Debug)]
pub(crate) struct Indexer {
    asks: mpsc::Sender<Ask>,
    news: Arc<Notify>,
    queue: Arc<OnceLock<Queue>>,
    stop: CancellationToken,
    stopped: CancellationToken,
}

/// Somebody waits for the index.
#[derive(Debug)]
struct Ask {
    what: What,
    answer: oneshot::Sender<i64>,
}

#[derive(Debug)]
enum What {
    /// Until it was told all that was queued before: the answer is which index it is.
    CaughtUp,
    /// Until it does not know the first messages between two places, both left out: the answer is before which place.
    Forget((i64, i64)),
    /// Not at all: a search has found this one damaged.
    Damaged(i64),
}

impl Indexer {
    /// Starts it for the store in this file, on `tracker`. It ends when it is closed or dropped. What has gone from the queue is
    /// written through `inbox`.
    pub(crate) fn start(
        store: PathBuf,
        busy: Duration,
        inbox: mpsc::WeakSender<Box<dyn Work>>,
        tracker: &TaskTracker,
    ) -> std::io::Result<Self> {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (news, stop, stopped) =
            (Arc::new(Notify::new()), CancellationToken::new(), CancellationToken::new());
        let queue = Arc::new(OnceLock::new());
        let running = Running {
            store,
            queue: Arc::clone(&queue),
            opened: 0,
            busy,
            inbox,
            asked,
            forgetting: VecDeque::new(),
            waiting: Vec::new(),
            connection: None,
            applied: 0,
            sealed: 0,
        };
        let done = stopped.clone().drop_guard();
        let (heard, ends) = (Arc::clone(&news), stop.clone());
        tasks::spawn_thread(tracker, "store-search", async move {
            let _done = done;
            running.run(&heard, &ends).await;
        })?;
        Ok(Self { asks, news, queue, stop, stopped })
    }

    /// The store is this process's own: `queue` is of before anything was written to it since it was opened. Where there are messages the
    /// index is looked after at once: it may be behind, or be missing.
    pub(crate) fn own(&self, queue: Queue, messages: bool) {
        // A store is claimed once.
        self.queue.set(queue).ok();
        if messages {
            self.news.notify_one();
        }
    }

    /// What tells it that something was queued.
    pub(crate) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// Waits until the index knows all that was written before. Which index it is: one that is made anew is another.
    pub(crate) async fn caught_up(&self, patience: Duration) -> Result<i64, StoreError> {
        self.ask(What::CaughtUp, patience).await
    }

    /// Takes the first messages between two places, both left out, from the index: before they are erased, of a conversation that is in
    /// `erasures`. Before which place it knows none any more.
    pub(crate) async fn forget(&self, places: (i64, i64), patience: Duration) -> Result<i64, StoreError> {
        self.ask(What::Forget(places), patience).await
    }

    /// Has this index made anew: a search has found it damaged. Nothing where it was already, for another one.
    pub(crate) async fn damaged(&self, which: i64, patience: Duration) {
        self.ask(What::Damaged(which), patience).await.ok();
    }

    async fn ask(&self, what: What, patience: Duration) -> Result<i64, StoreError> {
        let behind = || StoreError::NoIndex("it is still being brought up to date".into());
        let (answer, told) = oneshot::channel();
        self.asks.try_send(Ask { what, answer }).map_err(|_| behind())?;
        match timeout(patience, told).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(behind()),
        }
    }

    /// Tells the index what is still queued, a good deal of it at most, and closes it.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.stopped.cancelled().await;
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The index as its thread sees it.
struct Running {
    store: PathBuf,
    /// Where the store is this process's own; others cannot tell what was written since.
    queue: Arc<OnceLock<Queue>>,
    /// How often the index was opened: after the first time it fits.
    opened: i64,
    busy: Duration,
    inbox: mpsc::WeakSender<Box<dyn Work>>,
    asked: mpsc::Receiver<Ask>,
    /// Who waits for the first messages between two places to be taken out.
    forgetting: VecDeque<((i64, i64), oneshot::Sender<i64>)>,
    /// Who waits for what was queued up to a number.
    waiting: Vec<(i64, oneshot::Sender<i64>)>,
    /// Opened when it is first needed, and anew after it broke.
    connection: Option<Connection>,
    /// Up to which number the index was told.
    applied: i64,
    /// Up to which that has gone from the queue.
    sealed: i64,
}

impl Running {
    async fn run(mut self, news: &Notify, stop: &CancellationToken) {
        let mut pause = PAUSE;
        loop {
            let ask = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                ask = self.asked.recv() => match ask {
                    None => break,
                    ask => ask,
                },
                () = news.notified() => tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    ask = self.asked.recv() => ask,
                    () = sleep(GATHER) => None,
                },
                () = sleep(SEAL_AFTER), if self.sealed < self.applied => {
                    self.seal().await;
                    continue;
                }
            };
            if let Err(error) = self.catch_up(ask, stop).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the search's index cannot be brought up to date; it is tried again"
                );
                self.connection = None;
                let broken = index::is_broken(&error);
                if broken {
                    index::remove(&self.store);
                }
                // Whoever waits is told that it cannot be done now.
                self.waiting.clear();
                self.forgetting.clear();
                news.notify_one();
                if broken && pause == PAUSE {
                    // Made anew at once; not again and again.
                    pause = pause.saturating_mul(2);
                    continue;
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep(pause) => pause = pause.saturating_mul(2).min(PAUSE_MAX),
                }
            } else {
                pause = PAUSE;
            }
        }
        self.leave().await;
    }

    async fn catch_up(&mut self, ask: Option<Ask>, stop: &CancellationToken) -> rusqlite::Result<()> {
        let mut ask = ask;
        loop {
            while let Some(Ask { what, answer }) = ask.take().or_else(|| self.asked.try_recv().ok()) {
                match what {
                    What::CaughtUp => {
                        let wanted = index::queued(self.connection()?)?;
                        self.waiting.push((wanted, answer));
                    }
                    What::Forget(places) => self.forgetting.push_back((places, answer)),
                    What::Damaged(which) => {
                        answer.send(self.opened).ok();
                        // Given up already where it is not open.
                        if which == self.opened && self.connection.is_some() {
                            return Err(index::damage());
                        }
                    }
                }
            }
            // One, then who searches: those who erase ask again as soon as they are answered.
            if let Some((places, answer)) = self.forgetting.pop_front() {
                let before = index::forget(self.connection()?, places)?;
                answer.send(before).ok();
            }
            let step = index::step(self.connection()?)?;
            if let Some(applied) = step.applied {
                self.applied = applied;
                for (_, answer) in self.waiting.extract_if(.., |(wanted, _)| *wanted <= applied) {
                    // One that has left needs no answer.
                    answer.send(self.opened).ok();
                }
            }
            self.waiting.retain(|(_, answer)| !answer.is_closed());
            if self.applied.saturating_sub(self.sealed) >= SEAL_EVERY {
                self.seal().await;
            }
            if (!step.more && self.forgetting.is_empty()) || stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    fn connection(&mut self) -> rusqlite::Result<&mut Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let queue = self.queue.get().copied().filter(|_| self.opened == 0);
                let connection = index::open(&self.store, queue, self.busy)?;
                self.opened = self.opened.saturating_add(1);
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Takes from the queue what the index was told, once that is durable. Where it cannot be done now it is done later.
    async fn seal(&mut self) {
        let applied = self.applied;
        let sealed = match self.connection().and_then(index::seal) {
            Ok(()) => take_from_queue(self.inbox.upgrade(), applied).await,
            Err(error) => Err(crate::error::of_sqlite(error)),
        };
        match sealed {
            Ok(()) => self.sealed = applied,
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "what the search's index was told stays queued"
            ),
        }
    }

    /// What is still queued, as far as it does not take long; then the log goes into the file.
    async fn leave(mut self) {
        if self.connection.is_none() {
            return;
        }
        for _ in 0..LAST_STEPS {
            let step = self.connection().and_then(index::step);
            self.applied = step.as_ref().ok().and_then(|step| step.applied).unwrap_or(self.applied);
            if !step.is_ok_and(|step| step.more) {
                break;
            }
        }
        if self.sealed < self.applied {
            self.seal().await;
        }
    }
}

async fn take_from_queue(inbox: Option<mpsc::Sender<Box<dyn Work>>>, up_to: i64) -> Result<(), StoreError> {
    let gone = || unavailable("the store is closed");
    let (job, _, answer) = Job::new(up_to, |conn: &mut Conn<'_>, up_to: &i64| {
        Box::pin(conn.sql("DELETE FROM search_queue WHERE n <= $1").bind(*up_to).run())
    });
    inbox.ok_or_else(gone)?.try_send(Box::new(job)).map_err(|_| unavailable("too many writes wait"))?;
    answer.await.map_err(|_| gone())?.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::config::Location;
    use crate::sqlite::Place;

    /// Many searches find the same damage: that is one index to make anew, not one for each of them.
    #[tokio::test]
    async fn damage_that_many_have_found_is_mended_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        let place = Place::make(&Config::new(""), &Location::File(file.clone())).await.unwrap();
        crate::migrate::sqlite(&mut place.open().unwrap()).unwrap();
        let (inbox, _outbox) = mpsc::channel(1);
        let patience = Duration::from_secs(60);
        let indexer = Indexer::start(file, patience, inbox.downgrade(), &TaskTracker::new()).unwrap();
        let which = indexer.caught_up(patience).await.unwrap();
        for _ in 0..3 {
            indexer.damaged(which, patience).await;
            indexer.damaged(which, patience).await;
            assert_eq!(indexer.caught_up(patience).await.unwrap(), which + 1);
        }
        indexer.close().await;
    }
}

//! A SQLite file: one writer, several readers, write-ahead log, fsync at each commit.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, InterruptHandle, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use chat::StoreError;

use crate::config::{Config, Location};
use crate::conn::Conn;
use crate::error::{OpenError, in_doubt, of_sqlite, unavailable};
use crate::gathered::Gathered;
use crate::indexer::Indexer;
use crate::work::{Job, Run, Work};
use crate::writer::Writer;
use crate::{index, migrate, tasks};

/// What the writing connection is set to: the log and an fsync at each commit, what is erased overwritten. The writer sees to it
/// itself that the log is brought into the file.
const WRITER: &str = "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; \
    PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = 4000";

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 256;

/// An open SQLite file, or a database in memory.
#[derive(Debug)]
pub(crate) struct Sqlite {
    inbox: mpsc::Sender<Box<dyn Work>>,
    /// None for a database in memory: it has one connection, so the writer reads as well.
    readers: Option<Arc<Readers>>,
    /// None for a database in memory: its writer sees to its index as well.
    indexer: Option<Indexer>,
    /// What was queued for the index when it was opened, and whether there were messages.
    found: (index::Queue, bool),
    commits: Arc<AtomicU64>,
    tracker: TaskTracker,
    stop: CancellationToken,
    stopped: CancellationToken,
    deadline: Duration,
    /// None for a database in memory.
    path: Option<PathBuf>,
    /// The lock of the one gateway that runs on the file, kept for as long as it is open.
    lock: OnceLock<File>,
}

/// Where the database is, and how its connections are set.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// None: in memory.
    path: Option<PathBuf>,
    busy: Duration,
    pages_max: Option<u64>,
}

impl Place {
    /// A database in memory.
    #[cfg(test)]
    pub(crate) fn memory() -> Self {
        Self { path: None, busy: Duration::ZERO, pages_max: None }
    }

    /// Makes the file's folder where it is missing.
    pub(crate) async fn make(config: &Config, location: &Location) -> Result<Self, OpenError> {
        let path = match location {
            Location::File(path) => {
                make_folder(path).await?;
                Some(path.clone())
            }
            _ => None,
        };
        let pages_max = config.file_bytes_max.map(|bytes| (bytes / 4096).max(1));
        Ok(Self { path, busy: config.deadline / 2, pages_max })
    }

    /// Opens the writing connection, making the file where it is missing.
    pub(crate) fn open(&self) -> rusqlite::Result<Connection> {
        let mut connection = match &self.path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(self.busy)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        if self.path.is_some() {
            connection.pragma_update(None, "journal_mode", "WAL")?;
        }
        connection.execute_batch(WRITER)?;
        settle_plans(&connection)?;
        // What the triggers of the schema do for the search is done here without them. They are there for whoever else writes to the
        // file.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        if let Some(pages) = self.pages_max {
            connection.pragma_update(None, "max_page_count", pages.to_string())?;
        }
        if self.is_memory() {
            index::attach_in_memory(&mut connection)?;
        }
        Ok(connection)
    }

    /// Whether there is no file.
    pub(crate) fn is_memory(&self) -> bool {
        self.path.is_none()
    }

    /// Opens a connection for reading alone.
    fn open_reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.path.as_deref().unwrap_or(Path::new("")), flags)?;
        connection.busy_timeout(self.busy)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS / 2);
        settle_plans(&connection)?;
        Ok(connection)
    }
}

/// A statement is planned once, not again for each value that a partial index might be chosen by.
fn settle_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(|_| ())
}

async fn make_folder(path: &Path) -> Result<(), OpenError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            tokio::fs::create_dir_all(folder).await.map_err(OpenError::Folder)
        }
        _ => Ok(()),
    }
}

impl Sqlite {
    /// Opens the file, brings its schema up to date and starts its writer on `tracker`.
    pub(crate) async fn open(
        config: &Config,
        location: &Location,
        tracker: &TaskTracker,
    ) -> Result<Self, OpenError> {
        let place = Place::make(config, location).await?;
        let path = place.path.clone();
        let mut connection = place.open()?;
        migrate::sqlite(&mut connection)?;
        let readers = place.path.is_some().then(|| Arc::new(Readers::new(place.clone(), config.readers)));
        let (inbox, outbox) = mpsc::channel(config.queue.max(1));
        let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
        let found = (index::Queue::of(&connection)?, index::is_needed(&connection)?);
        let mut writer = Writer::new(place.clone(), connection, tracker.clone())?;
        let commits = writer.commits();
        let thread = |error: std::io::Error| OpenError::Database(Box::new(error));
        let indexer = match &path {
            None => None,
            Some(path) => {
                let inbox = inbox.downgrade();
                let indexer = Indexer::start(path.clone(), place.busy, inbox, tracker).map_err(thread)?;
                writer.tell(indexer.news());
                Some(indexer)
            }
        };
        let writer = writer.run(outbox, stop.clone());
        let done = stopped.clone().drop_guard();
        tasks::spawn_thread(tracker, "store-writer", async move {
            let _done = done;
            writer.await;
        })
        .map_err(thread)?;
        Ok(Self {
            inbox,
            readers,
            indexer,
            found,
            commits,
            tracker: tracker.clone(),
            stop,
            stopped,
            deadline: config.deadline,
            path,
            lock: OnceLock::new(),
        })
    }

    /// Takes the file for this gateway alone. The system frees it however the process ends.
    pub(crate) fn claim(&self) -> Result<(), OpenError> {
        let Some(path) = &self.path else { return Ok(()) };
        let lock = File::create(index::beside(path, "-lock")).map_err(OpenError::Lock)?;
        match lock.try_lock() {
            Ok(()) => {
                // A second claim of the same store would have failed above.
                drop(self.lock.set(lock));
                if let Some(indexer) = &self.indexer {
                    let (queue, messages) = self.found;
                    indexer.own(queue, messages);
                }
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(OpenError::Taken),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                tracing::warn!(%error, "the file system knows no locks: see to it that one gateway alone uses the store");
                Ok(())
            }
            Err(TryLockError::Error(error)) => Err(OpenError::Lock(error)),
        }
    }

    /// Does the work in the next group, and answers once it is durable.
    pub(crate) async fn write<I, T>(&self, input: I, run: Run<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let (job, ticket, mut answer) = Job::new(input, run);
        self.inbox.try_send(Box::new(job)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => unavailable("too many writes wait"),
            mpsc::error::TrySendError::Closed(_) => unavailable("the store is closed"),
        })?;
        let first = tokio::time::timeout(self.deadline, &mut answer).await;
        let result = match first {
            Ok(result) => result,
            Err(_) if ticket.abandon() => return Err(unavailable("the write waited for too long")),
            // It has begun: only its end tells whether it was written.
            Err(_) => tokio::time::timeout(self.deadline, answer)
                .await
                .map_err(|_| in_doubt("the write takes too long"))?,
        };
        result.map_err(|_| in_doubt("the writer is gone"))?
    }

    /// Reads one state of the store, whatever is written meanwhile.
    pub(crate) async fn read<I, T>(&self, input: I, run: Run<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.read_from(input, run, With::Store).await
    }

    /// Reads the store, and the search's index once it knows all that was written before.
    pub(crate) async fn search<I, T>(&self, input: I, run: Run<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let Some(indexer) = &self.indexer else { return self.read(input, run).await };
        let which = indexer.caught_up(self.deadline).await?;
        match self.read_from(input, run, With::Index).await {
            Err(StoreError::Damaged(error)) if error.downcast_ref().is_some_and(index::is_damaged) => {
                tracing::warn!(error = &*error as &dyn std::error::Error, "the search's index is damaged");
                indexer.damaged(which, self.deadline).await;
                Err(StoreError::NoIndex(error))
            }
            read => read,
        }
    }

    /// Takes the first messages between two places, both left out, from the search's index. Before which place it knows none.
    pub(crate) async fn forget(&self, places: (i64, i64), patience: Duration) -> Result<i64, StoreError> {
        match &self.indexer {
            Some(indexer) => indexer.forget(places, patience).await,
            None => Ok(places.1),
        }
    }

    async fn read_from<I, T>(&self, input: I, run: Run<I, T>, with: With) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let Some(readers) = &self.readers else { return self.write(input, run).await };
        let reading = async {
            let lent = Arc::clone(readers).lend().await?;
            let _waiting = Waiting(lent.interrupt.clone());
            let (caller, answer) = oneshot::channel();
            tasks::spawn_blocking(&self.tracker, move || drop(caller.send(lent.read(&input, run, with))));
            answer.await.map_err(|_| unavailable("the read was given up"))?
        };
        tokio::time::timeout(self.deadline, reading)
            .await
            .unwrap_or_else(|_| Err(unavailable("the read takes too long")))
    }

    pub(crate) fn queued(&self) -> usize {
        self.inbox.max_capacity().saturating_sub(self.inbox.capacity())
    }

    /// How many groups of writes were committed so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(crate) async fn close(&self, within: Duration) -> Result<(), StoreError> {
        let closing = async {
            // Readers first: the log cannot be brought into the file while one reads.
            if let Some(readers) = &self.readers {
                readers.close().await;
            }
            // It writes to the store what it is done with.
            if let Some(indexer) = &self.indexer {
                indexer.close().await;
            }
            self.stop.cancel();
            self.stopped.cancelled().await;
        };
        // Whatever the readers do, no further write is taken once the time is over.
        let stop = self.stop.clone().drop_guard();
        let closed = tokio::time::timeout(within, closing).await;
        drop(stop);
        closed.map_err(|_| unavailable("writes were still waiting"))
    }
}

/// Connections for reading, opened when they are first needed.
#[derive(Debug)]
struct Readers {
    place: Place,
    most: u32,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn new(place: Place, most: u32) -> Self {
        let most = most.max(1);
        let permits = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
        Self { place, most, permits, idle: Mutex::default() }
    }

    /// A connection, once one is free.
    async fn lend(self: Arc<Self>) -> Result<Lent, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| unavailable("the store is closed"))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.place.open_reader().map_err(of_sqlite)?,
        };
        let interrupt = Interrupt(Arc::new(Mutex::new(Some(connection.get_interrupt_handle()))));
        Ok(Lent { connection, interrupt, readers: self, _permit: permit })
    }

    /// Waits until all connections are back, and closes them.
    async fn close(&self) {
        // Closed already: nothing is lent any more.
        drop(self.permits.acquire_many(self.most).await);
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// What a read looks at.
#[derive(Debug, Clone, Copy)]
enum With {
    Store,
    /// The search's index as well.
    Index,
}

/// A connection that one read has for itself.
#[derive(Debug)]
struct Lent {
    connection: Connection,
    interrupt: Interrupt,
    readers: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

/// Ends a read that is under way. Once the read has ended nothing is left to interrupt: the connection may be another's by then.
#[derive(Clone)]
struct Interrupt(Arc<Mutex<Option<InterruptHandle>>>);

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupt")
    }
}

impl Interrupt {
    fn handle(&self) -> MutexGuard<'_, Option<InterruptHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Interrupts the read when its caller gives up waiting.
struct Waiting(Interrupt);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(handle) = self.0.handle().as_ref() {
            handle.interrupt();
        }
    }
}

impl Lent {
    /// Reads in a transaction, and gives the connection back if it is sound.
    fn read<I, T>(mut self, input: &I, run: Run<I, T>, with: With) -> Result<T, StoreError> {
        if let (With::Index, Some(path)) = (with, &self.readers.place.path) {
            index::attach_to(&self.connection, path).map_err(of_sqlite)?;
        }
        self.connection.execute_batch("BEGIN").map_err(of_sqlite)?;
        let mut gathered = Gathered::default();
        let result = run(&mut Conn::Sqlite(&mut self.connection, &mut gathered), input).now_or_never();
        let sound = self.connection.execute_batch("ROLLBACK").is_ok();
        *self.interrupt.handle() = None;
        if sound {
            self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection);
        }
        result.unwrap_or_else(|| Err(unavailable("a read on SQLite waited for something else")))
    }
}

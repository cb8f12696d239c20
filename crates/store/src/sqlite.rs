//! A SQLite file: one writer, several readers, write-ahead log, fsync at each commit.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use chat::StoreError;

use crate::config::{Config, Location};
use crate::conn::Conn;
use crate::error::{OpenError, in_doubt, of_database, unavailable};
use crate::work::{Job, Run, Work};
use crate::writer::Writer;
use crate::{migrate, tasks};

/// Pages of 4 KiB that the log may hold before they are brought into the file.
const CHECKPOINT_PAGES: &str = "4000";

/// An open SQLite file, or a database in memory.
#[derive(Debug)]
pub(crate) struct Sqlite {
    inbox: mpsc::Sender<Box<dyn Work>>,
    /// None for a database in memory: it has one connection, so the writer reads as well.
    readers: Option<SqlitePool>,
    stop: CancellationToken,
    stopped: CancellationToken,
    deadline: Duration,
    /// None for a database in memory.
    path: Option<PathBuf>,
    /// The lock of the one gateway that runs on the file, kept for as long as it is open.
    lock: OnceLock<File>,
}

/// Opens the writing connection, making the file and its folder where they are missing.
pub(crate) async fn connect(
    config: &Config,
    location: &Location,
) -> Result<(SqliteConnectOptions, SqliteConnection), OpenError> {
    let base = SqliteConnectOptions::new()
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(config.deadline / 2)
        .statement_cache_capacity(256)
        // What is erased is overwritten.
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-16384")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
    let options = match location {
        Location::File(path) => {
            make_folder(path).await?;
            let file = base.filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
            match config.file_bytes_max {
                Some(bytes) => file.pragma("max_page_count", (bytes / 4096).max(1).to_string()),
                None => file,
            }
        }
        _ => base.in_memory(true),
    };
    let connection = options.connect().await?;
    Ok((options, connection))
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
        let (options, mut connection) = connect(config, location).await?;
        migrate::sqlite(&mut connection).await?;
        let readers = match location {
            Location::File(path) => Some(readers(config, path)),
            _ => None,
        };
        let (inbox, outbox) = mpsc::channel(config.queue.max(1));
        let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
        let writer = Writer::new(options, connection).run(outbox, stop.clone());
        let done = stopped.clone().drop_guard();
        tasks::spawn(tracker, async move {
            let _done = done;
            writer.await;
        });
        let path = match location {
            Location::File(path) => Some(path.clone()),
            _ => None,
        };
        Ok(Self { inbox, readers, stop, stopped, deadline: config.deadline, path, lock: OnceLock::new() })
    }

    /// Takes the file for this gateway alone. The system frees it however the process ends.
    pub(crate) fn claim(&self) -> Result<(), OpenError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut beside = path.clone().into_os_string();
        beside.push("-lock");
        let lock = File::create(beside).map_err(OpenError::Lock)?;
        match lock.try_lock() {
            Ok(()) => {
                // A second claim of the same store would have failed above.
                drop(self.lock.set(lock));
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
        let Some(readers) = &self.readers else { return self.write(input, run).await };
        let reading = async {
            let mut transaction = readers.begin().await.map_err(of_database)?;
            let result = run(&mut Conn::Sqlite(&mut transaction), &input).await;
            transaction.rollback().await.map_err(of_database)?;
            result
        };
        tokio::time::timeout(self.deadline, reading)
            .await
            .unwrap_or_else(|_| Err(unavailable("the read takes too long")))
    }

    pub(crate) fn queued(&self) -> usize {
        self.inbox.max_capacity().saturating_sub(self.inbox.capacity())
    }

    pub(crate) async fn close(&self, within: Duration) -> Result<(), StoreError> {
        let closing = async {
            // Readers first: the log cannot be brought into the file while one reads.
            if let Some(readers) = &self.readers {
                readers.close().await;
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

fn readers(config: &Config, path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(config.deadline / 2)
        .statement_cache_capacity(128);
    SqlitePoolOptions::new()
        .max_connections(config.readers.max(1))
        .acquire_timeout(config.deadline)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

//! The database behind the store: which one it is, nobody above knows.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use chat::{Roll, StoreError};

use crate::config::{Config, Location};
use crate::error::OpenError;
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::work::Run;

/// One of the two databases.
#[derive(Debug)]
pub(crate) enum Backend {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Backend {
    pub(crate) async fn open(config: &Config, tracker: &TaskTracker) -> Result<Self, OpenError> {
        match config.location()? {
            Location::Postgres => Postgres::open(config, tracker).await.map(Self::Postgres),
            location => Sqlite::open(config, &location, tracker).await.map(Self::Sqlite),
        }
    }

    /// Does work that writes: all or nothing, durable when it returns, finished even if the caller leaves.
    pub(crate) async fn write<I, T>(&self, input: I, run: Run<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        match self {
            Self::Sqlite(sqlite) => sqlite.write(input, run).await,
            Self::Postgres(postgres) => postgres.write(input, run).await,
        }
    }

    /// Does work that only reads, in one state of the store.
    pub(crate) async fn read<I, T>(&self, input: I, run: Run<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(input, run).await,
            Self::Postgres(postgres) => postgres.read(input, run).await,
        }
    }

    /// Does work that only reads, and looks for words: they are those of all that was written before.
    pub(crate) async fn search<I, T>(&self, input: I, run: Run<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        match self {
            Self::Sqlite(sqlite) => sqlite.search(input, run).await,
            Self::Postgres(postgres) => postgres.read(input, run).await,
        }
    }

    /// Takes the first messages between two places, both left out, from an index that is kept apart from them. Before which place it knows
    /// none.
    pub(crate) async fn forget(&self, places: (i64, i64), patience: Duration) -> Result<i64, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.forget(places, patience).await,
            Self::Postgres(_) => Ok(places.1),
        }
    }

    /// Whether other processes may run turns on it as well.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// See [`chat::Maintenance::renew`].
    pub(crate) async fn renew(&self, owner: &str) -> Result<Roll, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Roll::default()),
            Self::Postgres(postgres) => postgres.renew(owner).await,
        }
    }

    /// Makes sure that this is the only gateway on it, where there can be only one.
    pub(crate) fn claim(&self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.claim(),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Writes that wait or run.
    pub(crate) fn queued(&self) -> usize {
        match self {
            Self::Sqlite(sqlite) => sqlite.queued(),
            Self::Postgres(postgres) => postgres.queued(),
        }
    }

    /// What this process's own writer has committed so far; a database server does its work elsewhere.
    pub(crate) fn commits(&self) -> u64 {
        match self {
            Self::Sqlite(sqlite) => sqlite.commits(),
            Self::Postgres(_) => 0,
        }
    }

    pub(crate) async fn close(&self, within: Duration) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.close(within).await,
            Self::Postgres(postgres) => postgres.close(within).await,
        }
    }
}

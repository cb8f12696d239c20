//! Conversations, turns, keys and the ledger on SQLite or PostgreSQL, behind [`chat::ConversationStore`] and
//! [`chat::Maintenance`].
//!
//! Every operation is one function over a `conn::Conn`, written once for both databases. `backend` runs it: on SQLite in
//! the one writer's next group commit (`writer`) or on a connection for reading (`sqlite`), on PostgreSQL in a transaction of its own (`postgres`).

mod accept;
mod backend;
mod checkpoint;
mod config;
mod conn;
mod conversation;
mod conversations;
mod end;
mod erase;
mod error;
mod fork;
mod gathered;
mod idempotency;
mod index;
mod indexer;
mod key;
mod ledger;
mod list;
mod log;
mod maintenance;
mod message;
mod migrate;
mod observe;
mod outage;
mod postgres;
mod processes;
mod row;
mod search;
mod sqlite;
mod tasks;
mod thread;
mod turn;
mod upstream;
mod work;
mod writer;

use std::sync::Arc;

use tokio_util::task::TaskTracker;

pub use config::Config;
pub use error::OpenError;

use backend::Backend;
use config::Location;

/// A store: implements [`chat::ConversationStore`] and [`chat::Maintenance`].
#[derive(Debug)]
pub struct Store {
    backend: Backend,
}

impl Store {
    /// Makes sure that no other gateway runs turns on a store that only one can use: a SQLite file. For the process that runs them;
    /// others may open the file meanwhile.
    ///
    /// # Errors
    /// [`OpenError::Taken`]; the file's folder takes no further file.
    pub fn claim(&self) -> Result<(), OpenError> {
        self.backend.claim()
    }

    /// How many groups of writes this process has committed to a SQLite file so far: what its writer's thread is busy with. 0 on PostgreSQL,
    /// which does that elsewhere.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.backend.commits()
    }
}

/// Opens the store, making it and bringing its schema up to date where need be. What it runs in the background is on
/// `tracker`; it ends after [`chat::Maintenance::close`], or when the store is dropped.
///
/// # Errors
/// The URL is wrong, the schema is newer than this gateway, or the database does not answer.
pub async fn open(config: &Config, tracker: &TaskTracker) -> Result<Arc<Store>, OpenError> {
    Ok(Arc::new(Store { backend: Backend::open(config, tracker).await? }))
}

/// Brings the store's schema up to date and leaves.
///
/// # Errors
/// As [`open`].
pub async fn migrate(config: &Config) -> Result<(), OpenError> {
    match config.location()? {
        Location::Postgres => migrate::postgres(&postgres::options(config)?).await,
        Location::Memory => Ok(()),
        location => {
            let mut connection = sqlite::Place::make(config, &location).await?.open()?;
            migrate::sqlite(&mut connection)
        }
    }
}

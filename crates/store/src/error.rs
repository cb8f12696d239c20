//! What a database's failures mean to the caller.

use std::error::Error;
use std::sync::Arc;

use chat::StoreError;

/// Why a store could not be opened or brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is none that a store can have.
    #[error("the storage url {0}")]
    Url(&'static str),
    /// The folder of the database file cannot be made.
    #[error("cannot make the folder of the database file")]
    Folder(#[source] std::io::Error),
    /// Another gateway runs on the file.
    #[error("another gateway runs on this database file: several need PostgreSQL")]
    Taken,
    /// It cannot be found out whether another gateway runs on the file.
    #[error("cannot lock the database file")]
    Lock(#[source] std::io::Error),
    /// A newer version of the gateway has changed the schema: this one would damage it.
    #[error("the store's schema is version {found}, this gateway knows {known}: use the newer gateway")]
    Newer {
        /// The schema's version.
        found: i64,
        /// The newest version that this gateway knows.
        known: i64,
    },
    /// The database does not answer, or not as it should.
    #[error("the database cannot be opened")]
    Database(#[source] Box<dyn Error + Send + Sync>),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// One failure that several callers are told.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Shared(Arc<rusqlite::Error>);

impl Shared {
    pub(crate) fn new(error: rusqlite::Error) -> Self {
        Self(Arc::new(error))
    }
}

/// A failure of a statement on SQLite: something that passes, or something that does not.
pub(crate) fn of_sqlite(error: rusqlite::Error) -> StoreError {
    // The low byte is the sort: ERROR, CORRUPT, CONSTRAINT, MISMATCH, NOTADB. A repeat can never help there.
    const LASTING: [i32; 5] = [1, 11, 19, 20, 26];
    let lasting = match error.sqlite_error() {
        Some(failure) => LASTING.contains(&(failure.extended_code & 0xff)),
        None => true,
    };
    if lasting { StoreError::Damaged(Box::new(error)) } else { StoreError::Unavailable(Box::new(error)) }
}

/// A failure of a statement on PostgreSQL: something that passes, or something that does not.
pub(crate) fn of_database(error: sqlx::Error) -> StoreError {
    let lasting = match &error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_lasting(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => false,
        _ => true,
    };
    if lasting { StoreError::Damaged(Box::new(error)) } else { StoreError::Unavailable(Box::new(error)) }
}

/// Whether a repeat can never help: a broken constraint or value, a damaged table. A code's first two characters are its class.
fn is_lasting(code: &str) -> bool {
    ["22", "23", "42", "XX"].iter().any(|class| code.starts_with(class))
}

/// Whether PostgreSQL gave up a transaction that may well succeed the next time.
pub(crate) fn is_collision(error: &StoreError) -> bool {
    let StoreError::Unavailable(source) = error else { return false };
    source
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| matches!(code.as_ref(), "40001" | "40P01"))
}

/// Whether the server could not be reached, or is going.
pub(crate) fn is_outage(error: &StoreError) -> bool {
    let (StoreError::Unavailable(source) | StoreError::InDoubt(source)) = error else { return false };
    match source.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Io(_) | sqlx::Error::Tls(_)) => true,
        Some(sqlx::Error::Database(error)) => {
            error.code().is_some_and(|code| ["57P", "08"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

/// Something kept that cannot be read.
pub(crate) fn damaged(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Damaged(error.into())
}

/// The work has begun, and nobody knows how it ends.
pub(crate) fn in_doubt(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::InDoubt(error.into())
}

/// The store cannot do anything now.
pub(crate) fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(error.into())
}

//! The schema's versions, applied in order under a lock, each once.

use rusqlite::TransactionBehavior;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::error::OpenError;

const SQLITE: &[&str] = &[include_str!("../migrations/sqlite/0001_begin.sql")];
const POSTGRES: &[&str] = &[include_str!("../migrations/postgres/0001_begin.sql")];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY)";
const NEWEST: &str = "SELECT COALESCE(MAX(version), 0) FROM schema_versions";
const DONE: &str = "INSERT INTO schema_versions (version) VALUES ($1)";

/// Names the lock under which one process at a time changes the schema.
const LOCK: i64 = 0x5357_4954_4348;

/// Brings a SQLite file up to date. Its write lock keeps others out.
pub(crate) fn sqlite(connection: &mut rusqlite::Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLE)?;
    let found: i64 = transaction.query_row(NEWEST, [], |row| row.get(0))?;
    for (version, sql) in missing(SQLITE, found)? {
        transaction.execute_batch(sql)?;
        transaction.execute(DONE, [version])?;
    }
    Ok(transaction.commit()?)
}

/// Brings a PostgreSQL database up to date, over a connection of its own.
pub(crate) async fn postgres(options: &PgConnectOptions) -> Result<(), OpenError> {
    // Another process may be changing a large table: this waits as long as it takes.
    let options = options.clone().options([("statement_timeout", "0"), ("lock_timeout", "0")]);
    let mut connection: PgConnection = options.connect().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    sqlx::query(TABLE).execute(&mut *transaction).await?;
    let found: i64 = sqlx::query_scalar(NEWEST).fetch_one(&mut *transaction).await?;
    for (version, sql) in missing(POSTGRES, found)? {
        sqlx::raw_sql(sql).execute(&mut *transaction).await?;
        sqlx::query(DONE).bind(version).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(connection.close().await?)
}

/// The versions that a schema lacks, each with its number.
fn missing(
    all: &'static [&'static str],
    found: i64,
) -> Result<impl Iterator<Item = (i64, &'static str)>, OpenError> {
    let known = i64::try_from(all.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    Ok((1..).zip(all.iter().copied()).filter(move |(version, _)| *version > found))
}

//! The schema's versions, applied in order under a lock, each once.

use rusqlite::TransactionBehavior;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::error::OpenError;

const SQLITE: &[&str] = &[
    include_str!("../migrations/sqlite/0001_begin.sql"),
    include_str!("../migrations/sqlite/0002_processes.sql"),
    include_str!("../migrations/sqlite/0003_search.sql"),
    include_str!("../migrations/sqlite/0004_search_file.sql"),
];
const POSTGRES: &[&str] = &[
    include_str!("../migrations/postgres/0001_begin.sql"),
    include_str!("../migrations/postgres/0002_processes.sql"),
];

/// The oldest version that a gateway may know and still work beside one that knows the newest: a migration that takes away or gives
/// another meaning to what older gateways use raises it to its own number; one that only adds leaves it. So a rolling upgrade may
/// start an older gateway again after a newer one has changed the schema.
const SQLITE_OLDEST: i64 = 4;
const POSTGRES_OLDEST: i64 = 2;

const FLOOR_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS schema_floor (one BIGINT PRIMARY KEY, oldest BIGINT NOT NULL)";
const FLOOR: &str = "SELECT COALESCE(MAX(oldest), 0) FROM schema_floor";
const RAISE: &str = "INSERT INTO schema_floor (one, oldest) VALUES (1, $1) \
     ON CONFLICT (one) DO UPDATE SET oldest = $1 WHERE schema_floor.oldest < $1";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY)";
const NEWEST: &str = "SELECT COALESCE(MAX(version), 0) FROM schema_versions";
const DONE: &str = "INSERT INTO schema_versions (version) VALUES ($1)";

/// Names the lock under which one process at a time changes the schema.
const LOCK: i64 = 0x5357_4954_4348;

/// Brings a SQLite file up to date. Its write lock keeps others out.
pub(crate) fn sqlite(connection: &mut rusqlite::Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLE)?;
    transaction.execute_batch(FLOOR_TABLE)?;
    let found: i64 = transaction.query_row(NEWEST, [], |row| row.get(0))?;
    let floor: i64 = transaction.query_row(FLOOR, [], |row| row.get(0))?;
    for (version, sql) in missing(SQLITE, found, floor)? {
        transaction.execute_batch(sql)?;
        transaction.execute(DONE, [version])?;
    }
    transaction.execute(RAISE, [SQLITE_OLDEST])?;
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
    sqlx::query(FLOOR_TABLE).execute(&mut *transaction).await?;
    let found: i64 = sqlx::query_scalar(NEWEST).fetch_one(&mut *transaction).await?;
    let floor: i64 = sqlx::query_scalar(FLOOR).fetch_one(&mut *transaction).await?;
    for (version, sql) in missing(POSTGRES, found, floor)? {
        sqlx::raw_sql(sql).execute(&mut *transaction).await?;
        sqlx::query(DONE).bind(version).execute(&mut *transaction).await?;
    }
    sqlx::query(RAISE).bind(POSTGRES_OLDEST).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(connection.close().await?)
}

/// The versions that a schema lacks, each with its number; none where a newer gateway has been, if it said that this one may go on.
fn missing(
    all: &'static [&'static str],
    found: i64,
    floor: i64,
) -> Result<impl Iterator<Item = (i64, &'static str)>, OpenError> {
    let known = i64::try_from(all.len()).unwrap_or(i64::MAX);
    // A newer one that said nothing of older ones is not trusted to have thought of them.
    if found > known && !(1..=known).contains(&floor) {
        return Err(OpenError::Newer { found, known });
    }
    Ok((1..).zip(all.iter().copied()).filter(move |(version, _)| *version > found))
}

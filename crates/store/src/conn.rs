//! One connection to either database, so that every query is written once.
//!
//! Statements use `$1` placeholders and types that both databases have. Where their SQL differs a statement comes as [`Both`].

use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Decode, Encode, PgConnection, Row as _, SqliteConnection, Type};

use chat::StoreError;

use crate::error;

/// A connection, inside of a transaction wherever something is written.
#[derive(Debug)]
pub(crate) enum Conn<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// A statement that the two databases spell differently. Its parameters are the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// What can be sent to both databases.
pub(crate) trait Value<'t>:
    Encode<'t, Sqlite> + Type<Sqlite> + Encode<'t, Postgres> + Type<Postgres>
{
}

impl<'t, T> Value<'t> for T where T: Encode<'t, Sqlite> + Type<Sqlite> + Encode<'t, Postgres> + Type<Postgres> {}

/// What can be read from both databases.
pub(crate) trait Column:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl<T> Column for T where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl Conn<'_> {
    /// A statement that both databases take.
    pub(crate) fn sql(&mut self, sql: &'static str) -> Statement<'_> {
        match self {
            Self::Sqlite(conn) => Statement::Sqlite(sqlx::query(sql), conn),
            Self::Postgres(conn) => Statement::Postgres(sqlx::query(sql), conn),
        }
    }

    /// A statement in this database's own words.
    pub(crate) fn own(&mut self, both: Both) -> Statement<'_> {
        let sql = match self {
            Self::Sqlite(_) => both.sqlite,
            Self::Postgres(_) => both.postgres,
        };
        self.sql(sql)
    }

    /// A statement put together from parts that stand in this crate's source; nothing from outside is ever in it.
    pub(crate) fn assembled(&mut self, sql: String) -> Statement<'_> {
        match self {
            Self::Sqlite(conn) => Statement::Sqlite(sqlx::query(AssertSqlSafe(sql)), conn),
            Self::Postgres(conn) => Statement::Postgres(sqlx::query(AssertSqlSafe(sql)), conn),
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

/// A statement with its parameters so far.
pub(crate) enum Statement<'c> {
    Sqlite(Query<'c, Sqlite, SqliteArguments>, &'c mut SqliteConnection),
    Postgres(Query<'c, Postgres, PgArguments>, &'c mut PgConnection),
}

impl Statement<'_> {
    /// Gives the next parameter.
    pub(crate) fn bind<'t, T: Value<'t>>(self, value: T) -> Self {
        match self {
            Self::Sqlite(query, conn) => Self::Sqlite(query.bind(value), conn),
            Self::Postgres(query, conn) => Self::Postgres(query.bind(value), conn),
        }
    }

    /// Gives the next parameter where PostgreSQL alone has one.
    pub(crate) fn bind_postgres<'t, T: Encode<'t, Postgres> + Type<Postgres>>(
        self,
        value: impl FnOnce() -> T,
    ) -> Self {
        match self {
            Self::Postgres(query, conn) => Self::Postgres(query.bind(value()), conn),
            sqlite @ Self::Sqlite(..) => sqlite,
        }
    }

    /// Runs it and says how many rows it changed.
    pub(crate) async fn run(self) -> Result<u64, StoreError> {
        let done = match self {
            Self::Sqlite(query, conn) => query.execute(conn).await.map(|done| done.rows_affected()),
            Self::Postgres(query, conn) => query.execute(conn).await.map(|done| done.rows_affected()),
        };
        done.map_err(error::of_database)
    }

    /// All rows.
    pub(crate) async fn rows(self) -> Result<Vec<Row>, StoreError> {
        let rows = match self {
            Self::Sqlite(query, conn) => query.fetch_all(conn).await.map(|rows| list(rows, Cells::Sqlite)),
            Self::Postgres(query, conn) => {
                query.fetch_all(conn).await.map(|rows| list(rows, Cells::Postgres))
            }
        };
        rows.map_err(error::of_database)
    }

    /// The first row, if there is one.
    pub(crate) async fn row(self) -> Result<Option<Row>, StoreError> {
        let row = match self {
            Self::Sqlite(query, conn) => query.fetch_optional(conn).await.map(|row| row.map(Cells::Sqlite)),
            Self::Postgres(query, conn) => {
                query.fetch_optional(conn).await.map(|row| row.map(Cells::Postgres))
            }
        };
        Ok(row.map_err(error::of_database)?.map(Row::new))
    }

    /// The row that there always is.
    pub(crate) async fn one(self) -> Result<Row, StoreError> {
        self.row().await?.ok_or_else(|| error::damaged("a row that must be there is not"))
    }
}

fn list<R>(rows: Vec<R>, cells: fn(R) -> Cells) -> Vec<Row> {
    rows.into_iter().map(|row| Row::new(cells(row))).collect()
}

/// A row, read from its first column to its last.
pub(crate) struct Row {
    cells: Cells,
    next: usize,
}

enum Cells {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    fn new(cells: Cells) -> Self {
        Self { cells, next: 0 }
    }

    /// The next column.
    pub(crate) fn take<T: Column>(&mut self) -> Result<T, StoreError> {
        let index = self.next;
        self.next = index.saturating_add(1);
        match &self.cells {
            Cells::Sqlite(row) => row.try_get(index),
            Cells::Postgres(row) => row.try_get(index),
        }
        .map_err(error::of_database)
    }
}

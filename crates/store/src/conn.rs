//! One connection to either database, so that every query is written once.
//!
//! Statements use `$1` placeholders and types that both databases have. Where their SQL differs a statement comes as [`Both`].

use rusqlite::types::{FromSql, ToSql, ToSqlOutput, Value as SqliteValue, ValueRef};
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Decode, Encode, PgConnection, Row as _, Type};
use std::borrow::Cow;

use chat::StoreError;

use crate::error;

/// A connection, inside of a transaction wherever something is written.
///
/// SQLite works on the thread that asks: a statement's future is done at its first poll, and whoever has such a connection is on
/// a thread that may block. Handing each statement to another thread costs more than most statements do.
#[derive(Debug)]
pub(crate) enum Conn<'c> {
    Sqlite(&'c mut rusqlite::Connection),
    Postgres(&'c mut PgConnection),
}

/// A statement that the two databases spell differently. Its parameters are the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// What can be sent to both databases.
pub(crate) trait Value<'t>: ToSql {
    /// What PostgreSQL is sent.
    type Sent: Encode<'t, Postgres> + Type<Postgres>;

    /// The value as PostgreSQL takes it: its text has no U+0000. What a user or a provider writes is escaped before it comes here
    /// ([`crate::row::kept`]); any other text, such as an upstream's id, must never be what a transaction fails by.
    fn sent(self) -> Self::Sent;
}

macro_rules! sent_as_they_are {
    ($($value:ty),+ $(,)?) => {
        $(impl<'t> Value<'t> for $value {
            type Sent = Self;

            fn sent(self) -> Self {
                self
            }
        })+
    };
}

sent_as_they_are!(i64, Option<i64>, Vec<u8>, Option<Vec<u8>>, &'t [u8]);

impl<'t> Value<'t> for &'t str {
    type Sent = Cow<'t, str>;

    fn sent(self) -> Self::Sent {
        plain(self)
    }
}

impl<'t> Value<'t> for Option<&'t str> {
    type Sent = Option<Cow<'t, str>>;

    fn sent(self) -> Self::Sent {
        self.map(plain)
    }
}

impl Value<'_> for String {
    type Sent = Self;

    fn sent(self) -> Self {
        if self.contains('\0') { plain(&self).into_owned() } else { self }
    }
}

impl Value<'_> for Option<String> {
    type Sent = Self;

    fn sent(self) -> Self {
        self.map(Value::sent)
    }
}

/// Text as PostgreSQL can hold it.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

/// What can be read from both databases.
pub(crate) trait Column: FromSql + for<'r> Decode<'r, Postgres> + Type<Postgres> {}

impl<T> Column for T where T: FromSql + for<'r> Decode<'r, Postgres> + Type<Postgres> {}

impl Conn<'_> {
    /// A statement that both databases take.
    pub(crate) fn sql(&mut self, sql: &'static str) -> Statement<'_> {
        match self {
            Self::Sqlite(conn) => Statement::Sqlite(Prepared::new(Cow::Borrowed(sql), conn)),
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
            Self::Sqlite(conn) => Statement::Sqlite(Prepared::new(Cow::Owned(sql), conn)),
            Self::Postgres(conn) => Statement::Postgres(sqlx::query(AssertSqlSafe(sql)), conn),
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

/// A statement with its parameters so far.
pub(crate) enum Statement<'c> {
    Sqlite(Prepared<'c>),
    Postgres(Query<'c, Postgres, PgArguments>, &'c mut PgConnection),
}

impl Statement<'_> {
    /// Gives the next parameter.
    pub(crate) fn bind<'t, T: Value<'t>>(self, value: T) -> Self {
        match self {
            Self::Sqlite(prepared) => Self::Sqlite(prepared.bind(&value)),
            Self::Postgres(query, conn) => Self::Postgres(query.bind(value.sent()), conn),
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
        match self {
            Self::Sqlite(prepared) => prepared.run(),
            Self::Postgres(query, conn) => {
                query.execute(conn).await.map(|done| done.rows_affected()).map_err(error::of_database)
            }
        }
    }

    /// All rows.
    pub(crate) async fn rows(self) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(prepared) => prepared.rows(usize::MAX),
            Self::Postgres(query, conn) => {
                let rows = query.fetch_all(conn).await.map_err(error::of_database)?;
                Ok(rows.into_iter().map(|row| Row::new(Cells::Postgres(row))).collect())
            }
        }
    }

    /// The first row, if there is one.
    pub(crate) async fn row(self) -> Result<Option<Row>, StoreError> {
        match self {
            Self::Sqlite(prepared) => Ok(prepared.rows(1)?.pop()),
            Self::Postgres(query, conn) => {
                let row = query.fetch_optional(conn).await.map_err(error::of_database)?;
                Ok(row.map(|row| Row::new(Cells::Postgres(row))))
            }
        }
    }

    /// The row that there always is.
    pub(crate) async fn one(self) -> Result<Row, StoreError> {
        self.row().await?.ok_or_else(|| error::damaged("a row that must be there is not"))
    }
}

/// A statement for SQLite, prepared once for each connection.
pub(crate) struct Prepared<'c> {
    sql: Cow<'static, str>,
    values: Vec<SqliteValue>,
    /// The first value that could not be turned into one of SQLite's.
    wrong: Option<rusqlite::Error>,
    conn: &'c mut rusqlite::Connection,
}

impl<'c> Prepared<'c> {
    fn new(sql: Cow<'static, str>, conn: &'c mut rusqlite::Connection) -> Self {
        Self { sql, values: Vec::with_capacity(8), wrong: None, conn }
    }

    fn bind(mut self, value: &impl ToSql) -> Self {
        match value.to_sql() {
            Ok(ToSqlOutput::Owned(value)) => self.values.push(value),
            Ok(ToSqlOutput::Borrowed(value)) => match value.try_into() {
                Ok(value) => self.values.push(value),
                Err(error) => self.wrong = Some(error.into()),
            },
            Ok(_) => self.wrong = Some(rusqlite::Error::InvalidQuery),
            Err(error) => self.wrong = Some(error),
        }
        self
    }

    /// Steps to its end, whatever rows there are, and says how many it changed.
    fn run(self) -> Result<u64, StoreError> {
        self.stepped(usize::MAX).map(|(_, changed)| changed)
    }

    fn rows(self, most: usize) -> Result<Vec<Row>, StoreError> {
        self.stepped(most).map(|(rows, _)| rows)
    }

    /// At most so many of its rows, and how many rows it changed.
    fn stepped(self, most: usize) -> Result<(Vec<Row>, u64), StoreError> {
        let Self { sql, values, wrong, conn } = self;
        if let Some(error) = wrong {
            return Err(error::of_sqlite(error));
        }
        // For tests of plans: PostgreSQL tells them itself.
        tracing::trace!(target: "sql", statement = &*sql);
        let taken = (|| {
            let mut statement = conn.prepare_cached(&sql)?;
            for index in 1..=statement.parameter_count() {
                // SQLite numbers `$n` by its first place in the text, not by its digits.
                let number =
                    statement.parameter_name(index).and_then(|name| name.get(1..)?.parse::<usize>().ok());
                let value = number.and_then(|number| values.get(number.checked_sub(1)?));
                let value = value.ok_or(rusqlite::Error::InvalidParameterCount(values.len(), index))?;
                statement.raw_bind_parameter(index, value)?;
            }
            let columns = statement.column_count();
            let mut rows = Vec::new();
            let mut found = statement.raw_query();
            while rows.len() < most
                && let Some(row) = found.next()?
            {
                let cells: rusqlite::Result<_> = (0..columns).map(|column| row.get(column)).collect();
                rows.push(Row::new(Cells::Sqlite(cells?)));
            }
            drop(found);
            Ok(rows)
        })();
        let rows = taken.map_err(error::of_sqlite)?;
        Ok((rows, conn.changes()))
    }
}

/// A row, read from its first column to its last.
pub(crate) struct Row {
    cells: Cells,
    next: usize,
}

enum Cells {
    Sqlite(Vec<SqliteValue>),
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
            Cells::Sqlite(cells) => {
                let cell = cells.get(index).map_or(ValueRef::Null, ValueRef::from);
                T::column_result(cell).map_err(error::damaged)
            }
            Cells::Postgres(row) => row.try_get(index).map_err(error::of_database),
        }
    }
}

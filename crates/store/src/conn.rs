//! One connection to either database, so that every query is written once.
//!
//! Statements use `$1` placeholders and types that both databases have. Where their SQL differs a statement comes as [`Both`].

use rusqlite::types::{FromSql, ToSql, Value as SqliteValue, ValueRef};
use rusqlite::{CachedStatement, Connection};
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Decode, Encode, PgConnection, Row as _, Type};
use std::borrow::Cow;
use std::future::{Future, ready};

use chat::StoreError;
use futures_util::future::Either;

use crate::error;
use crate::gathered::Gathered;

/// A connection, inside of a transaction wherever something is written.
///
/// SQLite works on the thread that asks: a statement's future is done at its first poll, and whoever has such a connection is on
/// a thread that may block. Handing each statement to another thread costs more than most statements do.
#[derive(Debug)]
pub(crate) enum Conn<'c> {
    Sqlite(&'c mut Connection, &'c mut Gathered),
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
            Self::Sqlite(conn, _) => Statement::Sqlite(Prepared::new(sql, conn)),
            Self::Postgres(conn) => Statement::Postgres(sqlx::query(sql), conn),
        }
    }

    /// A statement in this database's own words.
    pub(crate) fn own(&mut self, both: Both) -> Statement<'_> {
        let sql = match self {
            Self::Sqlite(..) => both.sqlite,
            Self::Postgres(_) => both.postgres,
        };
        self.sql(sql)
    }

    /// A statement put together from parts that stand in this crate's source; nothing from outside is ever in it.
    pub(crate) fn assembled(&mut self, sql: String) -> Statement<'_> {
        match self {
            Self::Sqlite(conn, _) => Statement::Sqlite(Prepared::new(&sql, conn)),
            Self::Postgres(conn) => Statement::Postgres(sqlx::query(AssertSqlSafe(sql)), conn),
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// What a SQLite file is told once for all works of a transaction; none on PostgreSQL, where each has a transaction of its own.
    pub(crate) fn gathered(&mut self) -> Option<&mut Gathered> {
        match self {
            Self::Sqlite(_, gathered) => Some(gathered),
            Self::Postgres(_) => None,
        }
    }
}

/// A statement with its parameters so far.
pub(crate) enum Statement<'c> {
    Sqlite(Prepared<'c>),
    Postgres(Query<'c, Postgres, PgArguments>, &'c mut PgConnection),
}

impl<'c> Statement<'c> {
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
    ///
    /// Here and below SQLite's part is done before there is a future: a statement of its stays on its thread.
    pub(crate) fn run(self) -> impl Future<Output = Result<u64, StoreError>> + Send + use<'c> {
        match self {
            Self::Sqlite(prepared) => Either::Left(ready(prepared.run())),
            Self::Postgres(query, conn) => Either::Right(async move {
                query.execute(conn).await.map(|done| done.rows_affected()).map_err(error::of_database)
            }),
        }
    }

    /// All rows.
    pub(crate) fn rows(self) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send + use<'c> {
        match self {
            Self::Sqlite(prepared) => Either::Left(ready(prepared.rows(usize::MAX))),
            Self::Postgres(query, conn) => Either::Right(async move {
                let rows = query.fetch_all(conn).await.map_err(error::of_database)?;
                Ok(rows.into_iter().map(|row| Row::new(Cells::Postgres(row))).collect())
            }),
        }
    }

    /// The first row, if there is one.
    pub(crate) fn row(self) -> impl Future<Output = Result<Option<Row>, StoreError>> + Send + use<'c> {
        match self {
            Self::Sqlite(prepared) => Either::Left(ready(prepared.rows(1).map(|mut rows| rows.pop()))),
            Self::Postgres(query, conn) => Either::Right(async move {
                let row = query.fetch_optional(conn).await.map_err(error::of_database)?;
                Ok(row.map(|row| Row::new(Cells::Postgres(row))))
            }),
        }
    }

    /// The row that there always is.
    pub(crate) fn one(self) -> impl Future<Output = Result<Row, StoreError>> + Send + use<'c> {
        let row = self.row();
        async move { row.await?.ok_or_else(|| error::damaged("a row that must be there is not")) }
    }
}

/// A statement for SQLite, prepared once for each connection. What it is given is handed on at once: nothing is copied twice.
pub(crate) struct Prepared<'c> {
    /// Or what went wrong first.
    statement: rusqlite::Result<CachedStatement<'c>>,
    /// Values given so far.
    given: usize,
    /// How many of the statement's own parameters have one.
    bound: usize,
    conn: &'c Connection,
}

impl<'c> Prepared<'c> {
    fn new(sql: &str, conn: &'c Connection) -> Self {
        // For tests of plans: PostgreSQL tells them itself.
        tracing::trace!(target: "sql", statement = sql);
        Self { statement: conn.prepare_cached(sql), given: 0, bound: 0, conn }
    }

    fn bind(mut self, value: &impl ToSql) -> Self {
        self.given = self.given.saturating_add(1);
        if let Ok(statement) = &mut self.statement {
            let bound = match place_of(statement, self.given) {
                Some(index) => statement.raw_bind_parameter(index, value).map(|()| 1),
                None => Ok(0),
            };
            match bound {
                Ok(bound) => self.bound = self.bound.saturating_add(bound),
                Err(error) => self.statement = Err(error),
            }
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
        let Self { statement, bound, conn, .. } = self;
        let taken = (|| {
            let mut statement = statement?;
            let wanted = statement.parameter_count();
            if bound != wanted {
                return Err(rusqlite::Error::InvalidParameterCount(bound, wanted));
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

/// Where SQLite has the parameter of this number, if the statement has it: it numbers `$n` by its first place in the text, not by
/// its digits.
fn place_of(statement: &CachedStatement<'_>, number: usize) -> Option<usize> {
    let is_it = |index: usize| {
        let name = statement.parameter_name(index).and_then(|name| name.get(1..));
        name.is_some_and(|digits| digits.parse() == Ok(number))
    };
    if is_it(number) { Some(number) } else { (1..=statement.parameter_count()).find(|index| is_it(*index)) }
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

//! The one writer of a SQLite file: many writes, one transaction, one fsync.
//!
//! Writes that wait are taken together, each behind a savepoint of its own, committed at once and then acknowledged. Under load
//! the price of durability is shared; an idle store commits a lone write at once.

use std::time::Instant;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use chat::StoreError;

use crate::conn::Conn;
use crate::error::{Shared, of_database};
use crate::observe;
use crate::work::Work;

/// How many writes share a commit at most.
const GROUP_MAX: usize = 256;

/// Why a group was not committed.
enum Lost {
    /// The transaction could not begin: none of the writes would have done better alone.
    Unbegun(sqlx::Error),
    /// The transaction was lost on the way; one of the writes may be to blame.
    Midway(sqlx::Error),
}

/// The writer: its connection, opened anew after it broke.
#[derive(Debug)]
pub(crate) struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
}

impl Writer {
    pub(crate) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        Self { options, connection: Some(connection) }
    }

    /// Writes until `stop`, then what still waits, then brings the log into the file and closes it.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Box<dyn Work>>, stop: CancellationToken) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            let taken = tokio::select! {
                biased;
                () = stop.cancelled(), if !inbox.is_closed() => { inbox.close(); continue }
                taken = inbox.recv_many(&mut group, GROUP_MAX) => taken,
            };
            if taken == 0 {
                break;
            }
            group.retain(|work| work.take());
            self.commit(&mut group).await;
            group.clear();
        }
        if let Some(mut connection) = self.connection.take() {
            let checkpoint = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
            if let Err(error) = checkpoint.and(connection.close().await) {
                tracing::warn!(error = &error as &dyn std::error::Error, "the store was not closed tidily");
            }
        }
    }

    async fn commit(&mut self, group: &mut [Box<dyn Work>]) {
        if group.is_empty() {
            return;
        }
        let began = Instant::now();
        let attempt = self.attempt(group).await;
        observe::commit(began.elapsed(), attempt.is_ok());
        match attempt {
            Ok(()) => group.iter_mut().for_each(|work| work.acknowledge()),
            Err(Lost::Midway(_)) if group.len() > 1 => self.commit_singly(group).await,
            Err(Lost::Unbegun(error) | Lost::Midway(error)) => fail_all(group, error),
        }
    }

    /// Each write alone, so that the one that broke the group fails alone.
    async fn commit_singly(&mut self, group: &mut [Box<dyn Work>]) {
        let mut rest = group.iter_mut();
        while let Some(work) = rest.next() {
            match self.attempt(std::slice::from_mut(work)).await {
                Ok(()) => work.acknowledge(),
                Err(Lost::Midway(error)) => work.fail(of_database(error)),
                Err(Lost::Unbegun(error)) => {
                    fail_all(std::iter::once(work).chain(rest), error);
                    return;
                }
            }
        }
    }

    async fn attempt(&mut self, group: &mut [Box<dyn Work>]) -> Result<(), Lost> {
        if group.is_empty() {
            return Ok(());
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(Lost::Unbegun)?,
        };
        let done = transaction(&mut connection, group).await;
        // A connection that cannot even go back to the beginning is given up, and with it its transaction.
        let sound = match &done {
            Ok(()) => true,
            Err(Lost::Unbegun(_)) => connection.ping().await.is_ok(),
            Err(Lost::Midway(_)) => roll_back(&mut connection).await,
        };
        if sound {
            self.connection = Some(connection);
        }
        done
    }
}

async fn transaction(connection: &mut SqliteConnection, group: &mut [Box<dyn Work>]) -> Result<(), Lost> {
    if let [work] = group {
        run(connection, "BEGIN IMMEDIATE").await.map_err(Lost::Unbegun)?;
        if !work.run(&mut Conn::Sqlite(connection)).await {
            roll_back(connection).await;
            return Ok(());
        }
    } else {
        run(connection, "BEGIN IMMEDIATE; SAVEPOINT work").await.map_err(Lost::Unbegun)?;
        for work in group {
            let stays = work.run(&mut Conn::Sqlite(connection)).await;
            // Going back leaves the savepoint where it is, for the next. An error here means that the whole transaction is
            // gone: SQLite rolls it back itself when the disk is full or fails.
            let then = if stays { "RELEASE work; SAVEPOINT work" } else { "ROLLBACK TO work" };
            run(connection, then).await.map_err(Lost::Midway)?;
        }
    }
    run(connection, "COMMIT").await.map_err(Lost::Midway)
}

/// Goes back to before the transaction, which SQLite may have done already.
async fn roll_back(connection: &mut SqliteConnection) -> bool {
    run(connection, "ROLLBACK").await.is_ok() || run(connection, "BEGIN; ROLLBACK").await.is_ok()
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(connection).await.map(|_| ())
}

fn fail_all<'w>(group: impl IntoIterator<Item = &'w mut Box<dyn Work>>, error: sqlx::Error) {
    let error = Shared::new(error);
    for work in group {
        work.fail(StoreError::Unavailable(Box::new(error.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Job, Run};

    type Answer = tokio::sync::oneshot::Receiver<Result<u64, StoreError>>;

    fn job(sql: &'static str) -> (Box<dyn Work>, Answer) {
        let run: Run<&'static str, u64> = |conn, sql| Box::pin(conn.sql(sql).run());
        let (job, _, answer) = Job::new(sql, run);
        (Box::new(job), answer)
    }

    /// SQLite rolls the whole transaction back itself when the disk fails: what else was in the group is done once more.
    #[tokio::test]
    async fn a_lost_transaction_takes_nobody_with_it() {
        let options = SqliteConnectOptions::new().in_memory(true);
        let mut connection = options.connect().await.unwrap();
        connection.execute("CREATE TABLE one (number INTEGER)").await.unwrap();
        let mut writer = Writer::new(options, connection);
        let (mut group, answers): (Vec<_>, Vec<_>) =
            ["INSERT INTO one VALUES (1)", "ROLLBACK", "INSERT INTO one VALUES (2)", "NONSENSE"]
                .into_iter()
                .map(job)
                .unzip();
        writer.commit(&mut group).await;
        let mut done = Vec::new();
        for answer in answers {
            done.push(answer.await.unwrap().is_ok());
        }
        assert_eq!(done, [true, false, true, false]);
        let mut connection = writer.connection.unwrap();
        let kept: i64 =
            sqlx::query_scalar("SELECT SUM(number) FROM one").fetch_one(&mut connection).await.unwrap();
        assert_eq!(kept, 3);
    }
}

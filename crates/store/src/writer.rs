//! The one writer of a SQLite file: many writes, one transaction, one fsync.
//!
//! Writes that wait are taken together, each behind a savepoint of its own, committed at once and then acknowledged. Under load
//! the price of durability is shared; an idle store commits a lone write at once.

use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use chat::StoreError;

use crate::conn::Conn;
use crate::error::{Shared, of_sqlite};
use crate::observe;
use crate::sqlite::Place;
use crate::work::Work;

/// How many writes share a commit at most.
const GROUP_MAX: usize = 256;

/// Why a group was not committed.
enum Lost {
    /// The transaction could not begin: none of the writes would have done better alone.
    Unbegun(rusqlite::Error),
    /// The transaction was lost on the way; one of the writes may be to blame.
    Midway(rusqlite::Error),
}

/// The writer: its connection, opened anew after it broke.
#[derive(Debug)]
pub(crate) struct Writer {
    place: Place,
    connection: Option<Connection>,
}

impl Writer {
    pub(crate) fn new(place: Place, connection: Connection) -> Self {
        Self { place, connection: Some(connection) }
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
        if let Some(connection) = self.connection.take() {
            let checkpoint = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
            if let Err(error) = checkpoint.and(connection.close().map_err(|(_, error)| error)) {
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
                Err(Lost::Midway(error)) => work.fail(of_sqlite(error)),
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
            None => self.place.open().map_err(Lost::Unbegun)?,
        };
        let done = transaction(&mut connection, group).await;
        // A connection that cannot even go back to the beginning is given up, and with it its transaction.
        let sound = match &done {
            Ok(()) => true,
            Err(Lost::Unbegun(_)) => run(&connection, "SELECT 1").is_ok(),
            Err(Lost::Midway(_)) => roll_back(&connection),
        };
        if sound {
            self.connection = Some(connection);
        }
        done
    }
}

async fn transaction(connection: &mut Connection, group: &mut [Box<dyn Work>]) -> Result<(), Lost> {
    run(connection, "BEGIN IMMEDIATE").map_err(Lost::Unbegun)?;
    if let [work] = group {
        if !work.run(&mut Conn::Sqlite(connection)).await {
            roll_back(connection);
            return Ok(());
        }
    } else {
        for work in group {
            // An error here means that the whole transaction is gone: SQLite rolls it back itself when the disk is full or fails.
            run(connection, "SAVEPOINT work").map_err(Lost::Midway)?;
            if !work.run(&mut Conn::Sqlite(connection)).await {
                run(connection, "ROLLBACK TO work").map_err(Lost::Midway)?;
            }
            run(connection, "RELEASE work").map_err(Lost::Midway)?;
        }
    }
    run(connection, "COMMIT").map_err(Lost::Midway)
}

/// Goes back to before the transaction, which SQLite may have done already.
fn roll_back(connection: &Connection) -> bool {
    run(connection, "ROLLBACK").is_ok()
        || (run(connection, "BEGIN").is_ok() && run(connection, "ROLLBACK").is_ok())
}

fn run(connection: &Connection, sql: &'static str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.raw_query().next().map(|_| ())
}

fn fail_all<'w>(group: impl IntoIterator<Item = &'w mut Box<dyn Work>>, error: rusqlite::Error) {
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
        let connection = Place::memory().open().unwrap();
        connection.execute_batch("CREATE TABLE one (number INTEGER)").unwrap();
        let mut writer = Writer::new(Place::memory(), connection);
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
        let connection = writer.connection.unwrap();
        let kept: i64 = connection.query_row("SELECT SUM(number) FROM one", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 3);
    }
}

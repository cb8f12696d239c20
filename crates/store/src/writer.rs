//! The one writer of a SQLite file: many writes, one transaction, one fsync.
//!
//! Writes that wait are taken together, committed at once and then acknowledged. Under load the price of durability is shared; an
//! idle store commits a lone write at once. A write that is refused after it has changed something is rare: the others are then done
//! once more, each behind a savepoint of its own, which all of them would pay for otherwise (a copy of each page that it changes).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use chat::StoreError;

use crate::conn::Conn;
use crate::error::{Shared, of_sqlite, unavailable};
use crate::gathered::{self, Gathered};
use crate::log::{self, Log, Schedule, Step};
use crate::sqlite::Place;
use crate::work::Work;
use crate::{index, observe, tasks};

/// How many writes share a commit at most.
const GROUP_MAX: usize = 256;

/// Why a group was not committed.
enum Lost {
    /// The transaction could not begin: none of the writes would have done better alone.
    Unbegun(rusqlite::Error),
    /// The transaction was lost on the way; one of the writes may be to blame.
    Midway(StoreError),
}

impl From<rusqlite::Error> for Lost {
    fn from(error: rusqlite::Error) -> Self {
        Self::Midway(of_sqlite(error))
    }
}

/// What became of a transaction that was not lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// What is to stay is durable.
    Committed,
    /// The same, and there is something new in the queue of the search's index.
    Queued,
    /// Nothing was written: a write was refused after it had changed something, and its changes are not parted from the others'.
    Mixed,
}

/// How the writes of a group are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Apart {
    /// Not at all: enough unless one is refused after it has changed something.
    Not,
    /// Each has a savepoint.
    Savepoints,
}

/// The writer: its connection, opened anew after it broke.
#[derive(Debug)]
pub(crate) struct Writer {
    place: Place,
    connection: Option<Connection>,
    tracker: TaskTracker,
    log: Arc<Log>,
    schedule: Schedule,
    /// How many groups it has committed, or tried to.
    commits: Arc<AtomicU64>,
    /// Who sees to the search's index, if it is not the writer.
    indexer: Option<Arc<Notify>>,
}

impl Writer {
    pub(crate) fn new(
        place: Place,
        mut connection: Connection,
        tracker: TaskTracker,
    ) -> rusqlite::Result<Self> {
        let log = Log::new();
        log.watch(&mut connection)?;
        let schedule = Schedule::new(log::PAGES);
        Ok(Self {
            place,
            connection: Some(connection),
            tracker,
            log,
            schedule,
            commits: Arc::default(),
            indexer: None,
        })
    }

    /// How many groups it has committed, or tried to.
    pub(crate) fn commits(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.commits)
    }

    /// Tells whoever this is when there is something new in the queue of the search's index.
    pub(crate) fn tell(&mut self, indexer: Arc<Notify>) {
        self.indexer = Some(indexer);
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
            self.tend_log();
        }
        self.log.close();
        if let Some(connection) = self.connection.take() {
            let checkpoint = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
            if let Err(error) = checkpoint.and(connection.close().map_err(|(_, error)| error)) {
                tracing::warn!(error = &error as &dyn std::error::Error, "the store was not closed tidily");
            }
        }
    }

    /// Whoever waited for the commit has been answered.
    fn tend_log(&mut self) {
        match (self.schedule.next(&self.log), &self.connection) {
            (Step::Beside, _) => {
                let (log, place) = (Arc::clone(&self.log), self.place.clone());
                tasks::spawn_blocking(&self.tracker, move || log.bring_in(|| place.open()));
            }
            (Step::Here, Some(connection)) => log::bring_in(connection),
            (Step::Here, None) | (Step::Nothing, _) => {}
        }
    }

    async fn commit(&mut self, group: &mut [Box<dyn Work>]) {
        if group.is_empty() {
            return;
        }
        let began = Instant::now();
        let attempt = match self.attempt(group, Apart::Not).await {
            Ok(Done::Mixed) => self.attempt(group, Apart::Savepoints).await,
            done => done,
        };
        observe::commit(began.elapsed(), attempt.is_ok());
        self.commits.fetch_add(1, Ordering::Relaxed);
        if matches!(attempt, Ok(Done::Queued)) {
            self.index();
        }
        match attempt {
            Ok(_) => group.iter_mut().for_each(|work| work.acknowledge()),
            Err(Lost::Unbegun(error)) => fail_all(group, error),
            Err(Lost::Midway(error)) => match group {
                [work] => work.fail(error),
                several => self.commit_singly(several).await,
            },
        }
    }

    /// Sees to the search's index, or has it seen to.
    fn index(&mut self) {
        match (&self.indexer, &mut self.connection) {
            (Some(indexer), _) => indexer.notify_one(),
            (None, Some(connection)) if self.place.is_memory() => {
                // What cannot be told now stays queued.
                index::keep_up(connection).ok();
            }
            (None, _) => {}
        }
    }

    /// Each write alone, so that the one that broke the group fails alone.
    async fn commit_singly(&mut self, group: &mut [Box<dyn Work>]) {
        let mut rest = group.iter_mut();
        while let Some(work) = rest.next() {
            match self.attempt(std::slice::from_mut(work), Apart::Not).await {
                Ok(done) => {
                    if done == Done::Queued {
                        self.index();
                    }
                    work.acknowledge();
                }
                Err(Lost::Midway(error)) => work.fail(error),
                Err(Lost::Unbegun(error)) => {
                    fail_all(std::iter::once(work).chain(rest), error);
                    return;
                }
            }
        }
    }

    async fn attempt(&mut self, group: &mut [Box<dyn Work>], apart: Apart) -> Result<Done, Lost> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.place.open().map_err(Lost::Unbegun)?;
                self.log.watch(&mut connection).map_err(Lost::Unbegun)?;
                connection
            }
        };
        let done = transaction(&mut connection, group, apart).await;
        // A connection that cannot even go back to the beginning is given up, and with it its transaction.
        let sound = match &done {
            Ok(Done::Committed | Done::Queued) => true,
            Err(Lost::Unbegun(_)) => run(&connection, "SELECT 1").is_ok(),
            Ok(Done::Mixed) | Err(Lost::Midway(_)) => roll_back(&connection),
        };
        if sound {
            self.connection = Some(connection);
        }
        done
    }
}

async fn transaction(
    connection: &mut Connection,
    group: &mut [Box<dyn Work>],
    apart: Apart,
) -> Result<Done, Lost> {
    run(connection, "BEGIN IMMEDIATE").map_err(Lost::Unbegun)?;
    let mut gathered = Gathered::default();
    let (alone, mut stay) = (group.len() == 1, false);
    for work in group {
        // An error here means that the whole transaction is gone: SQLite rolls it back itself when the disk is full or fails.
        if apart == Apart::Savepoints {
            // What others have gathered is not behind this one's savepoint.
            gathered::write(&mut Conn::Sqlite(connection, &mut gathered)).await.map_err(Lost::Midway)?;
            run(connection, "SAVEPOINT work")?;
        }
        let (before, queued) = (connection.total_changes(), gathered.queued);
        let stays = work.run(&mut Conn::Sqlite(connection, &mut gathered)).await;
        stay |= stays;
        if !alone && connection.is_autocommit() {
            // What follows would be written at once, and this once more.
            return Err(Lost::Midway(unavailable("the transaction was rolled back")));
        }
        match apart {
            Apart::Not if !stays && !alone && before != connection.total_changes() => return Ok(Done::Mixed),
            Apart::Not => {}
            Apart::Savepoints => {
                if !stays {
                    run(connection, "ROLLBACK TO work")?;
                    gathered = Gathered::before(queued);
                }
                run(connection, "RELEASE work")?;
            }
        }
    }
    if !stay {
        roll_back(connection);
        return Ok(Done::Committed);
    }
    gathered::write(&mut Conn::Sqlite(connection, &mut gathered)).await.map_err(Lost::Midway)?;
    run(connection, "COMMIT")?;
    Ok(if gathered.queued { Done::Queued } else { Done::Committed })
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
    use crate::Config;
    use crate::config::Location;
    use crate::search;
    use crate::work::{Job, Run};

    type Answer = tokio::sync::oneshot::Receiver<Result<u64, StoreError>>;

    fn job(sql: &'static str) -> (Box<dyn Work>, Answer) {
        let run: Run<&'static str, u64> = |conn, sql| Box::pin(conn.sql(sql).run());
        let (job, _, answer) = Job::new(sql, run);
        (Box::new(job), answer)
    }

    /// What is refused leaves nothing behind, whatever it had done, and takes nothing of the others with it: rows, and what the search
    /// knows.
    #[tokio::test]
    async fn what_is_refused_is_parted_from_the_rest() {
        let mut connection = Place::memory().open().unwrap();
        crate::migrate::sqlite(&mut connection).unwrap();
        connection.execute_batch("CREATE TABLE one (number INTEGER)").unwrap();
        let mut writer = Writer::new(Place::memory(), connection, TaskTracker::new()).unwrap();
        let run: Run<(&'static str, bool), u64> = |conn, (word, stays)| {
            Box::pin(async move {
                let place = i64::try_from(word.len()).unwrap();
                conn.sql("INSERT INTO one VALUES ($1)").bind(place).run().await?;
                conn.sql(
                    "INSERT INTO messages (place, id, role, author, status, created_at, text) \
                     VALUES ($1, x'', 'user', 'user', 'completed', 0, $2)",
                )
                .bind(place)
                .bind(*word)
                .run()
                .await?;
                search::add_message(conn, place).await?;
                if *stays { Ok(0) } else { Err(StoreError::NoTurn) }
            })
        };
        let words = [("a", true), ("bb", false), ("ccc", true), ("dddd", false)];
        let (mut group, answers): (Vec<Box<dyn Work>>, Vec<_>) = words
            .into_iter()
            .map(|input| {
                let (job, _, answer) = Job::new(input, run);
                (Box::new(job) as Box<dyn Work>, answer)
            })
            .unzip();
        writer.commit(&mut group).await;
        for (answer, (_, stays)) in answers.into_iter().zip(words) {
            assert_eq!(answer.await.unwrap().is_ok(), stays);
        }
        let connection = writer.connection.unwrap();
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("SELECT SUM(number) FROM one"), 1 + 3);
        let found =
            "SELECT SUM(rowid) FROM search_messages WHERE search_messages MATCH 'a OR bb OR ccc OR dddd'";
        assert_eq!(number(found), 1 + 3);
        assert_eq!(number("SELECT COUNT(*) FROM search_queue"), 0, "what is known need not be told");
    }

    /// The log of a file that is written to all the time begins anew now and then, whoever brings it into the file.
    #[tokio::test]
    async fn a_log_stays_short() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        let location = Location::File(file.clone());
        let place = Place::make(&Config::new(""), &location).await.unwrap();
        let connection = place.open().unwrap();
        connection.execute_batch("CREATE TABLE one (text TEXT)").unwrap();
        let mut writer = Writer::new(place, connection, TaskTracker::new()).unwrap();
        let pages = 32;
        writer.schedule = Schedule::new(pages);
        let length = || std::fs::metadata(file.with_extension("db-wal")).unwrap().len();
        for _ in 0..200 {
            let (job, answer) = job("INSERT INTO one VALUES (hex(zeroblob(20000)))");
            writer.commit(&mut [job]).await;
            assert!(answer.await.unwrap().is_ok());
            writer.tend_log();
            // A dozen pages for each, and what was written before it is seen to.
            assert!(length() < u64::from(pages * 20) * 4200, "{}", length());
        }
        writer.log.close();
    }

    /// SQLite rolls the whole transaction back itself when the disk fails: what else was in the group is done once more.
    #[tokio::test]
    async fn a_lost_transaction_takes_nobody_with_it() {
        let connection = Place::memory().open().unwrap();
        connection.execute_batch("CREATE TABLE one (number INTEGER)").unwrap();
        let mut writer = Writer::new(Place::memory(), connection, TaskTracker::new()).unwrap();
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

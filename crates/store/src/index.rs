//! The words of messages, in a file of their own beside a SQLite store.
//!
//! A full-text index merges its segments now and then, and takes the longer for it the more there is: in the store's own file everybody
//! who waits for a commit would wait for that. So the transaction that writes a message only notes its place in `search_queue`, and
//! the index is told afterwards, over a connection of its own ([`crate::indexer`]). Each step is one transaction of the index that also says
//! up to where it was told, so nothing is told twice, whatever is killed in between. An index that is missing, or that does not fit the
//! store (a copy was put back), is made anew from the messages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, TransactionBehavior, ffi, params};

/// How many messages one transaction takes in at most, and how many bytes of text before it stops.
const STEP: i64 = 256;
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// How many messages one transaction takes out: half a millisecond each, and whoever searches waits for it.
const FORGET: i64 = 64;

/// What the file behind `search` is set to. What it loses with the power is still in the queue; what is erased is overwritten.
const SETTINGS: &str = "PRAGMA search.synchronous = NORMAL; PRAGMA search.secure_delete = ON; \
    PRAGMA search.cache_size = -4096; PRAGMA temp_store = MEMORY";

const SCHEMA: &str = "
    CREATE VIRTUAL TABLE search.search_messages USING fts5 (
        text, content = '', tokenize = 'unicode61 remove_diacritics 0'
    );
    INSERT INTO search.search_messages (search_messages, rank) VALUES ('secure-delete', 1);
    INSERT INTO search.search_messages (search_messages, rank) VALUES ('automerge', 8);
    CREATE TABLE search.search_state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        -- As in the store's search_index.
        id BLOB NOT NULL,
        -- Up to which number of the queue it was told.
        applied INTEGER NOT NULL,
        -- While it is made anew: up to which place messages are in it.
        walked INTEGER
    );
    INSERT INTO search.search_state (one, id, applied, walked) VALUES (1, randomblob(16), 0, NULL);";

/// What lies beside a file: its name with an end to it.
pub(crate) fn beside(file: &Path, end: &str) -> PathBuf {
    let mut path = file.to_path_buf().into_os_string();
    path.push(end);
    path.into()
}

/// Where the index of a store's file is.
fn path_of(store: &Path) -> PathBuf {
    beside(store, "-search")
}

/// Opens the index of a store's file, and the store beside it. An index that cannot be read is made anew.
///
/// `queue` is as for [`settle`].
pub(crate) fn open(store: &Path, queue: Option<Queue>, busy: Duration) -> rusqlite::Result<Connection> {
    match open_as_is(store, queue, busy) {
        Err(error) if is_broken(&error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the search's index cannot be read: it is made anew"
            );
            remove(store);
            open_as_is(store, queue, busy)
        }
        opened => opened,
    }
}

/// Removes the index of a store's file, with its log.
pub(crate) fn remove(store: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        // What cannot be removed is found broken again.
        drop(std::fs::remove_file(beside(&path_of(store), suffix)));
    }
}

fn open_as_is(store: &Path, queue: Option<Queue>, busy: Duration) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    connection.busy_timeout(busy)?;
    attach(&connection, &path_of(store))?;
    connection.execute("ATTACH DATABASE ?1 AS store", [name(store)?])?;
    connection.pragma_update(Some("search"), "journal_mode", "WAL")?;
    connection.execute_batch(SETTINGS)?;
    make(&mut connection)?;
    settle(&mut connection, queue)?;
    Ok(connection)
}

/// Gives a store in memory an index in memory.
pub(crate) fn attach_in_memory(store: &mut Connection) -> rusqlite::Result<()> {
    attach(store, Path::new(":memory:"))?;
    make(store)
}

/// Lets a connection of the store look into the index, unless it can already. One that was made anew is another file.
pub(crate) fn attach_to(reader: &Connection, store: &Path) -> rusqlite::Result<()> {
    let same = "SELECT 1 FROM search.search_state JOIN search_index USING (id)";
    if reader.prepare(same).and_then(|mut same| same.exists([])).unwrap_or(false) {
        return Ok(());
    }
    reader.flush_prepared_statement_cache();
    // It may look into none so far.
    reader.execute_batch("DETACH DATABASE search").ok();
    attach(reader, &path_of(store))
}

fn attach(connection: &Connection, index: &Path) -> rusqlite::Result<()> {
    connection.execute("ATTACH DATABASE ?1 AS search", [name(index)?]).map(drop)
}

fn name(path: &Path) -> rusqlite::Result<&str> {
    path.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(path.to_path_buf()))
}

/// What a search has found.
pub(crate) fn damage() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), None)
}

/// Whether a file is damaged, or no database.
pub(crate) fn is_damaged(error: &rusqlite::Error) -> bool {
    is_one_of(error, &[ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB])
}

/// Whether this can be mended by making the index anew: it is damaged, or has other tables. Of the statements here alone: what a
/// user looks for may be an error of its own.
pub(crate) fn is_broken(error: &rusqlite::Error) -> bool {
    is_damaged(error) || is_one_of(error, &[ffi::SQLITE_ERROR])
}

fn is_one_of(error: &rusqlite::Error, codes: &[i32]) -> bool {
    error.sqlite_error().is_some_and(|failure| codes.contains(&(failure.extended_code & 0xff)))
}

fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let made = "SELECT 1 FROM search.sqlite_master WHERE name = 'search_state'";
    if !transaction.prepare(made)?.exists([])? {
        transaction.execute_batch(SCHEMA)?;
    }
    transaction.commit()
}

/// What a store's queue says of the index that belongs to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue {
    /// Up to which number it was told and sealed.
    gone: i64,
    /// The last number that was given.
    last: i64,
}

impl Queue {
    /// As it is now.
    pub(crate) fn of(store: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT (SELECT MIN(n) FROM search_queue), (SELECT seq FROM sqlite_sequence WHERE name = 'search_queue')";
        store.query_row(sql, [], |row| {
            let (first, last): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            let last = last.unwrap_or(0);
            Ok(Self { gone: first.map_or(last, |first| first.saturating_sub(1)), last })
        })
    }
}

/// Whether there is anything that an index would know.
pub(crate) fn is_needed(store: &Connection) -> rusqlite::Result<bool> {
    store.prepare("SELECT 1 FROM messages LIMIT 1")?.exists([])
}

/// Begins an index anew that does not fit the store. `queue` is of before anything was written since the store was opened: a copy that
/// was put back would give the same numbers once more. None where others may write meanwhile, or the index was open before.
fn settle(connection: &mut Connection, queue: Option<Queue>) -> rusqlite::Result<()> {
    // Of both files: while this is open nobody tells the index more, so nothing goes from the queue that it was not told.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (id, applied): (Vec<u8>, i64) =
        transaction
            .query_row("SELECT id, applied FROM search_state", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let wanted: Vec<u8> = transaction.query_row("SELECT id FROM search_index", [], |row| row.get(0))?;
    let now = Queue::of(&transaction)?;
    let Queue { gone, last } = queue.unwrap_or(now);
    if id != wanted || !(gone..=last).contains(&applied) {
        let id: Vec<u8> = transaction.query_row("SELECT randomblob(16)", [], |row| row.get(0))?;
        transaction.execute("INSERT INTO search_messages (search_messages) VALUES ('delete-all')", [])?;
        let applied = now.gone;
        transaction
            .execute("UPDATE search_state SET id = ?1, applied = ?2, walked = 0", params![id, applied])?;
        transaction.execute("UPDATE search_index SET id = ?1", [id])?;
    }
    transaction.commit()
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Up to which number of the queue the index was told; none while it is made anew.
    pub(crate) applied: Option<i64>,
    /// There may be more to be told.
    pub(crate) more: bool,
}

/// The number of what was queued last, or 0.
pub(crate) fn queued(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT COALESCE(MAX(n), 0) FROM search_queue")?.query_row([], |row| row.get(0))
}

/// Tells the index some more, in one transaction.
pub(crate) fn step(connection: &mut Connection) -> rusqlite::Result<Step> {
    let transaction = connection.transaction()?;
    let (applied, walked): (i64, Option<i64>) = transaction
        .prepare_cached("UPDATE search_state SET applied = applied RETURNING applied, walked")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let step = match walked {
        Some(place) => walk(&transaction, place)?,
        None => follow(&transaction, applied)?,
    };
    transaction.commit()?;
    Ok(step)
}

/// Takes the first messages between two places out, both left out, in one durable transaction: before they are erased in the store. Before
/// which place none is left.
pub(crate) fn forget(connection: &mut Connection, places: (i64, i64)) -> rusqlite::Result<i64> {
    durably(connection, |connection| {
        let transaction = connection.transaction()?;
        transaction.execute(TOUCH, [])?;
        let sql = "SELECT place, place, text, NULL FROM messages WHERE place > ?1 AND place < ?2 ORDER BY place LIMIT ?3";
        let Batch { last, news, full } = Batch::read(&transaction, sql, places, FORGET)?;
        tell(&transaction, news)?;
        transaction.commit()?;
        Ok(last.filter(|_| full).map_or(places.1, |last| last.saturating_add(1)))
    })
}

/// Makes durable what the index was told: only then may it go from the queue.
pub(crate) fn seal(connection: &mut Connection) -> rusqlite::Result<()> {
    durably(connection, |connection| connection.execute(TOUCH, []).map(drop))
}

/// Writes to the index, and changes nothing.
const TOUCH: &str = "UPDATE search_state SET applied = applied";

/// What is committed in `work` outlives the power, and what was committed before it.
fn durably<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("PRAGMA search.synchronous = FULL")?;
    let done = work(connection);
    connection.execute_batch("PRAGMA search.synchronous = NORMAL")?;
    done
}

/// Tells an index in memory all that is queued: it is never killed without its queue, so nothing has to stay there.
pub(crate) fn keep_up(connection: &mut Connection) -> rusqlite::Result<()> {
    while step(connection)?.more {}
    connection.prepare_cached("DELETE FROM search_queue")?.execute([]).map(drop)
}

/// What is to be done at a place.
enum News {
    Add(String),
    Take(String),
}

impl News {
    fn bytes(&self) -> usize {
        let (Self::Add(text) | Self::Take(text)) = self;
        text.len()
    }
}

/// The next of all messages, while the index is made anew.
fn walk(transaction: &Transaction<'_>, after: i64) -> rusqlite::Result<Step> {
    let sql = "SELECT place, place, NULL, text FROM messages WHERE place > ?1 AND place < ?2 \
               AND place >> 24 NOT IN (SELECT conversation FROM erasures) ORDER BY place LIMIT ?3";
    let Batch { last, news, full } = Batch::read(transaction, sql, (after, i64::MAX), STEP)?;
    tell(transaction, news)?;
    let walked = last.filter(|_| full);
    transaction.prepare_cached("UPDATE search_state SET walked = ?1")?.execute([walked])?;
    Ok(Step { applied: None, more: true })
}

/// The next of the queue. A message that is gone again, or about to go, is passed over.
fn follow(transaction: &Transaction<'_>, applied: i64) -> rusqlite::Result<Step> {
    let sql = "SELECT q.n, q.place, q.erased, m.text FROM search_queue q \
               LEFT JOIN messages m ON m.place = q.place AND q.erased IS NULL \
               AND q.place >> 24 NOT IN (SELECT conversation FROM erasures) \
               WHERE q.n > ?1 AND q.n < ?2 ORDER BY q.n LIMIT ?3";
    let Batch { last, news, full } = Batch::read(transaction, sql, (applied, i64::MAX), STEP)?;
    tell(transaction, news)?;
    let applied = last.unwrap_or(applied);
    transaction.prepare_cached("UPDATE search_state SET applied = ?1")?.execute([applied])?;
    Ok(Step { applied: Some(applied), more: full })
}

/// Rows that are taken in together.
struct Batch {
    last: Option<i64>,
    news: Vec<(i64, News)>,
    /// There may be more of them.
    full: bool,
}

impl Batch {
    /// What the statement finds between two numbers, both left out, so many at most.
    fn read(
        transaction: &Transaction<'_>,
        sql: &'static str,
        (after, before): (i64, i64),
        most: i64,
    ) -> rusqlite::Result<Self> {
        let mut statement = transaction.prepare_cached(sql)?;
        let mut rows = statement.query([after, before, most])?;
        let mut batch = Self { last: None, news: Vec::new(), full: false };
        let (mut count, mut bytes) = (0_i64, 0_usize);
        while let Some(row) = rows.next()? {
            batch.last = Some(row.get(0)?);
            if let Some(news) = read(row)? {
                bytes = bytes.saturating_add(news.bytes());
                batch.news.push((row.get(1)?, news));
            }
            count = count.saturating_add(1);
            if count == most || bytes >= STEP_BYTES {
                batch.full = true;
                break;
            }
        }
        Ok(batch)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Option<News>> {
    let erased: Option<String> = row.get(2)?;
    Ok(match erased {
        Some(text) => Some(News::Take(text)),
        None => row.get::<_, Option<String>>(3)?.map(News::Add),
    })
}

fn tell(transaction: &Transaction<'_>, mut news: Vec<(i64, News)>) -> rusqlite::Result<()> {
    // The index takes what comes in this order together, and begins a segment at each step back.
    news.sort_by_key(|(place, _)| *place);
    let mut known = transaction.prepare_cached("SELECT 1 FROM search_messages_docsize WHERE id = ?1")?;
    let mut add = transaction.prepare_cached("INSERT INTO search_messages (rowid, text) VALUES (?1, ?2)")?;
    let mut take = transaction.prepare_cached(
        "INSERT INTO search_messages (search_messages, rowid, text) VALUES ('delete', ?1, ?2)",
    )?;
    for (place, news) in news {
        // Making it anew and the queue may both come by a message.
        match (news, known.exists([place])?) {
            (News::Add(text), false) => add.execute(params![place, text])?,
            (News::Take(text), true) => take.execute(params![place, text])?,
            (News::Add(_), true) | (News::Take(_), false) => 0,
        };
    }
    Ok(())
}

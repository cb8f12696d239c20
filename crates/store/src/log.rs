//! The write-ahead log of a SQLite file, brought into the file beside the writer.
//!
//! SQLite's own way is to do it within the commit that makes the log long enough: everybody who waits for that commit waits for
//! thousands of pages and two more fsyncs as well. Here another connection does it while the writer goes on. The log can only begin
//! anew at a moment when all of it is in the file, and the writer adds to it all the time: so the last few pages are the writer's, who
//! waits some milliseconds for the disk then. The log may get rather long before that is done.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB};

/// After how many pages, of mostly 4 KiB, what was added to the log is brought into the file: few, since a commit that comes while the
/// disk takes them waits for them.
pub(crate) const PAGES: u32 = 1000;

/// How often it is looked for what the writer has added meanwhile, before the rest is left to it.
const LAPS_MAX: u32 = 8;

/// How many times as long the log gets before the writer lets it begin anew.
const LONG: u32 = 12;

/// A log that grows to so many times its length, because the disk is slow or somebody reads, is the writer's to bring into the file:
/// then it waits.
const BOUND: u32 = 16;

/// The log of one file.
#[derive(Debug)]
pub(crate) struct Log {
    /// Its length in pages after the last commit.
    length: AtomicU32,
    running: AtomicBool,
    /// All but the last few pages are in the file.
    nearly: AtomicBool,
    closed: AtomicBool,
    /// What reads the log beside the writer, once it was needed.
    beside: Mutex<Option<Connection>>,
}

/// What is to be done about a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// Bring it into the file beside the writer.
    Beside,
    /// The writer is to do it now.
    Here,
}

/// When something is to be done. The writer's own.
#[derive(Debug)]
pub(crate) struct Schedule {
    pages: u32,
    due: u32,
    last: u32,
}

impl Schedule {
    pub(crate) fn new(pages: u32) -> Self {
        Self { pages, due: pages, last: 0 }
    }

    /// Asked after each commit.
    pub(crate) fn next(&mut self, log: &Log) -> Step {
        let length = log.length.load(Ordering::Acquire);
        if length < self.last {
            // It has begun anew.
            self.due = self.pages;
        }
        self.last = length;
        let long = length >= self.pages.saturating_mul(LONG);
        if log.nearly.swap(false, Ordering::AcqRel) && long {
            return Step::Here;
        }
        if length < self.due {
            return Step::Nothing;
        }
        // Not at each commit where it does not begin anew, as while somebody reads.
        self.due = length.saturating_add(if long { self.pages / 4 } else { self.pages });
        if length >= self.pages.saturating_mul(BOUND) {
            Step::Here
        } else if log.running.swap(true, Ordering::AcqRel) {
            Step::Nothing
        } else {
            Step::Beside
        }
    }
}

impl Log {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            length: AtomicU32::new(0),
            running: AtomicBool::new(false),
            nearly: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            beside: Mutex::default(),
        })
    }

    /// Takes note of what this connection writes, and of SQLite's own way nothing is left.
    pub(crate) fn watch(self: &Arc<Self>, connection: &mut Connection) -> rusqlite::Result<()> {
        let log = Arc::clone(self);
        connection.wal_hook(Some(move |_: &mut Wal, pages| {
            log.length.store(u32::try_from(pages).unwrap_or(0), Ordering::Release);
            Ok(())
        }))
    }

    /// Brings it into the file over a connection of its own, which `open` opens: [`Step::Beside`]. Blocks.
    pub(crate) fn bring_in(&self, open: impl FnOnce() -> rusqlite::Result<Connection>) {
        let mut beside = self.beside();
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let brought = beside.take().map_or_else(open, Ok).and_then(|connection| {
            let mut least = i32::MAX;
            for _ in 0..LAPS_MAX {
                let left = left(&connection)?;
                // Where somebody reads an older state it comes no further.
                if left == 0 || left >= least / 2 {
                    break;
                }
                least = left;
            }
            Ok(connection)
        });
        match brought {
            Ok(connection) => {
                *beside = Some(connection);
                self.nearly.store(true, Ordering::Release);
            }
            Err(error) => failed(&error),
        }
        self.running.store(false, Ordering::Release);
    }

    /// Waits for who brings it into the file, and closes its connection: from now on it is the writer's alone.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.beside().take());
    }

    fn beside(&self) -> MutexGuard<'_, Option<Connection>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings the log into the file over the writer's connection: [`Step::Here`].
pub(crate) fn bring_in(connection: &Connection) {
    if let Err(error) = left(connection) {
        failed(&error);
    }
}

/// Brings in what nobody reads in an older state; how many pages are left.
fn left(connection: &Connection) -> rusqlite::Result<i32> {
    let (length, done) = connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE)?;
    Ok(length.saturating_sub(done))
}

/// Nothing is lost: it is all in the log, and will be tried again.
fn failed(error: &rusqlite::Error) {
    tracing::debug!(
        error = error as &dyn std::error::Error,
        "the log was not brought into the database file"
    );
}

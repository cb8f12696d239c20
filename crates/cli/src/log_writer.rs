//! The way to standard error. A thread of its own writes, so that no request ever waits for whoever reads the log: when that one
//! stops reading and too much waits, lines are dropped and counted.
//!
//! A line that finds the thread asleep wakes it. It waits a moment before it writes, so that the lines which come in that moment go
//! with it, and looks once more after a further moment before it sleeps: where lines come often, each costs a copy, and neither a
//! write nor a change of threads.

use std::io::{self, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How many lines may wait, and how many bytes of them. A line has some hundred bytes.
const LINES_MAX: usize = 8192;
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long lines wait for others to go with.
const GATHER: Duration = Duration::from_millis(10);
/// How much room for lines is kept, in bytes: what some hundred requests say in that time.
const KEPT_BYTES: usize = 128 * 1024;
/// How long the lines that wait may take when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Counts the lines that nobody took in time.
pub(crate) const DROPPED: &str = "switchboard_log_lines_dropped_total";

/// The queue of the process: there is one standard error.
static QUEUE: OnceLock<Queue> = OnceLock::new();

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    came: Condvar,
    /// All that came is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: usize,
    /// The thread has taken lines and is not back yet.
    writing: bool,
    /// The thread comes by itself: nobody need wake it.
    awake: bool,
    /// Somebody wants all of it written now.
    hurry: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line; false when there is no room for it.
    fn put(&self, line: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.lines >= LINES_MAX || waiting.bytes.len().saturating_add(line.len()) > BYTES_MAX {
            return false;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        // Only the first of those who find it asleep.
        let was_awake = std::mem::replace(&mut waiting.awake, true);
        drop(waiting);
        if !was_awake {
            self.came.notify_one();
        }
        true
    }

    /// Writes for ever.
    fn write_all(&self) {
        let mut lines = Vec::new();
        loop {
            {
                let mut waiting = self.lock();
                waiting.writing = false;
                if waiting.bytes.is_empty() {
                    self.written.notify_all();
                }
                waiting = self.gather(waiting);
                if waiting.bytes.is_empty() {
                    waiting.awake = false;
                    let came = self.came.wait_while(waiting, |waiting| waiting.bytes.is_empty());
                    waiting = self.gather(came.unwrap_or_else(PoisonError::into_inner));
                }
                waiting.writing = true;
                std::mem::swap(&mut waiting.bytes, &mut lines);
                waiting.lines = 0;
            }
            // Where standard error is closed there is nobody to tell.
            drop(io::stderr().write_all(&lines));
            lines.clear();
            // What a burst needed is not kept for ever.
            lines.shrink_to(KEPT_BYTES);
        }
    }

    /// Waits for the lines that come in a moment, unless somebody waits for those that are there.
    fn gather<'a>(&self, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        let gathered = self.came.wait_timeout_while(waiting, GATHER, |waiting| !waiting.hurry);
        gathered.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Writes whole lines: through the queue, or itself if there can be no thread for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogWriter(Option<&'static Queue>);

impl LogWriter {
    /// The writer of the process.
    pub(crate) fn of_process() -> Self {
        if let Some(queue) = QUEUE.get() {
            return Self(Some(queue));
        }
        let write = || QUEUE.get_or_init(Queue::default).write_all();
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(write);
        Self(thread.is_ok().then(|| QUEUE.get_or_init(Queue::default)))
    }
}

impl io::Write for LogWriter {
    /// Takes a whole line, as the log writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0 {
            Some(queue) if queue.put(line) => {}
            Some(_) => metrics::counter!(DROPPED).increment(1),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until all lines so far are written, within a bound. Blocks: for the end of the process.
pub(crate) fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let end = Instant::now() + FLUSH_MAX;
    let mut waiting = queue.lock();
    waiting.hurry = true;
    queue.came.notify_one();
    while !waiting.bytes.is_empty() || waiting.writing {
        let left = end.saturating_duration_since(Instant::now());
        // Whoever reads the log has stopped reading when this runs out: the process ends all the same.
        if left.is_zero() {
            return;
        }
        waiting = queue.written.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

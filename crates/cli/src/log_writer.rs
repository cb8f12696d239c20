//! The way to standard error. A thread of its own writes, so that no request ever waits for whoever reads the log: when that one
//! stops reading and the queue is full, lines are dropped and counted.

use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// How many lines may wait. A line has some hundred bytes.
const LINES_MAX: usize = 8192;
/// How long the lines that wait may take when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// How often a full queue is looked at meanwhile.
const FLUSH_LOOK: Duration = Duration::from_millis(10);

/// Counts the lines that nobody took in time.
pub(crate) const DROPPED: &str = "switchboard_log_lines_dropped_total";

/// The queue of the process: there is one standard error.
static QUEUE: OnceLock<SyncSender<Item>> = OnceLock::new();

enum Item {
    Line(Vec<u8>),
    /// Tells that all before it is written.
    Flush(SyncSender<()>),
}

/// Writes whole lines.
#[derive(Debug, Clone)]
pub(crate) struct LogWriter(SyncSender<Item>);

impl LogWriter {
    /// The writer of the process; none if there can be no thread for it.
    pub(crate) fn of_process() -> Option<Self> {
        if let Some(queue) = QUEUE.get() {
            return Some(Self(queue.clone()));
        }
        let (queue, items) = sync_channel(LINES_MAX);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&items)).ok()?;
        Some(Self(QUEUE.get_or_init(|| queue).clone()))
    }
}

impl io::Write for LogWriter {
    /// Takes a whole line, as the log writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Item::Line(line.to_vec())) {
            metrics::counter!(DROPPED).increment(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(items: &Receiver<Item>) {
    for item in items {
        match item {
            // Where standard error is closed there is nobody to tell.
            Item::Line(line) => drop(io::stderr().write_all(&line)),
            Item::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// Waits until all lines so far are written, within a bound. Blocks: for the end of the process.
pub(crate) fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let end = Instant::now() + FLUSH_MAX;
    let (done, written) = sync_channel(1);
    let mut item = Item::Flush(done);
    while let Err(TrySendError::Full(back)) = queue.try_send(item) {
        if Instant::now() >= end {
            return;
        }
        item = back;
        std::thread::sleep(FLUSH_LOOK);
    }
    // Whoever reads the log has stopped reading when this fails: the process ends all the same.
    let _ = written.recv_timeout(end.saturating_duration_since(Instant::now()));
}

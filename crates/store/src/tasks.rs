//! The only place where this crate spawns: on a tracker that is handed in and that shutdown waits for.

use std::future::Future;
use std::io;

use tokio_util::task::TaskTracker;

/// Runs work that no dropped caller can cancel: a transaction on PostgreSQL.
pub(crate) fn spawn(tracker: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
    tracker.spawn(work);
}

/// Runs work that blocks its thread for a moment: a read of a SQLite file.
pub(crate) fn spawn_blocking(tracker: &TaskTracker, work: impl FnOnce() + Send + 'static) {
    tracker.spawn_blocking(work);
}

/// Runs work on a thread of this name for as long as it lasts: the writer of a SQLite file, which waits for the disk at each commit, and
/// who brings its index up to date.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn spawn_thread(
    tracker: &TaskTracker,
    name: &str,
    work: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (runtime, running) = (tokio::runtime::Handle::current(), tracker.token());
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || {
        let _running = running;
        runtime.block_on(work);
    })?;
    Ok(())
}

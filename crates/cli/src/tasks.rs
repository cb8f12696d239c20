//! This crate's only spawn. Shutdown waits for the tracker, with a bound.

use std::future::Future;
use std::io;

use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

/// Runs a task of the process itself on its tracker.
pub(crate) fn spawn<T: Send + 'static>(
    tracker: &TaskTracker,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tracker.spawn(task)
}

/// Runs a runtime on a thread of its own until told to stop; what still runs on it then is dropped.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn spawn_runtime(
    runtime: Runtime,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("worker".to_owned());
    thread.spawn(move || {
        runtime.block_on(stop);
        // A thread that still reads the store would hold the process.
        runtime.shutdown_background();
    })?;
    Ok(())
}

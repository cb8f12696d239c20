//! This crate's only spawn. Shutdown waits for the tracker, with a bound.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// Runs a task of the process itself on its tracker.
pub(crate) fn spawn<T: Send + 'static>(
    tracker: &TaskTracker,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tracker.spawn(task)
}

//! This crate's only spawn. Shutdown waits for the tracker, with a bound.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// Runs a task of the cluster's on its tracker.
pub(crate) fn spawn(tracker: &TaskTracker, task: impl Future<Output = ()> + Send + 'static) {
    tracker.spawn(task);
}

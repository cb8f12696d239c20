//! The only place where this crate spawns: on a tracker that is handed in and that shutdown waits for.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// Runs work that no dropped caller can cancel: the writer of a SQLite file, a transaction on PostgreSQL.
pub(crate) fn spawn(tracker: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
    tracker.spawn(work);
}

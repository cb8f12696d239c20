//! This crate's only spawn. Shutdown waits for the tracker, with a bound.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// Where connections are served.
#[derive(Debug, Clone)]
pub(crate) struct Tasks(TaskTracker);

impl Tasks {
    pub(crate) fn new(tracker: TaskTracker) -> Self {
        Self(tracker)
    }

    /// Serves a connection beside the others.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
}

//! This crate's only spawn. Shutdown waits for the tracker, with a bound.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

/// Where the engine's tasks run.
#[derive(Debug, Clone)]
pub(crate) struct Tasks(TaskTracker);

impl Tasks {
    pub(crate) fn new(tracker: TaskTracker) -> Self {
        Self(tracker)
    }

    /// Runs a task that outlives the request that began it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    /// The same for a task whose first part says how it goes on. The first is gone before the second begins.
    pub(crate) fn spawn_in_two(&self, first: BoxFuture<'static, Option<BoxFuture<'static, ()>>>) {
        self.0.spawn(InTwo::First(first));
    }
}

/// See [`Tasks::spawn_in_two`].
enum InTwo {
    First(BoxFuture<'static, Option<BoxFuture<'static, ()>>>),
    Second(BoxFuture<'static, ()>),
}

impl Future for InTwo {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Self::First(first) = &mut *self {
            match ready!(first.as_mut().poll(context)) {
                Some(second) => *self = Self::Second(second),
                None => return Poll::Ready(()),
            }
        }
        match &mut *self {
            Self::Second(second) => second.as_mut().poll(context),
            Self::First(_) => Poll::Pending,
        }
    }
}

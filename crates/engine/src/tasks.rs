//! This crate's only spawn. Shutdown waits for the tracker, with a bound.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;
use tracing::Span;

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

    /// The same for a task whose first part says how it goes on. The first is gone before the second begins. Both run, and are
    /// dropped, within the span of whoever begins them.
    pub(crate) fn spawn_in_two(&self, first: BoxFuture<'static, Option<BoxFuture<'static, ()>>>) {
        self.0.spawn(InTwo { span: Span::current(), part: Part::First(first) });
    }
}

/// See [`Tasks::spawn_in_two`]. The span is entered once each time that the task is looked at, whichever part it is in.
struct InTwo {
    span: Span,
    part: Part,
}

enum Part {
    First(BoxFuture<'static, Option<BoxFuture<'static, ()>>>),
    Second(BoxFuture<'static, ()>),
    Over,
}

impl Future for InTwo {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { span, part } = &mut *self;
        let _within = span.enter();
        if let Part::First(first) = part {
            *part = ready!(first.as_mut().poll(context)).map_or(Part::Over, Part::Second);
        }
        if let Part::Second(second) = part {
            ready!(second.as_mut().poll(context));
            *part = Part::Over;
        }
        Poll::Ready(())
    }
}

impl Drop for InTwo {
    fn drop(&mut self) {
        if !matches!(self.part, Part::Over) {
            let _within = self.span.enter();
            self.part = Part::Over;
        }
    }
}

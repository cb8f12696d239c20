//! Makes a tower layer of an async function, as axum's `from_fn_with_state` does on the way in.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::attempt::Attempt;

/// A layer that calls `function(state, attempt, next)`, where `next` is the service within ([`call`]).
pub(crate) fn around<T, F>(state: T, function: F) -> AroundLayer<T, F> {
    AroundLayer { state, function }
}

/// Calls the layer within, which keeps nobody waiting before that: asking for its readiness first, as `oneshot` does, would move what
/// it makes once more, in each layer. The client is another's, and is asked.
pub(crate) fn call<S: Service<Attempt>>(mut next: S, attempt: Attempt) -> S::Future {
    next.call(attempt)
}

/// See [`around`].
#[derive(Debug, Clone)]
pub(crate) struct AroundLayer<T, F> {
    state: T,
    function: F,
}

impl<T: Clone, F: Clone, S> Layer<S> for AroundLayer<T, F> {
    type Service = Around<T, F, S>;

    fn layer(&self, next: S) -> Self::Service {
        Around(Arc::new(Inside { state: self.state.clone(), function: self.function.clone(), next }))
    }
}

/// See [`around`]. A copy is a pointer: each layer copies what is within it for every call.
#[derive(Debug)]
pub(crate) struct Around<T, F, S>(Arc<Inside<T, F, S>>);

#[derive(Debug)]
struct Inside<T, F, S> {
    state: T,
    function: F,
    next: S,
}

impl<T, F, S> Clone for Around<T, F, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, F, S, Answer, Error, Future> Service<Attempt> for Around<T, F, S>
where
    T: Clone,
    S: Clone,
    F: Fn(T, Attempt, S) -> Future,
    Future: std::future::Future<Output = Result<Answer, Error>>,
{
    type Response = Answer;
    type Error = Error;
    type Future = Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let Inside { state, function, next } = &*self.0;
        function(state.clone(), attempt, next.clone())
    }
}

//! Makes a layer of an async function, as axum's `from_fn_with_state` does, without what that costs: there each layer keeps all within
//! it in boxes and copies them for every request, so that ten layers copy fifty boxes.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::Map;
use tower::{Layer, Service};

/// A layer that answers with what `function(state, request, next)` does, where `next` is what stands within.
pub(crate) fn around<T, F>(state: T, function: F) -> AroundLayer<T, F> {
    AroundLayer { state, function }
}

/// See [`around`].
#[derive(Debug, Clone)]
pub(crate) struct AroundLayer<T, F> {
    state: T,
    function: F,
}

impl<T: Clone, F: Clone, S> Layer<S> for AroundLayer<T, F> {
    type Service = Around<T, F, S>;

    fn layer(&self, next: S) -> Around<T, F, S> {
        Around(Arc::new(Inside { state: self.state.clone(), function: self.function.clone(), next }))
    }
}

/// See [`around`]. A copy is a pointer.
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

/// What stands within a layer.
#[derive(Debug)]
pub(crate) struct Next<S>(S);

/// What can stand within a layer.
pub(crate) trait Within:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send
{
}

impl<S> Within for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send
{
}

impl<S: Within> Next<S> {
    /// Its answer.
    ///
    /// Not asked whether it is ready: layers of ours and axum's routes always are, and a future that asks has room for the request
    /// twice, in each layer.
    pub(crate) fn run(mut self, request: Request) -> impl Future<Output = Response> + Send + use<S> {
        self.0.call(request).map(given)
    }
}

fn given(response: Result<Response, Infallible>) -> Response {
    match response {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

impl<T, F, S, Future> Service<Request> for Around<T, F, S>
where
    T: Clone,
    S: Clone,
    F: Fn(T, Request, Next<S>) -> Future,
    Future: std::future::Future<Output: IntoResponse>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Map<Future, fn(Future::Output) -> Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The layer asks what is within when it comes to it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Inside { state, function, next } = &*self.0;
        function(state.clone(), request, Next(next.clone())).map(answer)
    }
}

fn answer<R: IntoResponse>(answer: R) -> Result<Response, Infallible> {
    Ok(answer.into_response())
}

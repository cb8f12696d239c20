//! The body of a request that was refused without it is read all the same, as far as that is cheap.
//!
//! HTTP/1 cannot go on with a connection whose request was not read. It would be closed, at the worst while the client still sends:
//! that client sees a broken connection, or its next request does, in the place of the refusal and its `retry-after`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use futures_util::StreamExt;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Version};
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

use crate::app::App;
use crate::around::{Next, Within};

/// How long what is left of a body is waited for.
const WAIT: Duration = Duration::from_secs(1);

/// Answers once the request's body has been read by somebody, or is more or slower than is worth reading.
pub(crate) async fn read_out<S: Within>(app: App, request: Request, next: Next<S>) -> Response {
    // HTTP/2 ends a stream of its own; who asks whether to send a body is told by the refusal not to.
    let is_read = request.version() >= Version::HTTP_2 || request.body().is_end_stream();
    if is_read || request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    let (back, mut returned) = oneshot::channel();
    let request = request.map(|body| Body::new(Lent { body: Some(body), back: Some(back) }));
    let mut response = next.run(request).await;
    if let Ok(left) = returned.try_recv() {
        let config = &app.front.config;
        // One that is announced as too long is not begun with.
        let fits = left.size_hint().lower() <= config.body_bytes_max as u64;
        let reading = drain(left, config.body_bytes_max);
        let wait = WAIT.min(config.body_timeout);
        if !fits || !tokio::time::timeout(wait, reading).await.unwrap_or(false) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

/// Reads to the end; no more than so many bytes. Whether the end came.
async fn drain(body: Body, bytes_max: usize) -> bool {
    let mut chunks = body.into_data_stream();
    let mut read = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else { return false };
        read = read.saturating_add(chunk.len());
        if read > bytes_max {
            return false;
        }
    }
    true
}

/// A body that is given back by who drops it before its end.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            // Nobody may wait for it any more: then the connection is what its server makes of it.
            let _ = back.send(body);
        }
    }
}

//! Requests that are no HTTP/1: the library refuses them before any of our layers sees them, with a status and nothing else. Here its
//! answer gets the body and the id that every answer has.
//!
//! The library has no hook for it. What it writes while no request is at work can only be such a refusal, and it writes that in one
//! piece: it is replaced on its way out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use chat::ErrorCode;
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics;
use crate::middleware::request_id;
use crate::preface::Begun;
use crate::progress::Progress;

/// A socket whose refusals are put in words.
#[derive(Debug)]
pub(crate) struct Worded<S> {
    socket: S,
    progress: Progress,
    /// What is written in place of a refusal, as far as it is not written yet.
    instead: Option<Bytes>,
}

impl<S> Worded<Begun<S>> {
    /// Has these bytes, which were read too early, read once more.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        self.socket.put_back(bytes);
    }
}

impl<S: AsyncWrite + Unpin> Worded<S> {
    pub(crate) fn new(socket: S, progress: Progress) -> Self {
        Self { socket, progress, instead: None }
    }

    /// Writes what stands for these bytes; none if they are to be written as they are.
    fn poll_instead(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<Option<usize>>> {
        if self.instead.is_none() {
            if !self.progress.is_idle() {
                return Poll::Ready(Ok(None));
            }
            self.instead = status_of(bytes).map(refusal);
        }
        let Some(instead) = &mut self.instead else { return Poll::Ready(Ok(None)) };
        while !instead.is_empty() {
            let count = ready!(Pin::new(&mut self.socket).poll_write(context, instead))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            drop(instead.split_to(count));
        }
        self.instead = None;
        Poll::Ready(Ok(Some(bytes.len())))
    }
}

/// The status of a refusal without a body.
fn status_of(bytes: &[u8]) -> Option<StatusCode> {
    let text = std::str::from_utf8(bytes).ok()?;
    let bare = text.ends_with("\r\n\r\n") && text.contains("content-length: 0\r\n");
    let status = text.strip_prefix("HTTP/1.1 ")?.split(' ').next()?;
    let status: StatusCode = status.parse().ok()?;
    (bare && status.is_client_error()).then_some(status)
}

fn refusal(status: StatusCode) -> Bytes {
    let id = request_id::new();
    let message = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the request's headers are too large",
        StatusCode::URI_TOO_LONG => "the request's path is too long",
        _ => "this is no HTTP request",
    };
    metrics::request("unmatched", &Method::GET, status, std::time::Duration::ZERO);
    tracing::debug!(request.id = %id, status = status.as_u16(), "what a client sent is no HTTP request");
    let error = serde_json::json!({"error": {
        "type": ErrorCode::InvalidValue.kind(), "code": ErrorCode::InvalidValue, "message": message, "param": null,
        "request_id": id.as_ref(), "turn_id": null, "provider": null, "retryable": false,
    }});
    let body = error.to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: {id}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .into()
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.progress.writes();
        match ready!(self.poll_instead(context, bytes))? {
            Some(written) => Poll::Ready(Ok(written)),
            None => Pin::new(&mut self.socket).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.progress.writes();
        // A refusal is one piece, because there is no body.
        let first = buffers.iter().find(|buffer| !buffer.is_empty()).map_or(&[][..], |buffer| buffer);
        match ready!(self.poll_instead(context, first))? {
            Some(written) => Poll::Ready(Ok(written)),
            None => Pin::new(&mut self.socket).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(context))?;
        self.progress.written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

//! How far a connection is with its request. Shared by its socket, its service, and the bodies of request and answer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// How far a connection is with its request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<State>);

#[derive(Debug, Default)]
struct State {
    stage: AtomicU8,
    /// Whether the request has been read to its end.
    read: AtomicBool,
    /// Whether the library had nothing left to write when it was last asked to go on.
    flushed: AtomicBool,
}

/// No request has come, or the last one's answer has been written to its end.
const IDLE: u8 = 0;
/// A request is at work, or its answer is being made.
const BUSY: u8 = 1;
/// The answer is made; some of it may wait to be written.
const MADE: u8 = 2;

impl Progress {
    /// A request has come: its body.
    pub(crate) fn begin(&self, body: Incoming) -> Asked {
        self.0.stage.store(BUSY, Ordering::Relaxed);
        self.0.read.store(http_body::Body::is_end_stream(&body), Ordering::Relaxed);
        Asked { body, progress: self.clone() }
    }

    /// Whether no request is at work, and nothing of an answer waits to be written.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.stage.load(Ordering::Relaxed) == IDLE
    }

    /// Whether the request has been read to its end.
    pub(crate) fn is_read(&self) -> bool {
        self.0.read.load(Ordering::Relaxed)
    }

    /// Whether all that the library has had to write has been written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.0.flushed.load(Ordering::Relaxed)
    }

    /// Something is being written.
    pub(crate) fn writes(&self) {
        self.0.flushed.store(false, Ordering::Relaxed);
    }

    /// All has been written. The library flushes once it has nothing left to write: what it writes next is no part of the answer.
    pub(crate) fn written(&self) {
        self.0.flushed.store(true, Ordering::Relaxed);
        let _ = self.0.stage.compare_exchange(MADE, IDLE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The request's answer, which ends it.
    pub(crate) fn answer(&self, body: Body) -> Answer {
        Answer { body, _made: Made(self.clone()) }
    }
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Asked {
    body: Incoming,
    progress: Progress,
}

impl http_body::Body for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let ended = match &frame {
            None => true,
            Some(Ok(_)) => self.body.is_end_stream(),
            Some(Err(_)) => false,
        };
        if ended {
            self.progress.0.read.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Body,
    _made: Made,
}

#[derive(Debug)]
struct Made(Progress);

impl Drop for Made {
    fn drop(&mut self) {
        self.0.0.stage.store(MADE, Ordering::Relaxed);
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

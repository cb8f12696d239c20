//! Accepting connections, and what an answer may do to the one it goes out on.
//!
//! `axum::serve` hides the socket. Here a fault must be able to reset it, to drop it without a proper end, and to know
//! when what it sent has really been written, so the loop stands here, on hyper alone. HTTP/1.1 only: a reset
//! of one answer is then a reset of its connection, which is what a broken provider looks like.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::tasks::Connections;

/// What a connection and the answer on it tell each other.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    flushes: AtomicU64,
    waker: AtomicWaker,
    reset: AtomicBool,
}

impl Wire {
    /// How often everything that was handed over has been written to the socket.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    /// Whether all has been written since [`Wire::flushes`] said `seen`; wakes the task once it has.
    pub(crate) fn flushed_since(&self, seen: u64, context: &Context<'_>) -> bool {
        if self.flushes() > seen {
            return true;
        }
        self.waker.register(context.waker());
        self.flushes() > seen
    }

    /// Everything handed over so far has been written.
    pub(crate) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Closing the connection will be a reset (RST) instead of an end (FIN).
    pub(crate) fn reset_on_close(&self) {
        self.reset.store(true, Ordering::Release);
    }
}

/// Put on a response's extensions, it makes the connection close without a byte of that response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoResponse;

/// Why a connection was dropped on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the simulator closes this connection on purpose")
    }
}

impl std::error::Error for Dropped {}

/// Accepts until `shutdown`, then drops what is open and waits until it is gone.
pub(crate) async fn accept(listener: TcpListener, router: Router, shutdown: impl Future) {
    let mut connections = Connections::default();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            _ = &mut shutdown => break,
            () = connections.reap() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connections.start(converse(stream, router.clone())),
                // Out of file descriptors, or a peer that left at once: the next accept may work.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
    connections.stop().await;
}

/// Serves one connection until it ends.
async fn converse(stream: TcpStream, router: Router) {
    // Without it a small piece waits up to 40 ms for the one before to be acknowledged.
    let _ = stream.set_nodelay(true);
    let wire = Arc::new(Wire::default());
    let socket = Socket { stream, wire: Arc::clone(&wire) };
    let answering = Answering { router: TowerToHyperService::new(router), wire };
    // A failure here is a client that left, or a fault played on purpose: the journal has it.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), answering)
        .await;
}

/// The router, told on which connection it is asked.
struct Answering {
    router: TowerToHyperService<Router>,
    wire: Arc<Wire>,
}

impl Service<http::Request<Incoming>> for Answering {
    type Response = Response;
    type Error = Dropped;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Dropped>> + Send>>;

    fn call(&self, mut request: http::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Arc::clone(&self.wire));
        let answer = self.router.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) if response.extensions().get::<NoResponse>().is_none() => Ok(response),
                _ => Err(Dropped),
            }
        })
    }
}

/// The socket, counting flushes and keeping the promise of a reset.
struct Socket {
    stream: TcpStream,
    wire: Arc<Wire>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.wire.reset.load(Ordering::Acquire) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        if flushed.is_ready() {
            // hyper asks for this once its own buffer is empty, so everything offered so far is in the kernel.
            this.wire.flushed();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

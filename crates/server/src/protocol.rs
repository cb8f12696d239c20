//! HTTP/1.1 or HTTP/2: which of them a connection speaks, and serving it.

use std::fmt::Display;
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::Shutdown;
use crate::stall::Stalling;

/// The most that one HTTP/1.1 connection buffers each way: a request's head must fit. Small, because there may be many streams.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// The most requests at once in one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How much of a request's body a client may send before it is read, for one request; four times that for all of a connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// How a connection begins that speaks HTTP/2 without having agreed on it; no method begins so.
const HTTP2_BEGINS: &[u8; 4] = b"PRI ";

/// How connections are served.
#[derive(Debug)]
pub(crate) struct Protocols {
    one: http1::Builder,
    any: auto::Builder<TokioExecutor>,
    header_timeout: Duration,
    write_timeout: Duration,
}

impl Protocols {
    /// `header_timeout`: for a request's head. `write_timeout`: for a client that takes no bytes.
    pub(crate) fn new(header_timeout: Duration, write_timeout: Duration) -> Self {
        let mut one = http1::Builder::new();
        one.timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(BUFFER_BYTES_MAX)
            .half_close(false);
        let mut any = auto::Builder::new(TokioExecutor::new());
        any.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(BUFFER_BYTES_MAX)
            .half_close(false);
        any.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * 4)
            .max_send_buf_size(BUFFER_BYTES_MAX)
            .max_header_list_size(BUFFER_BYTES_MAX as u32)
            // A client that went away without a word is noticed, also when nothing is sent to it.
            .keep_alive_interval(write_timeout / 2)
            .keep_alive_timeout(write_timeout / 2);
        Self { one, any, header_timeout, write_timeout }
    }

    /// Serves a connection without TLS.
    ///
    /// Its first bytes are looked at and left where they are. The library would read them to find out the same, and then keep
    /// twice the buffer for as long as the connection lasts, and room for either protocol's state: 10 KiB for each open stream.
    pub(crate) async fn serve_plain(&self, socket: TcpStream, router: Router, shutdown: &Shutdown) {
        let mut first = [0; HTTP2_BEGINS.len()];
        let looked = tokio::select! {
            biased;
            () = shutdown.now.cancelled() => return,
            () = shutdown.finish.cancelled() => return,
            looked = tokio::time::timeout(self.header_timeout, socket.peek(&mut first)) => looked,
        };
        let Ok(Ok(count)) = looked else {
            tracing::debug!("a client connected and said nothing");
            return;
        };
        let begun = first.get(..count).unwrap_or_default();
        let socket = Stalling::new(socket, self.write_timeout);
        if HTTP2_BEGINS.starts_with(begun) {
            // Boxed, so that the others have no room for it.
            return Box::pin(self.serve_any(socket, router, shutdown)).await;
        }
        let connection = self.one.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
        drive(pin!(connection), http1::Connection::graceful_shutdown, shutdown).await;
    }

    /// Serves a connection that speaks either.
    pub(crate) async fn serve_any(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        router: Router,
        shutdown: &Shutdown,
    ) {
        let connection = self.any.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
        drive(pin!(connection), auto::Connection::graceful_shutdown, shutdown).await;
    }
}

/// Serves until the client has left or the process leaves.
async fn drive<C, E>(mut connection: Pin<&mut C>, finish: fn(Pin<&mut C>), shutdown: &Shutdown)
where
    C: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut finishing = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.now.cancelled() => return,
            () = shutdown.finish.cancelled(), if !finishing => {
                finishing = true;
                finish(connection.as_mut());
            }
            served = connection.as_mut() => {
                if let Err(error) = served {
                    // A client that left, or sent no HTTP: its own affair.
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
        }
    }
}

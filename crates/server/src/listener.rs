//! Connections: accepted, bounded, served, and closed when the process leaves.
//!
//! The loop is our own because the library's has no clock for headers, no bound on connections and buffers, and waits for event
//! streams without end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::Shutdown;
use crate::metrics::Gauge;
use crate::stall::Stalling;
use crate::tasks::Tasks;

/// The most that one HTTP/1.1 connection buffers each way: a request's head must fit. Small, because there may be many streams.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// The most requests at once in one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How much of a request's body a client may send before it is read, for one request; four times that for all of a connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// How long a client may take to agree on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed (no file descriptors left, mostly): time for others to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and what it serves.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) socket: TcpListener,
    pub(crate) router: Router,
    pub(crate) tls: Arc<ArcSwapOption<ServerConfig>>,
    pub(crate) connections_max: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) tasks: Tasks,
}

impl Listener {
    /// Serves until told to leave, and all connections are closed.
    pub(crate) async fn serve(self, shutdown: &Shutdown) {
        let places_max = self.connections_max.clamp(1, Semaphore::MAX_PERMITS);
        let places_max = u32::try_from(places_max).unwrap_or(u32::MAX);
        let places = Arc::new(Semaphore::new(places_max as usize));
        let http = Arc::new(self.http());
        loop {
            let accepted = async {
                // The semaphore is never closed.
                let place = Arc::clone(&places).acquire_owned().await.ok()?;
                Some((self.socket.accept().await, place))
            };
            let (socket, place) = tokio::select! {
                biased;
                () = shutdown.finish.cancelled() => break,
                () = shutdown.now.cancelled() => break,
                accepted = accepted => match accepted {
                    Some((Ok((socket, _)), place)) => (socket, place),
                    Some((Err(error), _)) => {
                        tracing::warn!(%error, listener = self.name, "a connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                    None => break,
                },
            };
            let connection = self.connection(socket, Arc::clone(&http), shutdown.clone());
            let open = Gauge::connections(self.name);
            self.tasks.spawn(async move {
                connection.await;
                drop((place, open));
            });
        }
        drop(self.socket);
        // All places free: all connections closed.
        let _ = places.acquire_many(places_max).await;
    }

    fn http(&self) -> Builder<TokioExecutor> {
        let mut http = Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(BUFFER_BYTES_MAX)
            .half_close(false);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * 4)
            .max_send_buf_size(BUFFER_BYTES_MAX)
            .max_header_list_size(BUFFER_BYTES_MAX as u32)
            // A client that went away without a word is noticed, also when nothing is sent to it.
            .keep_alive_interval(self.write_timeout / 2)
            .keep_alive_timeout(self.write_timeout / 2);
        http
    }

    fn connection(
        &self,
        socket: TcpStream,
        http: Arc<Builder<TokioExecutor>>,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + Send + 'static {
        let tls = self.tls.load_full();
        let (router, write_timeout) = (self.router.clone(), self.write_timeout);
        async move {
            // Without it small events wait for the acknowledgement of the one before.
            if socket.set_nodelay(true).is_err() {
                return;
            }
            let socket = Stalling::new(socket, write_timeout);
            let Some(tls) = tls else {
                return serve(socket, &http, router, &shutdown).await;
            };
            let agreed = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(socket));
            let agreed = tokio::select! {
                agreed = agreed => agreed,
                () = shutdown.now.cancelled() => return,
            };
            match agreed {
                Ok(Ok(socket)) => serve(socket, &http, router, &shutdown).await,
                Ok(Err(error)) => tracing::debug!(%error, "a client does not agree on TLS"),
                Err(_) => tracing::debug!("a client takes too long to agree on TLS"),
            }
        }
    }
}

async fn serve(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http: &Builder<TokioExecutor>,
    router: Router,
    shutdown: &Shutdown,
) {
    let connection = http.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let mut finishing = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.now.cancelled() => return,
            () = shutdown.finish.cancelled(), if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
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

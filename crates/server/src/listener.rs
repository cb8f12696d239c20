//! Connections: accepted, bounded, served, and closed when the process leaves.
//!
//! The loop is our own because the library's has no clock for headers, no bound on connections and buffers, and waits for event
//! streams without end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use futures_util::FutureExt;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Shutdown;
use crate::metrics::Gauge;
use crate::places::Places;
use crate::protocol::Protocols;
use crate::stall::Stalling;
use crate::tasks::Tasks;

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
        let places = Arc::new(Places::new(self.connections_max));
        let (headers, writes) = (self.header_timeout, self.write_timeout);
        let protocols = Arc::new(Protocols::new(headers, writes, self.tasks.clone(), Arc::clone(&places)));
        loop {
            let accepted = async {
                let (socket, _) = self.socket.accept().await?;
                // A connection that waits for its place is the only one beyond the bound; those behind it wait in the system's
                // backlog.
                Ok::<_, io::Error>(places.take(self.name).await.map(|place| (socket, place)))
            };
            let (socket, place) = tokio::select! {
                biased;
                () = shutdown.now.cancelled() => break,
                accepted = accepted => match accepted {
                    Ok(Some(accepted)) => accepted,
                    Ok(None) => break,
                    Err(_) if shutdown.finish.is_cancelled() => break,
                    Err(error) => {
                        tracing::warn!(%error, listener = self.name, "a connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                // Last: whoever has connected by then is answered. What waits in the system's backlog when the socket is closed is reset,
                // and a proxy does not send a POST again that may have arrived.
                () = shutdown.finish.cancelled() => break,
            };
            // Taken off this runtime: the one that serves it listens to it.
            let Ok(socket) = socket.into_std() else { continue };
            let connection = self.connection(socket, Arc::clone(&protocols), shutdown.clone());
            let open = Gauge::connections(self.name);
            // Not an `async` block: it would keep the connection's future twice, once as it was given and once as it is awaited.
            self.tasks.spread(connection.map(move |()| drop((place, open))));
        }
        drop(self.socket);
        places.all_free().await;
    }

    fn connection(
        &self,
        socket: std::net::TcpStream,
        protocols: Arc<Protocols>,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + Send + 'static {
        let tls = self.tls.load_full();
        let (router, write_timeout) = (self.router.clone(), self.write_timeout);
        async move {
            // Without it small events wait for the acknowledgement of the one before.
            let Ok(()) = socket.set_nodelay(true) else { return };
            let Ok(socket) = TcpStream::from_std(socket) else { return };
            let socket = Stalling::new(socket, write_timeout);
            let Some(tls) = tls else {
                return protocols.serve(socket, router, &shutdown).await;
            };
            // Boxed, both, so that connections without TLS don't have room for its state.
            let accepting = Box::pin(TlsAcceptor::from(tls).accept(socket));
            let agreed = tokio::select! {
                agreed = tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting) => agreed,
                () = shutdown.now.cancelled() => return,
                () = protocols.wanted() => return,
            };
            match agreed {
                Ok(Ok(socket)) => Box::pin(protocols.serve(socket, router, &shutdown)).await,
                Ok(Err(error)) => tracing::debug!(%error, "a client does not agree on TLS"),
                Err(_) => tracing::debug!("a client takes too long to agree on TLS"),
            }
        }
    }
}

//! The server: what the process builds, binds and runs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use chat::Maintenance;
use engine::Engine;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Config, KeySpec};

/// Reads the configuration again: `POST /admin/reload`.
#[async_trait]
pub trait Reload: Send + Sync + fmt::Debug + 'static {
    /// Puts the configuration as it now stands in force.
    ///
    /// # Errors
    /// What is wrong with it, for the admin who asked; the one before stays in force.
    async fn reload(&self) -> Result<Reloaded, String>;
}

/// What a reload put in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// How many providers there are now.
    pub providers: usize,
    /// How many assistants.
    pub assistants: usize,
    /// How many keys the configuration has.
    pub keys: usize,
}

/// How the listeners are told to leave.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Accept no more connections; answer what has been asked, then close.
    pub finish: CancellationToken,
    /// Close whatever is left, now.
    pub now: CancellationToken,
}

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Address {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Tls(String),
}

/// HTTP in. Cheap to clone; all clones are one server.
#[derive(Debug, Clone)]
pub struct Server {
    config: Arc<Config>,
}

impl Server {
    /// A server over this engine. Its tasks run on `tracker`.
    #[must_use]
    pub fn new(
        engine: Engine,
        maintenance: Arc<dyn Maintenance>,
        config: Config,
        keys: Vec<KeySpec>,
        reload: Arc<dyn Reload>,
        tracker: TaskTracker,
    ) -> Self {
        let _ = (engine, maintenance, keys, reload, tracker);
        Self { config: Arc::new(config) }
    }

    /// The keys of the configuration, from now on. Readers of one that is gone are cut off.
    pub fn set_keys(&self, keys: Vec<KeySpec>) {
        let _ = keys;
    }

    /// The browsers' origins that may call, from now on.
    pub fn set_cors_origins(&self, origins: Vec<String>) {
        let _ = origins;
    }

    /// Reads certificate and key again, for connections from now on.
    ///
    /// # Errors
    /// They cannot be used; those before stay in force.
    pub fn reload_tls(&self) -> Result<(), BindError> {
        Ok(())
    }

    /// What clients call, as a service: for tests without sockets.
    pub fn router(&self) -> Router {
        Router::new()
    }

    /// What admins call, as a service.
    pub fn admin_router(&self) -> Router {
        Router::new()
    }

    /// Opens the listeners.
    ///
    /// # Errors
    /// An address cannot be had, or the certificate cannot be used.
    pub async fn bind(&self) -> Result<Bound, BindError> {
        let open = async |address: SocketAddr| {
            tokio::net::TcpListener::bind(address)
                .await
                .map_err(|source| BindError::Address { address, source })
        };
        let listener = open(self.config.listen).await?;
        let address = listener
            .local_addr()
            .map_err(|source| BindError::Address { address: self.config.listen, source })?;
        Ok(Bound { address, admin_address: None })
    }
}

/// Open listeners, not yet served.
#[derive(Debug)]
pub struct Bound {
    /// Where clients call.
    pub address: SocketAddr,
    /// Where admins call.
    pub admin_address: Option<SocketAddr>,
}

impl Bound {
    /// Serves until told to leave, and all connections are closed.
    pub async fn serve(self, shutdown: Shutdown) {
        shutdown.finish.cancelled().await;
    }
}

//! The server: what the process builds, binds and runs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use axum::Router;
use chat::{Maintenance, SharedLimits};
use engine::Engine;
use rustls::ServerConfig;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, Back, Front, Parts};
use crate::keys::Keys;
use crate::limits::Counters;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::middleware::trace::AdoptTrace;
use crate::tasks::Tasks;
use crate::{Config, KeySpec, routes, tls};

/// The most connections at the admins' listener.
const ADMIN_CONNECTIONS_MAX: usize = 256;
/// How often keys with readers are looked at: "within a second" with something to spare.
const TICK: Duration = Duration::from_millis(500);
/// The histograms are drained every five seconds.
const TICKS_PER_UPKEEP: u32 = 10;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reloaded {
    /// How many providers there are now.
    pub providers: usize,
    /// How many assistants.
    pub assistants: usize,
    /// How many keys the configuration has.
    pub keys: usize,
    /// Settings that have changed in the file since the start and are in force only after a restart, as `server.listen`.
    pub needs_restart: Vec<&'static str>,
}

/// How the listeners are told to leave.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Ask for each HTTP/1 connection back with the next answer. Whoever keeps one, such as a proxy, would send a later request into the
    /// closing: a POST that is lost so is repeated by nobody but the client.
    pub leave: CancellationToken,
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
    app: App,
    tls: Arc<ArcSwapOption<ServerConfig>>,
    tasks: Tasks,
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
        let requests = Arc::new(Semaphore::new(config.requests_max.min(Semaphore::MAX_PERMITS)));
        let tasks = Tasks::new(tracker);
        let app = App::new(Parts {
            engine,
            keys: Keys::new(keys, Arc::clone(&maintenance), config.open, tasks.clone()),
            counters: Counters::new(Arc::clone(&maintenance)),
            front: Front {
                cors_origins: ArcSwap::from_pointee(config.cors_origins.clone()),
                config,
                requests,
                adopt_trace: OnceLock::new(),
            },
            back: Back { maintenance, reload, metrics: Metrics::of_process() },
        });
        Self { app, tls: Arc::new(ArcSwapOption::empty()), tasks }
    }

    /// The keys of the configuration, from now on. Readers of one that is gone are cut off.
    pub fn set_keys(&self, keys: Vec<KeySpec>) {
        self.app.keys.set(keys);
    }

    /// From now on clients are served on these runtimes, each connection with all that it begins on one of them. The first told stand.
    pub fn spread_over(&self, workers: Vec<Handle>) {
        self.tasks.spread_over(workers);
    }

    /// From now on keys' limits are counted with other gateways. The first way told stands.
    pub fn set_shared_limits(&self, limits: Arc<dyn SharedLimits>) {
        self.app.counters.share(limits);
    }

    /// From now on requests join the traces of their callers. The first way told stands.
    pub fn set_adopt_trace(&self, adopt: AdoptTrace) {
        // A process has one tracing system: there is no second way.
        let _ = self.app.front.adopt_trace.set(adopt);
    }

    /// The browsers' origins that may call, from now on.
    pub fn set_cors_origins(&self, origins: Vec<String>) {
        self.app.front.cors_origins.store(Arc::new(origins));
    }

    /// Reads certificate and key again, for connections from now on. Does nothing where there is no TLS.
    ///
    /// # Errors
    /// They cannot be used; those before stay in force.
    pub fn reload_tls(&self) -> Result<(), BindError> {
        if let Some(files) = &self.app.front.config.tls {
            self.tls.store(Some(tls::open(files)?));
        }
        Ok(())
    }

    /// What clients call, as a service: for tests without sockets.
    pub fn router(&self) -> Router {
        routes::clients(&self.app)
    }

    /// What admins call, as a service.
    pub fn admin_router(&self) -> Router {
        routes::admins(&self.app)
    }

    /// Opens the listeners.
    ///
    /// # Errors
    /// An address cannot be had, or the certificate cannot be used.
    pub async fn bind(&self) -> Result<Bound, BindError> {
        self.reload_tls()?;
        let config = &self.app.front.config;
        let (tasks, tls) = (self.tasks.clone(), Arc::clone(&self.tls));
        let (clients, address) =
            self.open("clients", config.listen, self.router(), tasks, tls, config.connections_max).await?;
        let admins = match config.admin_listen {
            None => None,
            Some(wanted) => {
                let plain = Arc::new(ArcSwapOption::empty());
                // What they ask for takes long and must not hold clients up.
                let tasks = self.tasks.at_home();
                Some(
                    self.open("admins", wanted, self.admin_router(), tasks, plain, ADMIN_CONNECTIONS_MAX)
                        .await?,
                )
            }
        };
        let (admins, admin_address) = admins.unzip();
        Ok(Bound { address, admin_address, clients, admins, app: self.app.clone() })
    }

    async fn open(
        &self,
        name: &'static str,
        address: SocketAddr,
        router: Router,
        tasks: Tasks,
        tls: Arc<ArcSwapOption<ServerConfig>>,
        connections_max: usize,
    ) -> Result<(Listener, SocketAddr), BindError> {
        let problem = |source| BindError::Address { address, source };
        let socket = TcpListener::bind(address).await.map_err(problem)?;
        let address = socket.local_addr().map_err(problem)?;
        let config = &self.app.front.config;
        let listener = Listener {
            name,
            socket,
            router,
            tls,
            connections_max,
            header_timeout: config.header_timeout,
            write_timeout: config.write_timeout,
            tasks,
        };
        Ok((listener, address))
    }
}

/// Open listeners, not yet served.
#[derive(Debug)]
pub struct Bound {
    /// Where clients call.
    pub address: SocketAddr,
    /// Where admins call.
    pub admin_address: Option<SocketAddr>,
    clients: Listener,
    admins: Option<Listener>,
    app: App,
}

impl Bound {
    /// Serves until told to leave, and all connections are closed.
    pub async fn serve(self, shutdown: Shutdown) {
        let Self { clients, admins, app, .. } = self;
        let admins = async {
            if let Some(admins) = admins {
                admins.serve(&shutdown).await;
            }
        };
        let served = async {
            tokio::join!(clients.serve(&shutdown), admins);
        };
        tokio::select! {
            () = served => {}
            () = tick(&app) => {}
        }
    }
}

/// What is done again and again, as long as anybody is served.
async fn tick(app: &App) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for _ in 0..TICKS_PER_UPKEEP {
            ticks.tick().await;
            app.keys.cut_off().await;
        }
        app.back.metrics.upkeep();
    }
}

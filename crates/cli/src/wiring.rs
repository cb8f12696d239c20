//! Puts the parts together, runs them, and takes them down in order.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chat::{Maintenance, Timestamp};
use cluster::Cluster;
use engine::Engine;
use secrecy::ExposeSecret as _;
use server::{Bound, Server, Shutdown};
use store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Storage};
use crate::hints::Exchange;
use crate::log_writer::DROPPED;
use crate::reload::{self, Reloader};
use crate::signals::{Signals, Wish};
use crate::workers::Workers;
use crate::{files, tasks, traces};

/// How long connections have to close once nothing runs any more.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How often old conversations are looked for.
const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// How many conversations are erased in one go: others want the store as well.
const RETENTION_BATCH: u32 = 200;

/// A gateway that is ready to be bound.
pub(crate) struct Gateway {
    engine: Engine,
    server: Server,
    store: Arc<Store>,
    reloader: Arc<Reloader>,
    /// What is shared with other gateways.
    cluster: Option<Cluster>,
    /// Where clients are served.
    workers: Workers,
    /// What serves requests and turns.
    tasks: TaskTracker,
    /// What the store runs: it ends last.
    store_tasks: TaskTracker,
    retention: Option<Duration>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// Opens the store of a configuration, bringing its schema up to date.
///
/// # Errors
/// It cannot be opened.
pub(crate) async fn open_store(storage: &Storage, tracker: &TaskTracker) -> anyhow::Result<Arc<Store>> {
    let config = store::Config::new(storage.url.expose_secret());
    store::open(&config, tracker).await.context("the store cannot be opened")
}

impl Gateway {
    /// Opens the store, settles what a process before this one left, and builds the rest upon it.
    ///
    /// # Errors
    /// The store cannot be opened, or nobody could use this gateway.
    pub(crate) async fn open(config: Config, file: &Path) -> anyhow::Result<Self> {
        // First of all, so that nothing is counted in vain.
        server::count();
        metrics::counter!(DROPPED).increment(0);
        let (tasks, store_tasks) = (TaskTracker::new(), TaskTracker::new());
        let store = open_store(&config.storage, &store_tasks).await?;
        store.claim().context("the store cannot be used")?;
        let maintenance: Arc<dyn Maintenance> = Arc::clone(&store) as _;
        let open = opens_without_key(&config, maintenance.as_ref()).await?;
        let engine = Engine::new(
            Arc::clone(&config.catalog),
            config.turns.clone(),
            Arc::clone(&store) as _,
            Arc::clone(&maintenance),
            tasks.clone(),
        );
        let settled = engine.settle().await.context("turns of the process before cannot be settled")?;
        if settled > 0 {
            tracing::warn!(turns = settled, "turns that ran when the process before ended were settled");
        }
        let reloader = Arc::new(Reloader::new(file, engine.clone(), Arc::clone(&maintenance), &config));
        let files = files::raise();
        let connections_max = files::clients(files, config.server.connections_max);
        tracing::info!(files, connections = connections_max, "so many clients can be connected at once");
        let server = Server::new(
            engine.clone(),
            maintenance,
            server::Config { open, connections_max, ..config.server },
            config.keys,
            Arc::clone(&reloader) as _,
            tasks.clone(),
        );
        reloader.attach(server.clone());
        // The threads may end after the store is closed, and must not keep it.
        let written = Arc::downgrade(&store);
        let commits = move || written.upgrade().map_or(0, |store| store.commits());
        let workers = Workers::start(commits).context("clients cannot be served")?;
        server.spread_over(workers.handles());
        let cluster = join(config.cluster.as_ref(), (&engine, &server), &reloader, &store, &tasks)?;
        if config.observability.otlp_endpoint.is_some() {
            server.set_adopt_trace(traces::adopt);
            engine.set_trace_headers(traces::headers);
        }
        Ok(Self {
            engine,
            server,
            store,
            reloader,
            cluster,
            workers,
            tasks,
            store_tasks,
            retention: config.storage.retention,
        })
    }

    /// Opens the listeners.
    ///
    /// # Errors
    /// An address cannot be had.
    pub(crate) async fn bind(&self) -> anyhow::Result<Bound> {
        Ok(self.server.bind().await?)
    }

    /// Reloads when the files change; for a gateway that has a file.
    pub(crate) fn watch_files(&self) {
        tasks::spawn(&self.store_tasks, reload::watch(Arc::clone(&self.reloader)));
    }

    /// Serves until a signal says to leave, then leaves in order.
    pub(crate) async fn run(self, bound: Bound, mut signals: Signals) -> ExitCode {
        let shutdown = Shutdown::default();
        let background = CancellationToken::new();
        let serving = tasks::spawn(&self.store_tasks, bound.serve(shutdown.clone()));
        let retention = retain(Arc::clone(&self.store), self.retention);
        tasks::spawn(&self.store_tasks, background.clone().run_until_cancelled_owned(retention));

        while signals.next().await == Wish::Reload {
            use server::Reload as _;
            // What came of it is in the log.
            let _ = self.reloader.reload().await;
        }
        let drained = tokio::select! {
            () = self.drain(&shutdown, serving) => true,
            () = signals.leave() => false,
        };
        background.cancel();
        shutdown.finish.cancel();
        shutdown.now.cancel();
        if !drained {
            tracing::warn!("left at once: turns that ran will be settled at the next start");
            return ExitCode::FAILURE;
        }
        drop(self.workers);
        match self.store.close(CLOSE_MAX).await {
            Ok(()) => {
                tracing::info!("left");
                ExitCode::SUCCESS
            }
            Err(error) => {
                tracing::error!(%error, "the store did not close in time");
                ExitCode::FAILURE
            }
        }
    }

    /// Takes no more turns, lets those that run end, closes the connections.
    async fn drain(&self, shutdown: &Shutdown, serving: tokio::task::JoinHandle<()>) {
        let drain = self.reloader.drain();
        // Before the log line: whoever reads that may ask at once.
        self.engine.announce_drain();
        shutdown.leave.cancel();
        tracing::info!(
            running_turns = self.engine.running(),
            delay_ms = millis(drain.delay),
            timeout_ms = millis(drain.timeout),
            "leaving"
        );
        tokio::time::sleep(drain.delay).await;
        self.engine.refuse_turns();
        tracing::info!(running_turns = self.engine.running(), "new turns are refused from now on");
        self.engine.finish(drain.timeout).await;
        shutdown.finish.cancel();
        if tokio::time::timeout(CLOSE_MAX, serving).await.is_err() {
            tracing::warn!("connections that would not close are closed");
        }
        shutdown.now.cancel();
        // All turns have given their places back.
        if let Some(cluster) = &self.cluster {
            cluster.close();
        }
        self.tasks.close();
        if tokio::time::timeout(CLOSE_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "tasks that would not end are left behind");
        }
    }
}

/// Joins the other gateways, if there are any.
fn join(
    config: Option<&cluster::Config>,
    (engine, server): (&Engine, &Server),
    reloader: &Reloader,
    store: &Arc<Store>,
    tracker: &TaskTracker,
) -> anyhow::Result<Option<Cluster>> {
    let Some(config) = config else { return Ok(None) };
    let cluster = cluster::open(config, tracker).context("the cluster cannot be joined")?;
    server.set_shared_limits(cluster.limits(Arc::clone(store) as _));
    engine.set_live(cluster.running());
    reloader.share(Exchange::open(&cluster));
    Ok(Some(cluster))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether requests are answered without a key: only where there is none at all and the operator wants it so.
///
/// # Errors
/// Nobody could use the gateway.
pub(crate) async fn opens_without_key(
    config: &Config,
    maintenance: &dyn Maintenance,
) -> anyhow::Result<bool> {
    let in_store = if config.keys.is_empty() {
        let keys = maintenance.keys().await.context("the store's keys cannot be read")?;
        keys.iter().any(|record| record.revoked_at.is_none())
    } else {
        true
    };
    match (in_store, config.server.open) {
        (true, true) => {
            tracing::warn!("`server.open` has no effect: there are keys, and they are asked for");
            Ok(false)
        }
        (true, false) => Ok(false),
        (false, true) => Ok(true),
        (false, false) => bail!(
            "nobody could use this gateway: there is no [[keys]] in the configuration and no key in the store. \
             Make one with `switchboard keys create --name NAME`, or set `server.open = true` to serve without \
             keys on a loopback address"
        ),
    }
}

/// Erases conversations that have not changed for long, and idempotency records that have expired, for ever.
async fn retain(store: Arc<Store>, retention: Option<Duration>) {
    let mut every = tokio::time::interval(RETENTION_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let now = Timestamp::now();
        loop {
            match store.retain(retention.map(|retention| now.minus(retention)), now, RETENTION_BATCH).await {
                Ok(erased) => {
                    if erased > 0 {
                        tracing::info!(
                            conversations = erased,
                            "erased what is older than `storage.retention`"
                        );
                    }
                    if erased < u64::from(RETENTION_BATCH) {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "old conversations cannot be erased now");
                    break;
                }
            }
        }
    }
}

/// Where clients reach an address that is bound: `0.0.0.0` is no place to call.
pub(crate) fn url_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("http://127.0.0.1:{}", v4.port()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("http://[::1]:{}", v6.port()),
        address => format!("http://{address}"),
    }
}

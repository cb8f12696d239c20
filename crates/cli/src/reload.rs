//! Puts a changed configuration in force while turns run: all of it or nothing.
//!
//! Keys, assistants, providers and the way turns are run change at once for whoever comes next; turns that run keep what they
//! began with. What can't change in a running process (addresses, the store) is told in the log.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use engine::Engine;
use notify::{Event, EventKind, RecursiveMode, Watcher as _, event::AccessKind};
use secrecy::ExposeSecret as _;
use server::{Reload, Reloaded, Server};
use tokio::sync::mpsc;

use crate::config::{Built, Config, Drain, LoadError, LogFormat, Observability, Process, Seen};
use crate::hints::Exchange;

/// Editors and configuration managers write a file in several steps: they are given so long.
const SETTLE: Duration = Duration::from_millis(200);

/// Reads the configuration again.
pub(crate) struct Reloader {
    file: PathBuf,
    engine: Engine,
    server: OnceLock<Server>,
    /// Where breakers of several gateways meet.
    exchange: OnceLock<Exchange>,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
    standing: Mutex<Standing>,
}

/// What is in force.
struct Standing {
    built: Vec<Built>,
    files: Vec<Seen>,
    drain: Drain,
    fixed: Fixed,
}

/// What only a restart changes.
#[derive(PartialEq, Eq)]
struct Fixed {
    server: server::Config,
    storage: String,
    cluster: Option<(String, Option<PathBuf>)>,
    observability: (LogFormat, bool, Option<String>),
}

impl Fixed {
    fn of(config: &Config) -> Self {
        // The origins of browsers are changed in place.
        let server = server::Config { cors_origins: Vec::new(), ..config.server.clone() };
        let cluster = config.cluster.as_ref();
        let cluster =
            cluster.map(|cluster| (cluster.url.expose_secret().to_owned(), cluster.ca_file.clone()));
        let Observability { log_format, log_content, otlp_endpoint } = &config.observability;
        let endpoint = otlp_endpoint.as_ref().map(|url| url.expose_secret().to_owned());
        let observability = (*log_format, *log_content, endpoint);
        Self { server, storage: config.storage.url.expose_secret().to_owned(), cluster, observability }
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Reloader {
    pub(crate) fn new(file: &Path, engine: Engine, config: &Config) -> Self {
        let standing = Standing {
            built: config.built.clone(),
            files: config.files.clone(),
            drain: config.drain,
            fixed: Fixed::of(config),
        };
        metrics::gauge!("switchboard_config_last_reload_successful").set(1.0);
        Self {
            file: file.to_owned(),
            engine,
            server: OnceLock::new(),
            exchange: OnceLock::new(),
            turn: tokio::sync::Mutex::new(()),
            standing: Mutex::new(standing),
        }
    }

    /// The server whose keys are changed: made after this, because it asks this.
    pub(crate) fn attach(&self, server: Server) {
        let _ = self.server.set(server);
    }

    /// From now on the breakers of all providers meet there.
    pub(crate) fn share(&self, exchange: Exchange) {
        exchange.set(&self.standing().built);
        let _ = self.exchange.set(exchange);
    }

    /// How the process leaves, as now in force.
    pub(crate) fn drain(&self) -> Drain {
        self.standing().drain
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, config: Config) -> Reloaded {
        let reloaded = Reloaded {
            providers: config.providers().len(),
            assistants: config.catalog.assistants().count(),
            keys: config.keys.len(),
        };
        if self.standing().fixed != Fixed::of(&config) {
            tracing::warn!(
                "addresses, TLS files' names, limits of requests, the store, the cluster and [observability] change with a restart alone"
            );
        }
        self.engine.set_catalog(Arc::clone(&config.catalog));
        self.engine.set_settings(config.turns);
        if let Some(server) = self.server.get() {
            server.set_keys(config.keys);
            server.set_cors_origins(config.server.cors_origins);
            if let Err(error) = server.reload_tls() {
                tracing::error!(%error, "the certificate before stays in use");
            }
        }
        if let Some(exchange) = self.exchange.get() {
            exchange.set(&config.built);
        }
        let mut standing = self.standing();
        standing.built = config.built;
        standing.files = config.files;
        standing.drain = config.drain;
        reloaded
    }
}

#[async_trait]
impl Reload for Reloader {
    async fn reload(&self) -> Result<Reloaded, String> {
        let _turn = self.turn.lock().await;
        let (file, before) = (self.file.clone(), self.standing().built.clone());
        // Reads files and makes clients: not work for a thread that serves requests.
        let loaded = tokio::task::spawn_blocking(move || Config::load(&file, &Process, &before)).await;
        let outcome = match loaded {
            Ok(Ok(config)) => Ok(self.apply(config)),
            Ok(Err(error)) => Err(error),
            Err(_) => return Err("the configuration could not be read".to_owned()),
        };
        let word = if outcome.is_ok() { "ok" } else { "failed" };
        metrics::counter!("switchboard_config_reloads_total", "outcome" => word).increment(1);
        metrics::gauge!("switchboard_config_last_reload_successful").set(if outcome.is_ok() {
            1.0
        } else {
            0.0
        });
        match outcome {
            Ok(reloaded) => {
                let Reloaded { providers, assistants, keys } = &reloaded;
                tracing::info!(providers, assistants, keys, "the configuration was read again");
                Ok(reloaded)
            }
            Err(error) => {
                if let LoadError::Invalid(invalid) = &error {
                    for problem in &invalid.0 {
                        let (file, line, key) = (&problem.file, problem.line, &problem.key);
                        tracing::error!(
                            file,
                            line,
                            key,
                            problem = problem.message,
                            "wrong in the configuration"
                        );
                    }
                }
                tracing::error!("the configuration has problems: the one before stays in force");
                Err(error.to_string())
            }
        }
    }
}

/// Reloads whenever one of the files changes. Ends when the watcher does.
pub(crate) async fn watch(reloader: Arc<Reloader>) {
    let (sender, mut changed) = mpsc::channel(1);
    let tell = move |event: notify::Result<Event>| {
        let touched = event.is_ok_and(|event| match event.kind {
            EventKind::Access(AccessKind::Close(notify::event::AccessMode::Write)) => true,
            // Our own reading is no change.
            EventKind::Access(_) => false,
            _ => true,
        });
        if touched {
            // One that waits already is enough.
            let _ = sender.try_send(());
        }
    };
    let mut watcher = match notify::recommended_watcher(tell) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "files cannot be watched: SIGHUP reloads the configuration");
            return;
        }
    };
    let mut folders = Vec::new();
    let mut known = reloader.standing().files.clone();
    loop {
        // Folders, not files: editors put a new file in the place of the old, configuration managers a new link.
        for folder in known.iter().map(|seen| folder_of(&seen.path)) {
            if !folders.contains(&folder) {
                if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    tracing::warn!(%error, folder = %folder.display(), "cannot be watched: SIGHUP reloads the configuration");
                }
                folders.push(folder);
            }
        }
        // Looked at before waiting: a file may have changed since it was read. Other files in the same folders mean nothing.
        let now: Vec<Seen> = known.iter().map(|seen| Seen::now(&seen.path)).collect();
        if now == known {
            if changed.recv().await.is_none() {
                return;
            }
            tokio::time::sleep(SETTLE).await;
            let _ = changed.try_recv();
            continue;
        }
        // What came of it is in the log.
        known = match reloader.reload().await {
            Ok(_) => reloader.standing().files.clone(),
            Err(_) => now,
        };
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

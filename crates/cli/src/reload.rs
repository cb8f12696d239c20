//! Puts a changed configuration in force while turns run: all of it or nothing.
//!
//! Keys, assistants, providers and the way turns are run change at once for whoever comes next; turns that run keep what they
//! began with. What can't change in a running process (addresses, the store) is told in the log.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chat::Maintenance;
use engine::Engine;
use notify::{Event, EventKind, RecursiveMode, Watcher as _, event::AccessKind};
use secrecy::{ExposeSecret as _, SecretString};
use server::{Reload, Reloaded, Server};
use tokio::sync::mpsc;

use crate::config::{Built, Config, Drain, LoadError, Observability, Process, Seen};
use crate::hints::Exchange;
use crate::wiring;

/// Editors and configuration managers write a file in several steps: they are given so long.
const SETTLE: Duration = Duration::from_millis(200);

/// Some changes nobody tells of: files of a network's, and links in folders above. Looking costs next to nothing.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often a file is read that changes while it is read.
const READINGS_MAX: u32 = 5;

/// Reads the configuration again.
pub(crate) struct Reloader {
    file: PathBuf,
    engine: Engine,
    maintenance: Arc<dyn Maintenance>,
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

/// What only a restart changes: settings by their names, each with a text that tells whether it is another. Never shown.
struct Fixed(Vec<(&'static str, String)>);

impl Fixed {
    fn of(config: &Config) -> Self {
        let server::Config { listen, admin_listen, body_bytes_max, heartbeat, open, tls, .. } =
            &config.server;
        let Observability { log_format, log_content, otlp_endpoint } = &config.observability;
        let exposed =
            |secret: &Option<SecretString>| secret.as_ref().map(|text| text.expose_secret().to_owned());
        let cluster = config.cluster.as_ref();
        let cluster =
            cluster.map(|cluster| (cluster.url.expose_secret().to_owned(), cluster.ca_file.clone()));
        Self(vec![
            ("server.listen", listen.to_string()),
            ("server.admin_listen", format!("{admin_listen:?}")),
            ("server.max_body", body_bytes_max.to_string()),
            ("server.heartbeat", format!("{heartbeat:?}")),
            ("server.open", open.to_string()),
            ("server.tls", format!("{tls:?}")),
            ("storage.url", config.storage.url.expose_secret().to_owned()),
            ("storage.retention", format!("{:?}", config.storage.retention)),
            ("cluster", format!("{cluster:?}")),
            ("observability.log_format", format!("{log_format:?}")),
            ("observability.log_content", log_content.to_string()),
            ("observability.otlp_endpoint", format!("{:?}", exposed(otlp_endpoint))),
        ])
    }

    /// The names of those that differ.
    fn changed(&self, now: &Self) -> Vec<&'static str> {
        let both = self.0.iter().zip(&now.0);
        both.filter(|(before, now)| before != now).map(|((name, _), _)| *name).collect()
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Reloader {
    pub(crate) fn new(
        file: &Path,
        engine: Engine,
        maintenance: Arc<dyn Maintenance>,
        config: &Config,
    ) -> Self {
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
            maintenance,
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
        let changed = self.standing().fixed.changed(&Fixed::of(&config));
        if !changed.is_empty() {
            tracing::warn!(settings = changed.join(", "), "these settings have changed, and need a restart");
        }
        let reloaded = Reloaded {
            providers: config.providers().len(),
            assistants: config.catalog.assistants().count(),
            keys: config.keys.len(),
            needs_restart: changed,
        };
        self.engine.set_catalog(Arc::clone(&config.catalog));
        self.engine.set_settings(config.turns);
        if let Some(server) = self.server.get() {
            server.set_keys(config.keys);
            server.set_cors_origins(config.server.cors_origins);
            // They were good when the configuration was checked, a moment ago.
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
        let loaded = tokio::task::spawn_blocking(move || load_settled(&file, &before)).await;
        let outcome = match loaded {
            Ok(Ok(config)) => match wiring::opens_without_key(&config, self.maintenance.as_ref()).await {
                Ok(_) => Ok(self.apply(config)),
                Err(error) => Err(Refused::Nobody(error)),
            },
            Ok(Err(error)) => Err(Refused::Load(error)),
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
                let Reloaded { providers, assistants, keys, needs_restart: _ } = &reloaded;
                tracing::info!(providers, assistants, keys, "the configuration was read again");
                Ok(reloaded)
            }
            Err(error) => {
                error.tell();
                tracing::error!("the configuration has problems: the one before stays in force");
                Err(error.to_string())
            }
        }
    }
}

/// Why a configuration is not put in force.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// It is wrong.
    #[error(transparent)]
    Load(LoadError),
    /// It lets nobody in.
    #[error(transparent)]
    Nobody(anyhow::Error),
}

impl Refused {
    /// Into the log, a line for each problem.
    fn tell(&self) {
        match self {
            Self::Load(LoadError::Invalid(invalid)) => {
                for problem in &invalid.0 {
                    let (file, line, key) = (&problem.file, problem.line, &problem.key);
                    let problem = &problem.message;
                    tracing::error!(file, line, key, problem, "wrong in the configuration");
                }
            }
            Self::Load(error) => tracing::error!(%error, "the configuration cannot be read"),
            Self::Nobody(error) => tracing::error!(%error, "the configuration lets nobody in"),
        }
    }
}

/// Reads the file until it is the same before and after: who writes it in place is caught in the middle now and then, and what stands
/// there then may well be a configuration, only another one.
fn load_settled(file: &Path, before: &[Built]) -> Result<Config, LoadError> {
    let mut seen = Seen::now(file);
    for _ in 1..READINGS_MAX {
        let loaded = Config::load(file, &Process, before);
        let now = Seen::now(file);
        if now == seen {
            return loaded;
        }
        seen = now;
    }
    Config::load(file, &Process, before)
}

/// Reloads whenever one of the files changes, for ever.
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
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "files cannot be watched: they are looked at now and then");
            None
        }
    };
    let mut folders = Vec::new();
    let mut known = reloader.standing().files.clone();
    loop {
        // Folders, not files: editors put a new file in the place of the old, configuration managers a new link.
        for folder in known.iter().map(|seen| folder_of(&seen.path)) {
            if !folders.contains(&folder) {
                let watched =
                    watcher.as_mut().map(|watcher| watcher.watch(&folder, RecursiveMode::NonRecursive));
                if let Some(Err(error)) = watched {
                    tracing::warn!(%error, folder = %folder.display(), "cannot be watched: it is looked at now and then");
                }
                folders.push(folder);
            }
        }
        // Looked at before waiting: a file may have changed since it was read. Other files in the same folders (a database writes
        // all the time) cost a look at what the file system says of ours.
        let now: Vec<Seen> = known.iter().map(Seen::again).collect();
        if now == known {
            known = now;
            match tokio::time::timeout(LOOK_EVERY, changed.recv()).await {
                Ok(Some(())) => {
                    tokio::time::sleep(SETTLE).await;
                    let _ = changed.try_recv();
                }
                // Nobody tells: the watcher could not be made.
                Ok(None) => tokio::time::sleep(LOOK_EVERY).await,
                Err(_) => {}
            }
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

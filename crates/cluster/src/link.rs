//! The connection to Redis: one for all calls, kept up in the background.
//!
//! Every call has a deadline. After a few failures in a row Redis counts as gone: from there on nobody asks it anything, and a
//! task of its own tries, with growing pauses, whether it is back. So a dead Redis costs the first few calls their deadline and
//! all others nothing, and one that comes back meets one caller, not all of them.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, TlsCertificates};
use secrecy::ExposeSecret as _;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Config, LinkError, OpenError, observe, tasks};

/// How much of what Redis says of a refusal is kept.
const REFUSAL_MAX: usize = 200;

/// The connection to Redis; a clone is the same one.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

struct Shared {
    client: Client,
    /// The Redis database: channels are not kept apart by it.
    database: i64,
    config: Config,
    /// None while Redis counts as gone.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Failures in a row.
    failures: AtomicU32,
    up: watch::Sender<bool>,
    /// Wakes the task that keeps the connection.
    lost: Notify,
    stop: CancellationToken,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

impl Link {
    /// Begins to connect. The task ends with `stop`.
    pub(crate) fn open(
        config: &Config,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, OpenError> {
        let client = client(config)?;
        observe::up(false);
        let link = Self(Arc::new(Shared {
            database: client.get_connection_info().redis_settings().db(),
            client,
            config: config.clone(),
            connection: Mutex::default(),
            failures: AtomicU32::new(0),
            up: watch::Sender::new(false),
            lost: Notify::new(),
            stop,
        }));
        tasks::spawn(tracker, link.clone().keep());
        Ok(link)
    }

    /// Whether Redis answers.
    pub(crate) fn is_up(&self) -> bool {
        *self.0.up.borrow()
    }

    /// Follows whether Redis answers.
    pub(crate) fn changes(&self) -> watch::Receiver<bool> {
        self.0.up.subscribe()
    }

    /// A key of ours.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.0.config.prefix)
    }

    /// A channel of ours: channels are the same in all databases of a Redis, so its number is part of the name.
    pub(crate) fn channel(&self, name: &str) -> String {
        format!("{}{}:{name}", self.0.config.prefix, self.0.database)
    }

    /// How long things may take.
    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Asks Redis, within the deadline. `operation` is a word for the metrics; nothing is asked twice.
    ///
    /// # Errors
    /// Redis is gone, slow, or refuses. After a deadline or a break it may have done what it was asked for.
    pub(crate) async fn call<T, F>(
        &self,
        operation: &'static str,
        ask: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, LinkError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(connection) = connection else {
            observe::call(operation, Err(&LinkError::Down), Duration::ZERO);
            return Err(LinkError::Down);
        };
        let begun = Instant::now();
        let outcome = match tokio::time::timeout(self.0.config.deadline, ask(connection)).await {
            Ok(answer) => answer.map_err(|error| refused(&error)),
            Err(_) => Err(LinkError::Deadline),
        };
        observe::call(operation, outcome.as_ref().map(|_| ()), begun.elapsed());
        match &outcome {
            Ok(_) => self.0.failures.store(0, Ordering::Relaxed),
            Err(error) => self.count_failure(error),
        }
        outcome
    }

    /// A connection of one's own, for calls that block on purpose. It has no deadline, and doesn't come back once it broke: whoever
    /// has it asks for another when [`Link::changes`] says that Redis is up.
    ///
    /// # Errors
    /// Redis is gone, or does not let itself be connected to in time.
    pub(crate) async fn dedicated(&self) -> Result<MultiplexedConnection, LinkError> {
        if !self.is_up() {
            return Err(LinkError::Down);
        }
        let config = self.connection_config();
        let connecting = self.0.client.get_multiplexed_async_connection_with_config(&config);
        self.within_connect_timeout(connecting).await
    }

    /// A connection of one's own for subscriptions. As [`Link::dedicated`], its stream ends when it breaks.
    ///
    /// # Errors
    /// As [`Link::dedicated`].
    pub(crate) async fn subscriber(&self) -> Result<PubSub, LinkError> {
        if !self.is_up() {
            return Err(LinkError::Down);
        }
        self.within_connect_timeout(self.0.client.get_async_pubsub()).await
    }

    fn connection_config(&self) -> AsyncConnectionConfig {
        // The deadline of calls is ours; a connection that blocks on purpose has none.
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.0.config.connect_timeout))
            .set_response_timeout(None)
    }

    async fn within_connect_timeout<T>(
        &self,
        connecting: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, LinkError> {
        match tokio::time::timeout(self.0.config.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| refused(&error)),
            Err(_) => Err(LinkError::Deadline),
        }
    }

    fn count_failure(&self, error: &LinkError) {
        let failures = self.0.failures.fetch_add(1, Ordering::Relaxed) + 1;
        // A broken connection stays broken.
        if failures >= self.0.config.failures_max || *error == LinkError::Broken {
            self.lose(error);
        }
    }

    /// From here on Redis counts as gone.
    fn lose(&self, error: &LinkError) {
        let had = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        if had.is_none() {
            return;
        }
        observe::up(false);
        self.0.up.send_replace(false);
        self.0.lost.notify_one();
        if !self.0.stop.is_cancelled() {
            tracing::warn!(
                %error,
                "redis is gone: this gateway works on alone, with limits of its own, until it is back"
            );
        }
    }

    /// Keeps the connection until the end.
    async fn keep(self) {
        let stop = self.0.stop.clone();
        stop.run_until_cancelled(self.connect_for_ever()).await;
        self.lose(&LinkError::Down);
    }

    async fn connect_for_ever(&self) {
        let mut pause = self.0.config.retry;
        let mut told = false;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    (pause, told) = (self.0.config.retry, false);
                    self.gain(connection);
                    self.look_after().await;
                }
                Err(error) if told => tracing::debug!(%error, "redis is still gone"),
                Err(error) => {
                    told = true;
                    tracing::warn!(%error, "redis does not answer: this gateway works alone until it does");
                }
            }
            // Not all gateways of a cluster at once.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(self.0.config.retry_max);
        }
    }

    /// Connects, and sees whether Redis does what it will be asked for: one that only reads or has no memory left is no use.
    async fn connect(&self) -> Result<MultiplexedConnection, LinkError> {
        let config = self.connection_config();
        let connecting = self.0.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = self.within_connect_timeout(connecting).await?;
        self.probe(&mut connection).await?;
        Ok(connection)
    }

    async fn probe(&self, connection: &mut MultiplexedConnection) -> Result<(), LinkError> {
        let mut write = redis::cmd("SET");
        write.arg(self.key("probe")).arg(1).arg("PX").arg(1000);
        match tokio::time::timeout(self.0.config.deadline, write.query_async::<()>(connection)).await {
            Ok(answer) => answer.map_err(|error| refused(&error)),
            Err(_) => Err(LinkError::Deadline),
        }
    }

    fn gain(&self, connection: MultiplexedConnection) {
        self.0.failures.store(0, Ordering::Relaxed);
        *self.0.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        observe::up(true);
        self.0.up.send_replace(true);
        tracing::info!("redis answers: limits are shared");
    }

    /// Asks something now and then, so that a Redis that goes while nobody asks is known to be gone. Ends when it is.
    async fn look_after(&self) {
        let mut write = redis::cmd("SET");
        write.arg(self.key("probe")).arg(1).arg("PX").arg(1000);
        while self.is_up() {
            tokio::select! {
                () = self.0.lost.notified() => {}
                () = tokio::time::sleep(self.0.config.heartbeat) => {
                    let write = &write;
                    // What came of it counts like any other call.
                    let _ = self
                        .call("probe", |mut connection| async move { write.query_async::<()>(&mut connection).await })
                        .await;
                }
            }
        }
    }
}

/// What connects, without connecting.
pub(crate) fn client(config: &Config) -> Result<Client, OpenError> {
    let url = config.url.expose_secret();
    let Some(file) = &config.ca_file else { return Client::open(url).map_err(|_| OpenError::Url) };
    let authorities = std::fs::read(file).map_err(OpenError::Authorities)?;
    Client::open(url).map_err(|_| OpenError::Url)?;
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities) };
    Client::build_with_tls(url, certificates).map_err(|_| OpenError::NoAuthority)
}

fn refused(error: &RedisError) -> LinkError {
    if error.is_timeout() {
        LinkError::Deadline
    } else if error.is_io_error() || error.is_unrecoverable_error() {
        LinkError::Broken
    } else {
        // Redis's own word for it, `READONLY`: what follows may repeat what it was asked.
        let word = error.code().map_or_else(|| error.category().to_owned(), str::to_owned);
        LinkError::Refused(word.chars().take(REFUSAL_MAX).collect())
    }
}

//! PostgreSQL: a pool, a transaction per write, the conversation's row locked while it changes. `outage` knows whether the server
//! answers at all.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Postgres as Database};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use chat::{Roll, StoreError};

use crate::config::Config;
use crate::conn::Conn;
use crate::error::{OpenError, in_doubt, is_collision, of_database, unavailable};
use crate::outage::Outage;
use crate::work::Run;
use crate::{migrate, observe, processes, tasks};

/// How often a transaction that collided with another is tried.
const ATTEMPTS_MAX: u32 = 5;

/// How long it may take to say that this process lives: well below the time after which it counts as gone.
const RENEW_MAX: Duration = Duration::from_secs(2);

/// A PostgreSQL database.
#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    pool: PgPool,
    tracker: TaskTracker,
    deadline: Duration,
    writes: Arc<AtomicUsize>,
    writes_max: usize,
    outage: Outage,
    pulse: Arc<Pulse>,
}

/// The connection over which a process says that it lives: it waits for no other work.
#[derive(Debug)]
struct Pulse {
    options: PgConnectOptions,
    connection: Mutex<Option<PgConnection>>,
}

pub(crate) fn options(config: &Config) -> Result<PgConnectOptions, OpenError> {
    let options = PgConnectOptions::from_str(&config.url)
        .map_err(|_| OpenError::Url("is not one that PostgreSQL knows"))?;
    let deadline = format!("{}ms", config.deadline.as_millis().max(1));
    Ok(options.application_name("switchboard").statement_cache_capacity(256).options([
        ("statement_timeout", deadline.as_str()),
        ("lock_timeout", deadline.as_str()),
        ("idle_in_transaction_session_timeout", deadline.as_str()),
    ]))
}

impl Postgres {
    pub(crate) async fn open(config: &Config, tracker: &TaskTracker) -> Result<Self, OpenError> {
        let options = options(config)?;
        migrate::postgres(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(config.connections.max(2))
            // A call waits for a connection until its own deadline, which is never later.
            .acquire_timeout(config.deadline.saturating_mul(2))
            .connect_with(options.clone())
            .await?;
        Ok(Self {
            pool,
            tracker: tracker.clone(),
            deadline: config.deadline,
            writes: Arc::default(),
            writes_max: config.queue,
            outage: Outage::watch(options.clone(), tracker),
            pulse: Arc::new(Pulse { options, connection: Mutex::new(None) }),
        })
    }

    /// Does the work in a transaction that no dropped caller cancels, and answers once it is durable.
    pub(crate) async fn write<I, T>(&self, input: I, run: Run<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.outage.admit()?;
        if self.pool.is_closed() {
            return Err(unavailable("the store is closed"));
        }
        if self.writes.load(Ordering::Relaxed) >= self.writes_max {
            return Err(unavailable("too many writes wait"));
        }
        let (caller, answer) = tokio::sync::oneshot::channel();
        let this = self.clone();
        self.writes.fetch_add(1, Ordering::Relaxed);
        tasks::spawn(&self.tracker, async move {
            let began = Instant::now();
            let result = this.repeated(&input, run).await;
            observe::commit(began.elapsed(), !matches!(result, Err(StoreError::Unavailable(_))));
            this.outage.note(&result);
            this.writes.fetch_sub(1, Ordering::Relaxed);
            drop(caller.send(result));
        });
        answer.await.map_err(|_| unavailable("the store is closed"))?
    }

    /// The work, again where it collided with another's.
    async fn repeated<I: Sync, T>(&self, input: &I, run: Run<I, T>) -> Result<T, StoreError> {
        let until = Instant::now() + self.deadline;
        let mut attempt = 1;
        loop {
            let mut connection = self.connection(until).await?;
            let since = Instant::now();
            let done = timeout_at(until, transaction(&mut connection, input, run)).await;
            match done {
                Err(_) => {
                    self.too_slow(since);
                    return Err(in_doubt("the write takes too long"));
                }
                Ok(Err(error)) if is_collision(&error) && attempt < ATTEMPTS_MAX => attempt += 1,
                Ok(result) => return result,
            }
        }
    }

    /// A connection, once one is free. That all are busy for so long says nothing of the server: it is the probe that knows.
    async fn connection(&self, until: Instant) -> Result<PoolConnection<Database>, StoreError> {
        tokio::select! {
            acquired = timeout_at(until, self.pool.acquire()) => match acquired {
                Ok(acquired) => acquired.map_err(of_database),
                Err(_) => Err(unavailable("all connections to the database are busy")),
            },
            // Nothing has been sent yet: whoever waits for a connection need not wait for a server that is gone.
            error = self.outage.begins() => Err(error),
        }
    }

    /// A call that has had a connection since then came to its deadline. One that waited for it most of the time had none left for the
    /// server.
    fn too_slow(&self, since: Instant) {
        if since.elapsed() >= self.deadline / 2 {
            self.outage.note_slow();
        }
    }

    /// Reads one state of the store, whatever is written meanwhile.
    pub(crate) async fn read<I, T>(&self, input: I, run: Run<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.outage.admit()?;
        let until = Instant::now() + self.deadline;
        let mut connection = self.connection(until).await?;
        let since = Instant::now();
        let result = tokio::select! {
            result = timeout_at(until, reading(&mut connection, &input, run)) => result.unwrap_or_else(|_| {
                self.too_slow(since);
                Err(unavailable("the read takes too long"))
            }),
            error = self.outage.begins() => return Err(error),
        };
        self.outage.note(&result);
        result
    }

    /// See [`chat::Maintenance::renew`].
    pub(crate) async fn renew(&self, owner: &str) -> Result<Roll, StoreError> {
        if self.pool.is_closed() {
            return Err(unavailable("the store is closed"));
        }
        let mut connection = self.pulse.connection.lock().await;
        let renewing = async {
            // Taken out meanwhile: one that failed, or was given up in the middle, is not used again.
            let mut taken = match connection.take() {
                Some(connection) => connection,
                None => self.pulse.options.connect().await.map_err(of_database)?,
            };
            let roll = processes::renew(&mut Conn::Postgres(&mut taken), owner).await;
            if matches!(roll, Ok(_) | Err(StoreError::Fenced)) {
                *connection = Some(taken);
            }
            roll
        };
        tokio::time::timeout(RENEW_MAX, renewing)
            .await
            .unwrap_or_else(|_| Err(in_doubt("the store did not answer in time")))
    }

    pub(crate) fn queued(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }

    pub(crate) async fn close(&self, within: Duration) -> Result<(), StoreError> {
        self.outage.stop();
        drop(self.pulse.connection.lock().await.take());
        // The pool waits for the connections that are out, and gives out no more.
        tokio::time::timeout(within, self.pool.close())
            .await
            .map_err(|_| unavailable("writes were still running"))
    }
}

async fn transaction<I: Sync, T>(
    connection: &mut PgConnection,
    input: &I,
    run: Run<I, T>,
) -> Result<T, StoreError> {
    let mut transaction = connection.begin().await.map_err(of_database)?;
    let result = run(&mut Conn::Postgres(&mut transaction), input).await;
    match result {
        Ok(value) => transaction.commit().await.map_err(of_commit).map(|()| value),
        Err(error) => {
            // What cannot be rolled back is closed by the pool, and rolled back by the server.
            drop(transaction.rollback().await);
            Err(error)
        }
    }
}

async fn reading<I: Sync, T>(
    connection: &mut PgConnection,
    input: &I,
    run: Run<I, T>,
) -> Result<T, StoreError> {
    let begun = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
    let mut transaction = begun.map_err(of_database)?;
    let result = run(&mut Conn::Postgres(&mut transaction), input).await;
    drop(transaction.rollback().await);
    result
}

/// A commit that the server refused wrote nothing; one that it did not answer may have.
fn of_commit(error: sqlx::Error) -> StoreError {
    match error {
        refused @ sqlx::Error::Database(_) => of_database(refused),
        unanswered => in_doubt(unanswered),
    }
}

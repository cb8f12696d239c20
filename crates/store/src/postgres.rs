//! PostgreSQL: a pool, a transaction per write, the conversation's row locked while it changes.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgConnection, Postgres as Database, Transaction};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use chat::{Roll, StoreError};

use crate::config::Config;
use crate::conn::Conn;
use crate::error::{OpenError, in_doubt, is_collision, is_outage, of_database, unavailable};
use crate::work::Run;
use crate::{migrate, observe, processes, tasks};

/// How often a transaction that collided with another is tried.
const ATTEMPTS_MAX: u32 = 5;

/// How long it may take to say that this process lives: well below the time after which it counts as gone.
const RENEW_MAX: Duration = Duration::from_secs(2);

/// A server that does not answer is asked once in so long; all else is refused at once meanwhile.
const PROBE_EVERY_MS: u64 = 1000;

/// A PostgreSQL database.
#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    pool: PgPool,
    tracker: TaskTracker,
    deadline: Duration,
    writes: Arc<AtomicUsize>,
    outage: Arc<Outage>,
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
            // Before the call's own deadline, so that an outage is known as one.
            .acquire_timeout(config.deadline / 2)
            .connect_with(options.clone())
            .await?;
        Ok(Self {
            pool,
            tracker: tracker.clone(),
            deadline: config.deadline,
            writes: Arc::default(),
            outage: Arc::new(Outage::new()),
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
        let all = async {
            let mut attempt = 1;
            loop {
                match self.transaction(input, run).await {
                    Err(error) if is_collision(&error) && attempt < ATTEMPTS_MAX => attempt += 1,
                    result => return result,
                }
            }
        };
        tokio::time::timeout(self.deadline, all)
            .await
            .unwrap_or_else(|_| Err(in_doubt("the write takes too long")))
    }

    async fn transaction<I: Sync, T>(&self, input: &I, run: Run<I, T>) -> Result<T, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(of_database)?;
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

    /// Reads one state of the store, whatever is written meanwhile.
    pub(crate) async fn read<I, T>(&self, input: I, run: Run<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.outage.admit()?;
        let reading = async {
            let begun = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
            let mut transaction: Transaction<'static, Database> = begun.map_err(of_database)?;
            let result = run(&mut Conn::Postgres(&mut transaction), &input).await;
            drop(transaction.rollback().await);
            result
        };
        let result = tokio::time::timeout(self.deadline, reading)
            .await
            .unwrap_or_else(|_| Err(unavailable("the read takes too long")));
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
        drop(self.pulse.connection.lock().await.take());
        // The pool waits for the connections that are out, and gives out no more.
        tokio::time::timeout(within, self.pool.close())
            .await
            .map_err(|_| unavailable("writes were still running"))
    }
}

/// A commit that the server refused wrote nothing; one that it did not answer may have.
fn of_commit(error: sqlx::Error) -> StoreError {
    match error {
        refused @ sqlx::Error::Database(_) => of_database(refused),
        unanswered => in_doubt(unanswered),
    }
}

/// Whether the server has stopped answering: then callers are refused at once, but for one that asks now and then.
#[derive(Debug)]
struct Outage {
    since: Instant,
    /// Milliseconds after `since` until which nobody asks; 0 while the server answers.
    until_ms: AtomicU64,
}

impl Outage {
    fn new() -> Self {
        Self { since: Instant::now(), until_ms: AtomicU64::new(0) }
    }

    fn admit(&self) -> Result<(), StoreError> {
        let until = self.until_ms.load(Ordering::Acquire);
        if until == 0 {
            return Ok(());
        }
        let now = self.now_ms();
        let next = now.saturating_add(PROBE_EVERY_MS);
        let asks = now >= until
            && self.until_ms.compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if asks { Ok(()) } else { Err(unavailable("the database does not answer")) }
    }

    fn note<T>(&self, result: &Result<T, StoreError>) {
        match result {
            Err(error) if is_outage(error) => {
                self.until_ms.store(self.now_ms().saturating_add(PROBE_EVERY_MS), Ordering::Release);
            }
            // An answer, be it a refusal: the server is there.
            _ => self.until_ms.store(0, Ordering::Release),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

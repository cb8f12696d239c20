//! Whether a PostgreSQL server answers: while it does not, callers are refused at once.
//!
//! A task of its own asks the server each second, over a connection of its own: so nobody's request is the one that finds out, and an
//! outage is over as soon as the server answers. What callers meet counts as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use chat::StoreError;

use crate::error::{is_outage, unavailable};
use crate::{observe, tasks};

/// How often the server is asked while it answers.
const EVERY: Duration = Duration::from_secs(1);
/// How often while it does not.
const EVERY_WHILE_DOWN: Duration = Duration::from_millis(250);
/// A server that takes longer for nothing is as good as gone.
const PROBE_MAX: Duration = Duration::from_millis(1500);
/// So many calls in a row that took longer than they may are an outage, whatever the server says to the probe.
const SLOW_MAX: u32 = 8;

/// What callers met.
#[derive(Debug, Default)]
struct Seen {
    /// Calls in a row that took too long.
    slow: AtomicU32,
    /// Calls that were answered.
    answers: AtomicU64,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    down: Arc<watch::Sender<bool>>,
    seen: Arc<Seen>,
    stop: CancellationToken,
    _guard: Arc<DropGuard>,
}

impl Outage {
    /// Watches a server that answers now.
    pub(crate) fn watch(options: PgConnectOptions, tracker: &TaskTracker) -> Self {
        let stop = CancellationToken::new();
        let this = Self {
            down: Arc::new(watch::Sender::new(false)),
            seen: Arc::default(),
            _guard: Arc::new(stop.clone().drop_guard()),
            stop: stop.clone(),
        };
        observe::up(true);
        // It must not keep itself alive.
        let (down, seen) = (Arc::clone(&this.down), Arc::clone(&this.seen));
        tasks::spawn(tracker, async move {
            stop.run_until_cancelled(probe_for_ever(&options, &down, &seen)).await;
        });
        this
    }

    /// Ends the watch.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Refuses at once while the server does not answer.
    pub(crate) fn admit(&self) -> Result<(), StoreError> {
        if *self.down.borrow() { Err(gone()) } else { Ok(()) }
    }

    /// Resolves when the server stops answering.
    pub(crate) async fn begins(&self) -> StoreError {
        // The sender is our own: it does not go.
        let _ = self.down.subscribe().wait_for(|down| *down).await;
        gone()
    }

    /// Takes note of what became of a call.
    pub(crate) fn note<T>(&self, result: &Result<T, StoreError>) {
        match result {
            Err(error) if is_outage(error) => set(&self.down, true),
            // Counted where it was noticed, or nothing of the server's.
            Err(StoreError::Unavailable(_) | StoreError::InDoubt(_)) => {}
            // An answer, be it a refusal.
            _ => {
                self.seen.slow.store(0, Ordering::Relaxed);
                self.seen.answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A call took longer than it may.
    pub(crate) fn note_slow(&self) {
        if self.seen.slow.fetch_add(1, Ordering::Relaxed) + 1 >= SLOW_MAX {
            set(&self.down, true);
        }
    }
}

fn gone() -> StoreError {
    unavailable("the database does not answer")
}

fn set(down: &watch::Sender<bool>, now: bool) {
    if !down.send_if_modified(|down| std::mem::replace(down, now) != now) {
        return;
    }
    observe::up(!now);
    if now {
        tracing::error!("the database does not answer: turns that are to be kept are refused until it does");
    } else {
        tracing::info!("the database answers again");
    }
}

async fn probe_for_ever(options: &PgConnectOptions, down: &watch::Sender<bool>, seen: &Seen) {
    let mut connection = None;
    loop {
        let mut changes = down.subscribe();
        let is_down = *changes.borrow_and_update();
        let pause = if is_down { EVERY_WHILE_DOWN } else { EVERY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Somebody found that it is gone: seen to at once.
            _ = changes.changed() => continue,
        }
        let answers = seen.answers.load(Ordering::Relaxed);
        let probed = tokio::time::timeout(PROBE_MAX, probe(options, &mut connection)).await;
        // One that was given up in the middle is not used again: `probe` has not put it back.
        match probed {
            Ok(Ok(())) => {
                seen.slow.store(0, Ordering::Relaxed);
                set(down, false);
            }
            // Busy, or this machine is: it answers others.
            Err(_) if seen.answers.load(Ordering::Relaxed) != answers => {}
            _ => set(down, true),
        }
    }
}

async fn probe(options: &PgConnectOptions, connection: &mut Option<PgConnection>) -> Result<(), sqlx::Error> {
    let mut taken = match connection.take() {
        Some(connection) => connection,
        None => options.connect().await?,
    };
    taken.ping().await?;
    *connection = Some(taken);
    Ok(())
}

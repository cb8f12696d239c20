//! The ledger rows of turns that are not kept: written together, each second, and never lost while the process lives.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chat::LedgerRow;
use tokio::sync::Notify;
use tracing::{error, warn};

use crate::engine::Inner;

/// How often rows are written.
const PAUSE: Duration = Duration::from_secs(1);
/// How many rows may wait for a store that is away. Beyond it the oldest are given up, loudly.
const ROWS_MAX: usize = 500_000;
/// How many rows are written in one transaction: others want the store as well, and wait no longer than for these.
const ROWS_AT_ONCE_MAX: usize = 2_000;

/// Rows that wait.
#[derive(Debug, Default)]
pub(crate) struct Unstored {
    rows: Mutex<Vec<LedgerRow>>,
    news: Notify,
}

impl Unstored {
    /// Keeps rows for the next writing.
    pub(crate) fn add(&self, rows: Vec<LedgerRow>) {
        if rows.is_empty() {
            return;
        }
        let mut waiting = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(rows);
        let surplus = waiting.len().saturating_sub(ROWS_MAX);
        if surplus > 0 {
            waiting.drain(..surplus);
            error!(rows = surplus, "the store has been away for too long: calls are missing in the ledger");
        }
        drop(waiting);
        self.news.notify_one();
    }

    fn take(&self) -> Vec<LedgerRow> {
        std::mem::take(&mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes what waits, each second, and sleeps while nothing does.
pub(crate) async fn write_until_closed(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.unstored.news.notified() => {}
            () = inner.closed.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = inner.closed.cancelled() => return,
        }
        write(&inner).await;
    }
}

/// Writes what waits now. What the store does not take waits on.
pub(crate) async fn write(inner: &Inner) {
    let mut rows = inner.unstored.take();
    while !rows.is_empty() {
        let mut rest = rows.split_off(rows.len().min(ROWS_AT_ONCE_MAX));
        let some: Arc<[LedgerRow]> = rows.into();
        // Rows have an identity: one that was written although the answer was lost is not written twice.
        if let Err(cause) = inner.maintenance.record(Arc::clone(&some)).await {
            rest.extend_from_slice(&some);
            warn!(rows = rest.len(), error = %cause, "calls could not be written to the ledger, trying again");
            inner.unstored.add(rest);
            return;
        }
        rows = rest;
    }
}

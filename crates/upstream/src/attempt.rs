//! What travels through the outgoing layers, and what comes back.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

use crate::{Call, Response, Verdict};

/// One attempt at a call. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) journey: Arc<Journey>,
    /// From 1.
    pub(crate) number: u32,
}

/// What all attempts at a call have in common.
#[derive(Debug)]
pub(crate) struct Journey {
    pub(crate) call: Call,
    /// The base URL with the call's path.
    pub(crate) uri: Uri,
    /// The call's, on the clock that can be paused.
    pub(crate) deadline: Instant,
    /// How many attempts were sent.
    sent: AtomicU32,
    /// When the last one was sent.
    sent_at: Mutex<Option<Instant>>,
}

impl Journey {
    pub(crate) fn new(call: Call, uri: Uri) -> Self {
        let deadline = Instant::from_std(call.deadline);
        Self { call, uri, deadline, sent: AtomicU32::new(0), sent_at: Mutex::new(None) }
    }

    /// An attempt has its place and is being sent.
    pub(crate) fn begin(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        *self.sent_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if let Some(observer) = &self.call.observer {
            observer.began();
        }
    }

    /// How many attempts were sent.
    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How long ago the last attempt was sent.
    pub(crate) fn since_sent(&self) -> Duration {
        let sent_at = *self.sent_at.lock().unwrap_or_else(PoisonError::into_inner);
        sent_at.map(|at| at.elapsed()).unwrap_or_default()
    }
}

/// A 2xx answer, and what it really is.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) verdict: Verdict,
}

/// Counts those who wait somewhere, and lets no more in than there is room for: each holds a call's body in memory.
#[derive(Debug, Default)]
pub(crate) struct Queue(AtomicUsize);

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiting<'queue>(&'queue Queue);

impl Queue {
    /// Far more than an upstream can answer within a call's deadline.
    const WAITING_MAX: usize = 10_000;

    /// None when too many wait already.
    pub(crate) fn enter(&self) -> Option<Waiting<'_>> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(self);
        (before < Self::WAITING_MAX).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `duration` after `instant`; a duration that no clock holds is as good as thirty years.
pub(crate) fn after(instant: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    instant + duration.min(FAR)
}

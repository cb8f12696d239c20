//! Readers that stay: each holds on to the liveness of its credential, which ends when the key is revoked or expires.
//!
//! One task checks each credential that has readers, twice a second; a reader costs no timer and no look-up of its own.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use chat::{KeyId, Timestamp};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::keys::Identity;

/// A key, or a token of it by when it ends.
type Credential = (KeyId, Option<Timestamp>);

/// The credentials that have readers.
#[derive(Debug, Default)]
pub(crate) struct Lives(Mutex<HashMap<Credential, Weak<Life>>>);

/// The life of a credential, held by each of its readers.
#[derive(Debug, Default)]
pub(crate) struct Life(CancellationToken);

impl Life {
    /// Resolves once the credential is no longer good.
    pub(crate) async fn ended(&self) {
        self.0.cancelled().await;
    }
}

/// What an event stream waits for beside events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing was sent for so long that those on the way should hear that the stream lives.
    Quiet,
    /// The reader's credential is no longer good.
    Ended,
}

/// Watches a stream's credential and its silence. Both waits are kept from event to event: an event costs a look at the clock, no
/// timer and no place in a list.
pub(crate) struct Pulse {
    _life: Arc<Life>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: Pin<Box<Sleep>>,
    every: Duration,
    quiet_since: Instant,
}

impl Pulse {
    /// A stream that begins now; a beat is due whenever it was quiet for `every`.
    pub(crate) fn new(life: Arc<Life>, every: Duration) -> Self {
        let ended = Box::pin(life.0.clone().cancelled_owned());
        let timer = Box::pin(tokio::time::sleep(every));
        Self { _life: life, ended, timer, every, quiet_since: Instant::now() }
    }

    /// Something was sent.
    pub(crate) fn sent(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// Waits for the next beat. Dropping the future loses nothing.
    pub(crate) async fn beat(&mut self) -> Beat {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Beat> {
        if self.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Beat::Ended);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let due = self.quiet_since + self.every;
            if now >= due {
                self.quiet_since = now;
                self.timer.as_mut().reset(now + self.every);
                return Poll::Ready(Beat::Quiet);
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl Lives {
    /// The life of this caller's credential.
    pub(crate) fn of(&self, identity: &Identity) -> Arc<Life> {
        let mut lives = self.lock();
        let life = lives.entry((identity.key.id(), identity.token_ends)).or_default();
        life.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Life::default());
            *life = Arc::downgrade(&new);
            new
        })
    }

    /// The credentials that have readers now.
    pub(crate) fn ids(&self) -> Vec<Credential> {
        let mut lives = self.lock();
        lives.retain(|_, life| life.strong_count() > 0);
        lives.keys().copied().collect()
    }

    /// The credential is no longer good.
    pub(crate) fn end(&self, key: KeyId, token_ends: Option<Timestamp>) {
        let life = self.lock().remove(&(key, token_ends)).and_then(|life| life.upgrade());
        if let Some(life) = life {
            life.0.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Credential, Weak<Life>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

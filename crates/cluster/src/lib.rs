//! What several gateways share, on Redis. A Redis that is slow or gone costs a gateway no turn: whoever asks here is told at once
//! that there is no answer, and goes on alone.
//!
//! `link` is the connection, with a deadline on every call and a breaker; all else is built upon it: `limits`, what keys may use;
//! `hints`, what was learnt of providers.

mod config;
mod error;
mod hints;
mod limits;
mod link;
mod observe;
mod running;
mod tasks;

use std::sync::Arc;

use chat::{LiveTurns, Maintenance, SharedLimits};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use config::Config;
pub use error::{LinkError, OpenError};
pub use hints::{Hint, HintKind, Hints};

use limits::Limits;
use link::Link;
use running::Running;

/// This gateway's part in a cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    link: Link,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// What runs in the background ends with the last clone, if nobody closed it before.
    _guard: Arc<DropGuard>,
}

/// Joins a cluster. Redis is connected to in the background: one that isn't there stops nobody from starting.
///
/// # Errors
/// The URL or the file of authorities is wrong.
pub fn open(config: &Config, tracker: &TaskTracker) -> Result<Cluster, OpenError> {
    let stop = CancellationToken::new();
    let link = Link::open(config, tracker, stop.clone())?;
    let tracker = tracker.clone();
    Ok(Cluster { link, tracker, _guard: Arc::new(stop.clone().drop_guard()), stop })
}

impl Cluster {
    /// Whether Redis answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Follows whether Redis answers.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.link.changes()
    }

    /// The limits of keys, counted for all gateways; what was spent is asked of this ledger. Once for a gateway.
    #[must_use]
    pub fn limits(&self, ledger: Arc<dyn Maintenance>) -> Arc<dyn SharedLimits> {
        Limits::open(self.link.clone(), ledger, &self.tracker, self.stop.clone())
    }

    /// What gateways tell each other of turns that run. Once for a gateway.
    #[must_use]
    pub fn running(&self) -> Arc<dyn LiveTurns> {
        Running::open(self.link.clone(), &self.tracker, self.stop.clone())
    }

    /// Tells the others what was learnt of providers, and `hear` what they have. It is called in the background, and must not wait.
    pub fn hints(&self, hear: impl Fn(Hint) + Send + Sync + 'static) -> Hints {
        Hints::open(&self.link, &self.tracker, &self.stop, Arc::new(hear))
    }

    /// Ends what runs in the background. From here on Redis is as good as gone.
    pub fn close(&self) {
        self.stop.cancel();
    }
}

//! What the routes and layers share.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use chat::Maintenance;
use engine::Engine;
use tokio::sync::Semaphore;

use crate::keys::Keys;
use crate::limits::Counters;
use crate::metrics::Metrics;
use crate::middleware::trace::AdoptTrace;
use crate::{Config, Reload};

/// Everything a request may need. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct App(Arc<Parts>);

/// The parts of [`App`].
#[derive(Debug)]
pub(crate) struct Parts {
    /// Runs turns.
    pub(crate) engine: Engine,
    /// Knows who calls.
    pub(crate) keys: Keys,
    /// Knows how much they may.
    pub(crate) counters: Counters,
    /// How we listen.
    pub(crate) front: Front,
    /// What admins work with.
    pub(crate) back: Back,
}

/// How we listen.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) config: Config,
    pub(crate) cors_origins: ArcSwap<Vec<String>>,
    /// One place per request at work.
    pub(crate) requests: Arc<Semaphore>,
    /// How a request joins its caller's trace, once somebody said how.
    pub(crate) adopt_trace: OnceLock<AdoptTrace>,
}

/// What admins work with.
#[derive(Debug)]
pub(crate) struct Back {
    pub(crate) maintenance: Arc<dyn Maintenance>,
    pub(crate) reload: Arc<dyn Reload>,
    pub(crate) metrics: Metrics,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

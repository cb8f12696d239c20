//! Places for connections: so many at once. Where all are taken, whoever has been idle for longest makes room for who comes.
//!
//! Idle is a connection without a request at work: kept for later, or one that does not get its request out. So thousands of
//! connections that say nothing keep nobody else away, and none is closed while there is room.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How often it is told that all places are taken.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The places of a listener.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    max: u32,
    /// A permit for each connection that is to make room. Semaphores are fair: the first to wait is the first to go.
    wanted: Semaphore,
    told: Mutex<Option<Instant>>,
}

/// A place, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held, never asked")] OwnedSemaphorePermit);

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        let max = u32::try_from(max.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let free = Arc::new(Semaphore::new(max as usize));
        Self { free, max, wanted: Semaphore::new(0), told: Mutex::default() }
    }

    /// A place for a connection that is there; waits for one where all are taken and nobody is idle.
    pub(crate) async fn take(&self, listener: &'static str) -> Option<Place> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(Place(place));
        }
        self.tell(listener);
        self.wanted.add_permits(1);
        // The semaphore is never closed.
        let place = Arc::clone(&self.free).acquire_owned().await.ok().map(Place);
        // Somebody may have left by himself: then nobody needs to go.
        self.wanted.forget_permits(1);
        place
    }

    /// Resolves when this connection is to make room. Waited for only while it is idle.
    pub(crate) async fn wanted(&self) {
        if let Ok(permit) = self.wanted.acquire().await {
            permit.forget();
        }
    }

    /// Resolves once all connections are closed; nobody is to take a place any more.
    pub(crate) async fn all_free(&self) {
        let _ = self.free.acquire_many(self.max).await;
    }

    fn tell(&self, listener: &'static str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() > TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(
                listener,
                connections = self.max,
                "as many connections are open as there may be: idle ones are closed for new ones"
            );
        }
    }
}

//! The turns that run here. A turn has its place from before it is accepted, so that a repeat of its request finds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chat::TurnId;
use tokio::sync::watch;

use crate::running::Running;

/// A turn's place.
#[derive(Debug)]
enum Place {
    /// It is about to be accepted; with those who wait for it, if anybody does.
    Reserved(Option<watch::Sender<Option<Arc<Running>>>>),
    Filled(Arc<Running>),
}

/// The turns that run here, by id.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    places: Mutex<HashMap<TurnId, Place>>,
}

/// A place for a turn that is about to be accepted. Dropped without being filled, it is free again.
#[derive(Debug)]
pub(crate) struct Reservation {
    registry: Arc<Registry>,
    id: TurnId,
    filled: bool,
}

impl Registry {
    /// A place for this turn.
    pub(crate) fn reserve(self: &Arc<Self>, id: TurnId) -> Reservation {
        self.lock().insert(id, Place::Reserved(None));
        Reservation { registry: Arc::clone(self), id, filled: false }
    }

    /// The turn, once it is accepted; none when it does not run here.
    pub(crate) async fn find(&self, id: TurnId) -> Option<Arc<Running>> {
        let mut place = match self.lock().get_mut(&id)? {
            Place::Filled(running) => return Some(Arc::clone(running)),
            Place::Reserved(waiting) => waiting.get_or_insert_default().subscribe(),
        };
        let found = place.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }

    /// The turn, if it is accepted by now.
    pub(crate) fn find_now(&self, id: TurnId) -> Option<Arc<Running>> {
        self.lock().get(&id)?.filled()
    }

    /// Forgets a turn.
    pub(crate) fn remove(&self, id: TurnId) {
        self.lock().remove(&id);
    }

    /// All that run here.
    pub(crate) fn all(&self) -> Vec<Arc<Running>> {
        self.lock().values().filter_map(Place::filled).collect()
    }

    /// Which there are, those about to be accepted included.
    pub(crate) fn ids(&self) -> Vec<TurnId> {
        self.lock().keys().copied().collect()
    }

    /// How many there are, those about to be accepted included.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TurnId, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn filled(&self) -> Option<Arc<Running>> {
        match self {
            Self::Filled(running) => Some(Arc::clone(running)),
            Self::Reserved(_) => None,
        }
    }
}

impl Reservation {
    /// The turn is accepted: whoever waits for it finds it.
    pub(crate) fn fill(mut self, running: Arc<Running>) {
        self.filled = true;
        let before = self.registry.lock().insert(self.id, Place::Filled(Arc::clone(&running)));
        if let Some(Place::Reserved(Some(waiting))) = before {
            waiting.send_replace(Some(running));
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.filled {
            self.registry.remove(self.id);
        }
    }
}

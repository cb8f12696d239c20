//! Readers that stay: each holds on to the liveness of its credential, which ends when the key is revoked or expires.
//!
//! One task checks each credential that has readers, twice a second; a reader costs no timer and no look-up of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chat::{KeyId, Timestamp};
use tokio_util::sync::CancellationToken;

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

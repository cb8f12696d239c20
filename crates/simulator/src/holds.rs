//! Answers that wait in the middle until somebody lets them go on: `fault-hold-after-N` and `POST /_simulator/release`.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::watch;

/// How many ids can be waited for at a time; beyond it all that wait are let go.
const HELD_IDS_MAX: usize = 10_000;

/// Whom to let go, by id. A sender that is dropped lets go all who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<HashMap<String, watch::Sender<()>>>);

impl Holds {
    /// A wait that ends with the next release of this id.
    pub(crate) fn wait(&self, id: &str) -> Hold {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.len() >= HELD_IDS_MAX {
            senders.clear();
        }
        let mut receiver = senders.entry(id.to_owned()).or_default().subscribe();
        drop(senders);
        // Nothing is ever sent: it resolves when the sender goes.
        Hold(Box::pin(async move { while receiver.changed().await.is_ok() {} }))
    }

    /// Lets all answers of this id go on that have been asked for, whether they have come as far or not.
    pub(crate) fn release(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// A wait for a release.
pub(crate) struct Hold(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Hold {
    /// Whether it has come.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hold")
    }
}

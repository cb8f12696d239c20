//! What stands around a turn's code: whatever happens in it, the turn ends.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chat::KeyId;
use futures_util::FutureExt;

use crate::engine::Inner;
use crate::running::Running;
use crate::settle;

/// What comes of code that waits for nothing; none where it panicked: then the turn is to be ended ([`Guard::end`]).
pub(crate) fn caught<T>(part: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(part)).ok()
}

/// Sees to it that a turn ends whose code panics.
pub(crate) struct Guard {
    pub(crate) inner: Arc<Inner>,
    pub(crate) running: Arc<Running>,
    pub(crate) key: KeyId,
}

impl Guard {
    /// What comes of a part of the turn's life; none where it panicked: then the turn has ended here.
    pub(crate) async fn around<T>(&self, life: impl Future<Output = T>) -> Option<T> {
        match AssertUnwindSafe(life).catch_unwind().await {
            Ok(done) => Some(done),
            Err(_) => {
                self.end().await;
                None
            }
        }
    }

    /// The same for what is left of the life. Not an `async fn`: it would keep the life twice for as long as the turn runs.
    pub(crate) fn around_all(self, life: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        AssertUnwindSafe(life).catch_unwind().then(|done| async move {
            if done.is_err() {
                self.end().await;
            }
        })
    }

    /// Ends the turn, whose code has panicked.
    pub(crate) async fn end(&self) {
        let Self { inner, running, key } = self;
        let row = settle::first_row(&running.snapshot(), running, *key);
        Box::pin(settle::abandoned(inner, &running.tenant, running, vec![row])).await;
    }
}

//! The last error, for admins.

use std::sync::{Mutex, PoisonError};

use chat::{ErrorCode, ProviderError, ProviderStatus, Timestamp};
use upstream::Upstream;

/// Remembers the last error while no call has gone well since.
#[derive(Debug, Default)]
pub(crate) struct Health {
    last_error: Mutex<Option<(ErrorCode, Timestamp)>>,
}

impl Health {
    /// A call went well.
    pub(crate) fn well(&self) {
        self.set(None);
    }

    /// A call failed.
    pub(crate) fn failed(&self, error: &ProviderError) {
        self.set(Some((error.failure.code(), Timestamp::now())));
    }

    /// How the provider is doing.
    pub(crate) fn status(&self, upstream: &Upstream) -> ProviderStatus {
        let last = *self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let status = upstream.status();
        ProviderStatus {
            breaker: status.breaker,
            in_flight: status.in_flight,
            last_error: last.map(|(code, _)| code),
            last_error_at: last.map(|(_, at)| at),
        }
    }

    fn set(&self, last: Option<(ErrorCode, Timestamp)>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}

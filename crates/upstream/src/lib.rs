//! HTTP out: one pooled client per provider behind one onion of layers, and the reader of event streams.
//!
//! This crate knows nothing of chat. A provider is handed an [`Upstream`]; it cannot make a connection of its own.

mod call;
mod config;
mod failure;
pub mod sse;

pub use call::{Body, Call, Classifier, Observer, Repeat, Response, Retried, Verdict};
pub use config::{BreakerConfig, BuildError, Config, RetryConfig};
pub use failure::{Cause, Clock, Failure, Refusal};

/// One provider's way out: a pooled client behind the outgoing layers. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    config: std::sync::Arc<Config>,
    script: Option<Script>,
}

/// Stands in for the whole way out until it is written.
pub type Script = std::sync::Arc<dyn Fn(Call) -> Result<Response, Failure> + Send + Sync>;

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How an upstream is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The breaker: `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Calls under way, bodies included.
    pub in_flight: usize,
}

impl Upstream {
    /// Makes the client and its layers.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn open(config: Config) -> Result<Self, BuildError> {
        Ok(Self { config: std::sync::Arc::new(config), script: None })
    }

    /// An upstream whose calls this answers.
    #[must_use]
    pub fn scripted(config: Config, script: Script) -> Self {
        Self { config: std::sync::Arc::new(config), script: Some(script) }
    }

    /// Makes a call: resolves with the head of a 2xx answer, after as many attempts as it takes and may.
    ///
    /// # Errors
    /// The last attempt's failure.
    #[expect(clippy::unused_async, reason = "to be written")]
    pub async fn send(&self, call: Call) -> Result<Response, Failure> {
        self.script.as_ref().map_or(Err(Failure::Unreachable), |script| script(call))
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { breaker: "closed", in_flight: 0 }
    }
}

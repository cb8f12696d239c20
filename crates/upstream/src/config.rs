//! What an upstream is made from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, Uri};

/// One provider's connection: where, how long, how often.
#[derive(Clone)]
pub struct Config {
    /// The provider as configured, for spans and metrics.
    pub name: String,
    /// What every call's path is appended to: `https://gptunnel.ru/v1`, without a slash at the end.
    pub base_url: Uri,
    /// Further fixed headers on every call. Values marked sensitive are never printed.
    pub headers: HeaderMap,
    /// To a connection, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// From the sent request to the response's headers; not for calls that ask for it to be off.
    pub headers_timeout: Duration,
    /// How long a body may be silent once it has begun, measured from its last byte.
    pub idle_timeout: Duration,
    /// Sending again.
    pub retry: RetryConfig,
    /// Not asking for a while.
    pub breaker: BreakerConfig,
    /// Calls under way at once; more wait until their deadline. A call counts until its body has ended or was dropped.
    pub max_concurrency: usize,
    /// What the provider allows us; calls wait for a place until their deadline. 0: no limit.
    pub requests_per_minute: u32,
    /// An outgoing proxy's URL.
    pub proxy: Option<String>,
    /// A PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for Config {
    /// Without URLs, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("host", &self.base_url.host())
            .field("headers", &self.headers)
            .field("proxied", &self.proxy.is_some())
            .finish_non_exhaustive()
    }
}

/// When a failed call is sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryConfig {
    /// Attempts in all, the first included: at least 1.
    pub attempts_max: u32,
    /// The longest first pause; doubled each time, drawn with full jitter.
    pub base: Duration,
    /// The longest pause of all.
    pub cap: Duration,
    /// How many of a hundred recent calls may be retries; ten are always allowed.
    pub budget_percent: u32,
    /// Treat every call as [`crate::Repeat::Always`].
    pub ambiguous: bool,
}

/// When the upstream is not asked for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerConfig {
    /// The span that is looked at.
    pub window: Duration,
    /// The share of failed calls that opens it: 0 to 1.
    pub failures: f64,
    /// Fewer calls in the span never open it.
    pub minimum: u32,
    /// How long it stays open before one call probes.
    pub cool_down: Duration,
}

/// Why an upstream cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The proxy's URL is none.
    #[error("`proxy` is not a URL that can be used")]
    Proxy(#[source] reqwest::Error),
    /// The file of authorities cannot be read or holds none.
    #[error("`ca_file` cannot be used")]
    Authorities(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The base URL is not `http://…` or `https://…`.
    #[error("`base_url` is not an http or https URL")]
    BaseUrl,
    /// The client cannot be made: no certificate authorities on the machine, for instance.
    #[error("the HTTP client cannot be made")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

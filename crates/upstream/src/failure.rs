//! How a call fails.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// Which clock ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// To a connection.
    Connect,
    /// To the response's headers.
    Headers,
    /// Between two pieces of the body.
    Idle,
    /// The call's deadline.
    Total,
}

/// An answer whose status is not 2xx.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The status: 3xx (redirects are not followed), 4xx, 5xx.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The beginning of the body, at most [`Self::BODY_BYTES_MAX`]; empty when it did not come.
    pub body: Bytes,
    /// What `Retry-After` or `X-RateLimit-Reset` said, as a time from now.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// How much of a refusal's body is read.
    pub const BODY_BYTES_MAX: usize = 64 * 1024;
}

/// Why a call, or its body, did not come to its end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The upstream answered, but not with 2xx.
    #[error("the upstream answered {}", .0.status)]
    Refused(Box<Refusal>),
    /// No connection: refused, unresolved, no common TLS. Certainly nothing was sent.
    #[error("no connection to the upstream")]
    Unreachable,
    /// A clock ran out.
    #[error("a clock ran out: {0:?}")]
    TimedOut(Clock),
    /// The connection broke after the request was sent, or the body ended short.
    #[error("the connection to the upstream broke")]
    Broken,
    /// What came is no HTTP, or not encoded as it says. The request was sent.
    #[error("the upstream's answer cannot be read")]
    Unreadable,
    /// No place (concurrency or requests per minute) before the deadline. Nothing was sent.
    #[error("no place at the upstream in time")]
    NoPlace,
    /// The breaker is open: too many calls failed. Nothing was sent.
    #[error("the upstream is not asked for now")]
    BreakerOpen {
        /// Until somebody is let through.
        retry_after: Duration,
    },
    /// The upstream asked for a pause (429, 503), which is longer than a call would wait. Nothing was sent.
    #[error("the upstream asked for a pause")]
    Paused {
        /// Until somebody is let through.
        retry_after: Duration,
    },
    /// A body is longer than its reader takes.
    #[error("the upstream's answer is too long")]
    TooLong,
}

/// Why an attempt is followed by another: what the observer is told.
#[derive(Debug, Clone)]
pub enum Cause {
    /// It failed.
    Failed(Failure),
    /// Its 2xx said that it failed ([`crate::Verdict`]).
    Said(StatusCode, crate::Verdict),
    /// The body of its 2xx broke before anything of it counted.
    Broke(StatusCode),
}

/// Why an answer that had begun came to nothing, although nothing of it counted yet ([`crate::Upstream::again`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Its body broke.
    Broke,
    /// It said so itself.
    Said(crate::Verdict),
}

//! What can go wrong between a gateway and Redis.

use std::io;

/// A cluster cannot be joined, whatever Redis does.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one of a Redis. What it says is not repeated: it may hold a password.
    #[error("not the URL of a Redis: it begins with `redis://` or `rediss://` and names a host")]
    Url,
    /// The file of authorities can't be read.
    #[error("the authorities of Redis cannot be read")]
    Authorities(#[source] io::Error),
    /// The file of authorities holds none.
    #[error("the file of Redis's authorities holds no certificate in PEM")]
    NoAuthority,
}

/// A call got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Redis counts as gone: it was not asked.
    #[error("redis is gone")]
    Down,
    /// Redis did not answer in time. What was asked for may still be done there.
    #[error("redis took too long")]
    Deadline,
    /// The connection broke. What was asked for may have been done.
    #[error("the connection to redis broke")]
    Broken,
    /// Redis refused.
    #[error("redis refused: {0}")]
    Refused(String),
}

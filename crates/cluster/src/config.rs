//! Where Redis is and how long it may take.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::{OpenError, link};

/// Where Redis is and how long it may take.
#[derive(Clone)]
pub struct Config {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub url: SecretString,
    /// Authorities in PEM that vouch for a `rediss://` server, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// What every key begins with, so that others may use the same Redis. Default `switchboard:`.
    pub prefix: String,
    /// How long a call may take, waiting for its place included. Default 100 ms.
    pub deadline: Duration,
    /// How long connecting may take. Default 1 s.
    pub connect_timeout: Duration,
    /// As many failures in a row, and Redis counts as gone. Default 3.
    pub failures_max: u32,
    /// The first pause before a Redis that was gone is tried again; it doubles up to [`Config::retry_max`]. Default 200 ms.
    pub retry: Duration,
    /// The longest pause between two tries. Default 2 s.
    pub retry_max: Duration,
    /// How often a Redis that nobody asks anything is looked after. Default 1 s.
    pub heartbeat: Duration,
    /// How long a running turn's place holds without being renewed: as long as the turns of a gateway that died count. Default 8 s: a little longer than it takes to settle the turns.
    pub lease: Duration,
    /// How long what a key has spent is carried on from turn to turn before the ledger is asked again. Default 5 s.
    pub reread: Duration,
}

impl Config {
    /// The defaults for this URL.
    #[must_use]
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            ca_file: None,
            prefix: "switchboard:".to_owned(),
            deadline: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(1),
            failures_max: 3,
            retry: Duration::from_millis(200),
            retry_max: Duration::from_secs(2),
            heartbeat: Duration::from_secs(1),
            lease: Duration::from_secs(8),
            reread: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Sees whether a Redis could be asked for at all. None is.
    ///
    /// # Errors
    /// The URL or the file of authorities is wrong.
    pub fn check(&self) -> Result<(), OpenError> {
        link::client(self).map(drop)
    }
}

/// The URL may have a password in it: it is not printed.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("ca_file", &self.ca_file)
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline)
            .field("connect_timeout", &self.connect_timeout)
            .field("failures_max", &self.failures_max)
            .field("retry", &self.retry)
            .field("retry_max", &self.retry_max)
            .field("heartbeat", &self.heartbeat)
            .field("lease", &self.lease)
            .field("reread", &self.reread)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        assert!(!format!("{:?}", Config::new("redis://:hunter2@h")).contains("hunter2"));
    }
}

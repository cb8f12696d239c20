//! Where the store is and how long it may take.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::OpenError;

/// Where the store is and how long it may take.
#[derive(Clone)]
pub struct Config {
    /// `sqlite:relative/path.db`, `sqlite:/absolute/path.db`, `postgres://user:password@host/db`, or `memory:`, which keeps
    /// nothing beyond the process.
    pub url: String,
    /// Connections for reading a SQLite file. Default 4.
    pub readers: u32,
    /// Connections to PostgreSQL. Default 16.
    pub connections: u32,
    /// How long a call may take, waiting for its place included. Default 5 s.
    pub deadline: Duration,
    /// Writes that may wait for the next commit of a SQLite file; further ones are refused at once. Default 4096.
    pub queue: usize,
    /// How large a SQLite file may get, in bytes; beyond it the store is full. Default: no limit but the disk's.
    pub file_bytes_max: Option<u64>,
}

impl Config {
    /// The defaults for this URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            readers: 4,
            connections: 16,
            deadline: Duration::from_secs(5),
            queue: 4096,
            file_bytes_max: None,
        }
    }

    pub(crate) fn location(&self) -> Result<Location, OpenError> {
        if self.url == "memory:" {
            Ok(Location::Memory)
        } else if let Some(path) = self.url.strip_prefix("sqlite:") {
            if path.is_empty() || path.starts_with(':') {
                return Err(OpenError::Url("names no file after `sqlite:`"));
            }
            Ok(Location::File(PathBuf::from(path)))
        } else if self.url.starts_with("postgres://") || self.url.starts_with("postgresql://") {
            Ok(Location::Postgres)
        } else {
            Err(OpenError::Url("must begin with `sqlite:` or `postgres://`, or be `memory:`"))
        }
    }
}

/// The URL may have a password in it: only its scheme is printed.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url.split(':').next().unwrap_or_default())
            .field("readers", &self.readers)
            .field("connections", &self.connections)
            .field("deadline", &self.deadline)
            .field("queue", &self.queue)
            .field("file_bytes_max", &self.file_bytes_max)
            .finish()
    }
}

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Memory,
    File(PathBuf),
    Postgres,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_one_place() {
        let location = |url: &str| Config::new(url).location().ok();
        assert_eq!(location("memory:"), Some(Location::Memory));
        assert_eq!(location("sqlite:data/a b.db"), Some(Location::File("data/a b.db".into())));
        assert_eq!(location("sqlite:/var/a.db"), Some(Location::File("/var/a.db".into())));
        assert_eq!(location("postgres://u:p@h/d"), Some(Location::Postgres));
        assert_eq!(
            (location("sqlite:"), location("sqlite::memory:"), location("mysql://h/d")),
            (None, None, None)
        );
    }

    #[test]
    fn a_password_is_not_printed() {
        assert!(!format!("{:?}", Config::new("postgres://u:hunter2@h/d")).contains("hunter2"));
    }
}

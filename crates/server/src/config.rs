//! How the listeners behave.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What clients call. Port 0: one that the system chooses.
    pub listen: SocketAddr,
    /// `/metrics` and `/admin/…`; none: not served.
    pub admin_listen: Option<SocketAddr>,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// How long a request's body may take to arrive, in all.
    pub body_timeout: Duration,
    /// How long a connection may take to send a request's headers, and may idle between two requests, in either HTTP.
    pub header_timeout: Duration,
    /// An idle event stream gets a comment line after so long.
    pub heartbeat: Duration,
    /// A client that takes no byte of an answer for so long is disconnected; on HTTP/2 the one stream is reset. Its turn goes on.
    pub write_timeout: Duration,
    /// Browsers' origins that may call; `*` is any.
    pub cors_origins: Vec<String>,
    /// No key is asked for; only requests to a loopback `Host` are answered.
    pub open: bool,
    /// Certificate and key; none: plain text.
    pub tls: Option<Tls>,
    /// The most connections at once. For a further one the connection goes that has been idle for longest; where none is idle it waits,
    /// and those behind it in the system's backlog.
    pub connections_max: usize,
    /// The most requests at work at once (event streams count until their head is sent); one more is `overloaded`.
    pub requests_max: usize,
}

/// Where certificate and key are, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, followed by those between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090))),
            body_bytes_max: 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            write_timeout: Duration::from_secs(60),
            cors_origins: Vec::new(),
            open: false,
            tls: None,
            connections_max: 32_768,
            requests_max: 16_384,
        }
    }
}

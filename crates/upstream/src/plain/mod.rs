//! HTTP/1.1 without TLS, straight on the socket: the lean way out.
//!
//! A general client keeps a task, two channels and four buffers of 8 KiB for each connection, and hands every piece from its task
//! to the reader's. Here the reader of a body reads the socket itself: a silent stream costs its socket and next to nothing else,
//! and all that has arrived is had as one piece. What this does not do (TLS, HTTP/2, proxies) is the general client's
//! ([`crate::client`]).

mod body;
mod chunked;
mod connect;
mod exchange;
mod head;
mod pool;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use tokio::time::timeout;

use self::body::Body as PlainBody;
use self::exchange::{Exchange, Lost};
use self::head::Framing;
use self::pool::{Connection, Pool};
use crate::gzip::Unzipped;
use crate::{Body, Clock, Config, Failure};

/// How much is read from a socket at once.
const READ_BYTES: usize = 16 * 1024;

/// A client of one server.
#[derive(Debug)]
pub(crate) struct Plain {
    host: String,
    port: u16,
    connect_timeout: Duration,
    pool: Arc<Pool>,
}

impl Plain {
    /// A client for this upstream; none where it takes more than plain HTTP.
    pub(crate) fn open(config: &Config) -> Option<Self> {
        let url = &config.base_url;
        let authority = url.authority()?;
        // A password in the URL is the general client's business.
        if url.scheme() != Some(&Scheme::HTTP) || config.proxy.is_some() || authority.as_str().contains('@') {
            return None;
        }
        // Brackets are how a URL writes an address of version 6, not part of it.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self {
            host,
            port: authority.port_u16().unwrap_or(80),
            connect_timeout: config.connect_timeout,
            pool: Pool::new(config.max_concurrency.max(1)),
        })
    }

    /// Makes a call; the body reads the socket as it is read.
    pub(crate) async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, Failure> {
        let without_body = request.method() == http::Method::HEAD;
        let (parts, body) = request.into_parts();
        let head = head::encode(&parts, &body)?;
        let mut reused = self.pool.take();
        let exchange = loop {
            let (connection, is_reused) = match reused.take() {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            let mut exchange = Exchange::new(connection, head.clone(), body.clone());
            match exchange.head(without_body).await {
                Ok(head) => break (exchange, head),
                // The server had closed it before anything was sent: that is no attempt at all.
                Err(Lost::Unsent) if is_reused => {}
                Err(Lost::Unsent) => return Err(broken("the connection broke at once")),
                Err(Lost::Io(error)) => return Err(broken(&error)),
                Err(Lost::Unreadable(what)) => {
                    tracing::debug!(cause = what, "no answer that can be read");
                    return Err(Failure::Unreadable);
                }
            }
        };
        let (exchange, mut head) = exchange;
        let framing = head.framing;
        let zipped = framing != Framing::None && crate::gzip::is_zipped(&mut head.headers);
        let mut answer = http::Response::new(());
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        let body = PlainBody::new(exchange, framing, Arc::clone(&self.pool), head.keep_alive);
        Ok(answer.map(|()| if zipped { Body::new(Unzipped::new(body)) } else { Body::new(body) }))
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        match timeout(self.connect_timeout, connect::connect(&self.host, self.port)).await {
            Ok(Ok(socket)) => Ok(Connection::new(socket)),
            Ok(Err(error)) => {
                tracing::debug!(failure = %Failure::Unreachable, cause = %error, "no connection");
                Err(Failure::Unreachable)
            }
            Err(_) => Err(Failure::TimedOut(Clock::Connect)),
        }
    }
}

fn broken(cause: impl std::fmt::Display) -> Failure {
    tracing::debug!(failure = %Failure::Broken, %cause, "no answer");
    Failure::Broken
}

/// An end that comes too early.
fn short() -> io::Error {
    io::Error::from(io::ErrorKind::UnexpectedEof)
}

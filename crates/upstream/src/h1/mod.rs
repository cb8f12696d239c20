//! HTTP/1.1 straight on the socket, with TLS or without: the lean way out.
//!
//! A general client keeps a task, two channels and four buffers of 8 KiB for each connection, and hands every piece from its task
//! to the reader's. Here the reader of a body reads the socket itself: a silent stream costs its socket and next to nothing else,
//! and all that has arrived is had as one piece. What this does not do (HTTP/2, proxies) is the general client's ([`crate::client`]).

mod body;
mod chunked;
mod connect;
mod connection;
mod exchange;
mod head;
mod pool;
mod session;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;

use self::connection::Connection;
use self::exchange::{Exchange, Lost};
use self::head::Framing;
use self::pool::Pool;
use self::session::Session;
use crate::gzip::Unzipped;
use crate::{Body, Clock, Config, Failure};

/// How much is read from a socket at once.
const READ_BYTES: usize = 16 * 1024;

/// What is said to be spoken, where TLS asks.
pub(crate) const PROTOCOL: &str = "http/1.1";

/// A client of one server.
#[derive(Debug)]
pub(crate) struct Client {
    host: String,
    port: u16,
    tls: Option<Tls>,
    connect_timeout: Duration,
    /// What each request says.
    fixed: head::Fixed,
    pool: Arc<Pool>,
}

/// How TLS is spoken, and to whom.
#[derive(Debug, Clone)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Stopped {
    Failed(Failure),
    /// The server does not speak HTTP/1.1. The request has had no effect; this is it.
    Newer(Box<http::Request<Bytes>>),
}

/// Whether this way out will do for an upstream.
pub(crate) fn reaches(config: &Config) -> bool {
    // A password in the URL is the general client's business, and so is a name that TLS does not know how to check.
    let will_do = |authority: &http::uri::Authority| {
        !authority.as_str().contains('@')
            && (!is_secure(config) || ServerName::try_from(host(authority)).is_ok())
    };
    config.proxy.is_none() && config.base_url.authority().is_some_and(will_do)
}

/// Whether an upstream's URL asks for TLS.
pub(crate) fn is_secure(config: &Config) -> bool {
    config.base_url.scheme() == Some(&Scheme::HTTPS)
}

/// An authority's host. Brackets are how a URL writes an address of version 6, not part of it.
fn host(authority: &http::uri::Authority) -> &str {
    authority.host().trim_start_matches('[').trim_end_matches(']')
}

/// The port that a URL without one means.
fn port_of(scheme: Option<&Scheme>) -> u16 {
    if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 }
}

impl Client {
    /// A client for this upstream, which speaks TLS if it is given its configuration; none where it takes more.
    pub(crate) fn open(config: &Config, tls: Option<ClientConfig>) -> Option<Self> {
        let authority = config.base_url.authority().filter(|_| reaches(config))?;
        let host = host(authority).to_owned();
        let tls = match tls {
            Some(config) => Some(Tls {
                config: Arc::new(crate::tls::speaking(config, &[PROTOCOL])),
                name: ServerName::try_from(host.clone()).ok()?,
            }),
            None => None,
        };
        Some(Self {
            host,
            port: authority.port_u16().unwrap_or(port_of(config.base_url.scheme())),
            tls,
            connect_timeout: config.connect_timeout,
            fixed: head::Fixed::new(&config.base_url)?,
            pool: Pool::new(config.max_concurrency.max(1)),
        })
    }

    /// Makes a call; the body reads the socket as it is read.
    pub(crate) async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, Stopped> {
        let without_body = request.method() == http::Method::HEAD;
        let (parts, body) = request.into_parts();
        let head = head::encode(&parts, &body, &self.fixed);
        let mut reused = self.pool.take();
        let (exchange, head) = loop {
            let (connection, is_reused) = match reused.take() {
                Some(connection) => (connection, true),
                // Rare, and large: its place is not in every call.
                None => match Box::pin(self.connect()).await {
                    Ok(connection) => (connection, false),
                    Err(NoConnection::Newer) => return Err(newer(parts, body)),
                    Err(NoConnection::Failed(failure)) => return Err(Stopped::Failed(failure)),
                },
            };
            let mut exchange = Exchange::new(connection, head.clone(), body.clone());
            let failure = match exchange.head(without_body).await {
                Ok(head) => break (exchange, head),
                // The server had closed it before anything was sent: that is no attempt at all.
                Err(Lost::Unsent) if is_reused => continue,
                Err(Lost::Newer) if self.tls.is_some() => return Err(newer(parts, body)),
                Err(Lost::Newer) => no_answer(Failure::Unreadable, "another protocol"),
                Err(Lost::Unsent) => no_answer(Failure::Broken, "the connection broke at once"),
                Err(Lost::Io(error)) => {
                    if is_reused {
                        // A server that closes one may be closing them all: a next attempt is not to be lost to another.
                        self.pool.clear();
                    }
                    no_answer(failure(&error), &error)
                }
                Err(Lost::Unreadable(what)) => no_answer(Failure::Unreadable, what),
            };
            return Err(Stopped::Failed(failure));
        };
        Ok(self.answer(exchange, head))
    }

    fn answer(&self, exchange: Exchange, mut head: head::Head) -> http::Response<Body> {
        let framing = head.framing;
        let zipped = framing != Framing::None && crate::gzip::is_zipped(&mut head.headers);
        let body = body::Body::new(exchange, framing, Arc::clone(&self.pool), head.keep_alive);
        let mut answer =
            http::Response::new(if zipped { Body::new(Unzipped::new(body)) } else { Body::new(body) });
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        answer
    }

    async fn connect(&self) -> Result<Connection, NoConnection> {
        let connecting = async {
            let mut socket = connect::connect(&self.host, self.port).await?;
            let session = match self.tls.clone() {
                Some(tls) => Some(Session::open(&mut socket, tls.config, tls.name).await?),
                None => None,
            };
            Ok(Connection::new(socket, session))
        };
        match timeout(self.connect_timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) if session::is_other_protocol(&error) => Err(NoConnection::Newer),
            Ok(Err(error)) => Err(NoConnection::Failed(no_answer(Failure::Unreachable, error))),
            Err(_) => Err(NoConnection::Failed(no_answer(
                Failure::TimedOut(Clock::Connect),
                "no connection in time",
            ))),
        }
    }
}

/// Why there is no connection.
enum NoConnection {
    Failed(Failure),
    /// The server speaks another version of HTTP.
    Newer,
}

fn newer(parts: http::request::Parts, body: Bytes) -> Stopped {
    Stopped::Newer(Box::new(http::Request::from_parts(parts, body)))
}

/// Why there is no head. The causes go no further than this log line.
fn no_answer(failure: Failure, cause: impl std::fmt::Display) -> Failure {
    tracing::debug!(%failure, %cause, "no answer");
    failure
}

/// What an error of the connection comes to: what is no TLS is no answer that can be read.
fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData => Failure::Unreadable,
        _ => Failure::Broken,
    }
}

/// An end that comes too early.
fn short() -> io::Error {
    io::Error::from(io::ErrorKind::UnexpectedEof)
}

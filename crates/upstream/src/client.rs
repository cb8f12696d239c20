//! The client itself, set up once for each upstream: our own where HTTP/1.1 is all there is to speak ([`crate::h1`]), reqwest for
//! servers that speak HTTP/2 alone and for proxies.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Proxy, redirect};
use rustls::ClientConfig;
use tower::util::{BoxCloneSyncService, service_fn};
use tower::{Service, ServiceExt};

use crate::attempt::Attempt;
use crate::{Authorities, Body, BuildError, Clock, Config, Failure, h1, tls};

/// What sends requests, innermost: any status is an answer. The real one is made by [`crate::Upstream::open`]; another takes
/// its place in tests ([`crate::Upstream::with_client`]).
pub type Client = BoxCloneSyncService<http::Request<Bytes>, http::Response<Body>, Failure>;

/// How long a connection is kept for the next call. Well below the 60 s after which common load balancers close it: a request
/// that meets the close half-way looks like a reset, and those may not be sent again.
pub(crate) const POOL_IDLE: Duration = Duration::from_secs(30);

/// How we name ourselves.
pub(crate) const AGENT: &str = concat!("switchboard/", env!("CARGO_PKG_VERSION"));

/// Flow control of HTTP/2: what one reader may leave unread, and all of a connection together. The second is far above the first,
/// so that one reader who stops does not stop the others on his connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// What the general client says that it speaks, where TLS asks: whichever the server likes.
const PROTOCOLS: [&str; 2] = ["h2", h1::PROTOCOL];

/// Makes the client.
pub(crate) fn open(config: &Config, machine: &Authorities) -> Result<Client, BuildError> {
    let further = config.ca_file.as_deref().map(tls::authorities).transpose()?.unwrap_or_default();
    if h1::reaches(config) && !h1::is_secure(config) {
        return h1::Client::open(config, None).ok_or(BuildError::BaseUrl).map(lean);
    }
    let tls = tls::open(machine, further)?;
    let general = general(config, tls.clone())?;
    Ok(match h1::Client::open(config, Some(tls)) {
        Some(client) => either(client, general),
        None => BoxCloneSyncService::new(service_fn(move |request| send(general.clone(), request))),
    })
}

fn lean(client: h1::Client) -> Client {
    let client = Arc::new(client);
    BoxCloneSyncService::new(service_fn(move |request| {
        let client = Arc::clone(&client);
        async move {
            client.send(request).await.map_err(|stopped| match stopped {
                h1::Stopped::Failed(failure) => failure,
                h1::Stopped::Newer(_) => Failure::Unreadable,
            })
        }
    }))
}

/// The lean client, and the general one once the server turns out to speak HTTP/2 alone. One that speaks both is spoken to in
/// HTTP/1.1: a stream on a connection of its own costs a fraction, waits for no lost packet of another, and ends with no other's.
fn either(lean: h1::Client, general: reqwest::Client) -> Client {
    let both = Arc::new((lean, AtomicBool::new(false)));
    BoxCloneSyncService::new(service_fn(move |request| {
        let (both, general) = (Arc::clone(&both), general.clone());
        async move {
            let (lean, is_newer) = &*both;
            let request = match is_newer.load(Ordering::Relaxed) {
                true => request,
                false => match lean.send(request).await {
                    Ok(answer) => return Ok(answer),
                    Err(h1::Stopped::Failed(failure)) => return Err(failure),
                    Err(h1::Stopped::Newer(request)) => {
                        tracing::debug!("the server speaks HTTP/2 alone");
                        is_newer.store(true, Ordering::Relaxed);
                        *request
                    }
                },
            };
            // Rare, and large: its place is not in every call.
            Box::pin(send(general, request)).await
        }
    }))
}

/// The general client.
fn general(config: &Config, tls: ClientConfig) -> Result<reqwest::Client, BuildError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(AGENT)
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(config.max_concurrency.max(1))
        // A request is one small write, and its answer is waited for.
        .tcp_nodelay(true)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .tls_backend_preconfigured(tls::speaking(tls, &PROTOCOLS));
    builder = match &config.proxy {
        Some(url) => builder.proxy(Proxy::all(url).map_err(BuildError::Proxy)?),
        // Not what the environment says: the configuration says it, or there is none.
        None => builder.no_proxy(),
    };
    builder.build().map_err(|error| BuildError::Client(error.into()))
}

async fn send(
    client: reqwest::Client,
    request: http::Request<Bytes>,
) -> Result<http::Response<Body>, Failure> {
    let request = reqwest::Request::try_from(request).map_err(|_| Failure::Unreachable)?;
    let response = client.execute(request).await.map_err(|error| head_failure(&error))?;
    let mut answer = http::Response::new(());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    let pieces = response.bytes_stream().map(|piece| piece.map_err(|error| body_failure(&error)));
    Ok(answer.map(|()| Body::new(pieces)))
}

/// Why there is no head. The causes go no further than this log line: they may name the URL.
fn head_failure(error: &reqwest::Error) -> Failure {
    let failure = match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::TimedOut(Clock::Connect),
        (true, false) => Failure::Unreachable,
        (false, true) => Failure::TimedOut(Clock::Headers),
        (false, false) if error.is_builder() => Failure::Unreachable,
        (false, false) if is_unreadable(error) => Failure::Unreadable,
        (false, false) => Failure::Broken,
    };
    tracing::debug!(%failure, cause = deepest(error), "no answer");
    failure
}

/// Why a body ends early.
fn body_failure(error: &reqwest::Error) -> Failure {
    let failure = match error.is_timeout() {
        true => Failure::TimedOut(Clock::Idle),
        false if is_unreadable(error) => Failure::Unreadable,
        false => Failure::Broken,
    };
    tracing::debug!(%failure, cause = deepest(error), "the body broke");
    failure
}

/// Whether bytes came that are not what they should be, rather than none. (reqwest calls every failure of a body one of decoding.)
fn is_unreadable(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let (mut transport, mut io) = (false, None);
    for cause in causes {
        if let Some(http) = cause.downcast_ref::<hyper::Error>() {
            transport = true;
            if http.is_parse() {
                return true;
            }
        }
        io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind).or(io);
    }
    match io {
        // Wrong framing; no compressed data.
        Some(ErrorKind::InvalidData | ErrorKind::InvalidInput) => true,
        // The transfer was whole, and what was compressed in it is not.
        Some(ErrorKind::UnexpectedEof) => !transport,
        _ => false,
    }
}

/// The first cause of all, which says what happened and names no URL.
fn deepest(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    cause.map(ToString::to_string).unwrap_or_default()
}

/// Makes a request of an attempt. Where the call and the configuration both have a header, the call's is sent.
pub(crate) async fn address<S>(
    fixed: Arc<HeaderMap>,
    attempt: Attempt,
    client: S,
) -> Result<http::Response<Body>, Failure>
where
    S: Service<http::Request<Bytes>, Response = http::Response<Body>, Error = Failure>,
{
    let call = &attempt.journey.call;
    let mut request = http::Request::new(call.body.clone());
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = attempt.journey.uri.clone();
    let mut headers = call.headers.clone();
    for name in fixed.keys().filter(|name| !call.headers.contains_key(*name)) {
        for value in fixed.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    for (name, value) in call.observer.iter().flat_map(|observer| observer.trace_headers()) {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    *request.headers_mut() = headers;
    client.oneshot(request).await
}

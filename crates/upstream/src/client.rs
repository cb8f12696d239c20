//! The client itself: reqwest, set up once for each upstream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Proxy, redirect};
use tower::util::{BoxCloneSyncService, service_fn};
use tower::{Service, ServiceExt};

use crate::attempt::Attempt;
use crate::{Body, BuildError, Clock, Config, Failure};

/// What sends requests, innermost: any status is an answer. The real one is made by [`crate::Upstream::open`]; another takes
/// its place in tests ([`crate::Upstream::with_client`]).
pub type Client = BoxCloneSyncService<http::Request<Bytes>, http::Response<Body>, Failure>;

/// How long a connection is kept for the next call. Well below the 60 s after which common load balancers close it: a request
/// that meets the close half-way looks like a reset, and those may not be sent again.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Flow control of HTTP/2: what one reader may leave unread, and all of a connection together. The second is far above the first,
/// so that one reader who stops does not stop the others on his connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Makes the client.
pub(crate) fn open(config: &Config) -> Result<Client, BuildError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("switchboard/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(config.max_concurrency.max(1))
        // A request is one small write, and its answer is waited for.
        .tcp_nodelay(true)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW);
    builder = match &config.proxy {
        Some(url) => builder.proxy(Proxy::all(url).map_err(BuildError::Proxy)?),
        // Not what the environment says: the configuration says it, or there is none.
        None => builder.no_proxy(),
    };
    if let Some(file) = &config.ca_file {
        let authorities = authorities(file).map_err(BuildError::Authorities)?;
        builder = builder.tls_certs_merge(authorities);
    }
    let client = builder.build().map_err(BuildError::Client)?;
    Ok(BoxCloneSyncService::new(service_fn(move |request| send(client.clone(), request))))
}

fn authorities(file: &std::path::Path) -> Result<Vec<Certificate>, Box<dyn std::error::Error + Send + Sync>> {
    let found = Certificate::from_pem_bundle(&std::fs::read(file)?)?;
    if found.is_empty() { Err("it holds no certificate".into()) } else { Ok(found) }
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
        (false, false) => Failure::Broken,
    };
    tracing::debug!(%failure, cause = deepest(error), "no answer");
    failure
}

/// Why a body ends early.
fn body_failure(error: &reqwest::Error) -> Failure {
    let failure = if error.is_timeout() { Failure::TimedOut(Clock::Idle) } else { Failure::Broken };
    tracing::debug!(%failure, cause = deepest(error), "the body broke");
    failure
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

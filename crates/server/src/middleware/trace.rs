//! One line in the log for each request, and one count: never what was said, never with what key.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use chat::TenantId;
use http::HeaderMap;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::app::App;
use crate::around::{Next, Within};
use crate::error::TURN_ID;
use crate::metrics;
use crate::middleware::request_id::RequestId;

/// What inner layers learned about a request that the log should say.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) tenant: TenantId,
    pub(crate) key: Arc<str>,
}

/// Makes the caller's trace, which its headers name, the span's own.
pub type AdoptTrace = fn(&Span, &HeaderMap);

/// Times the request up to its answer's head.
pub(crate) async fn trace<S: Within>(app: App, request: Request, next: Next<S>) -> Response {
    let began = Instant::now();
    let RequestId(id) = RequestId::of(&request);
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = tracing::info_span!("request", request.id = %id, %method, route);
    let served = served(&app, &request, &span, route);
    let response = next.run(request).instrument(served.clone()).instrument(span.clone()).await;
    let took = began.elapsed();
    let status = response.status();
    metrics::request(route, &method, status, took);
    served.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        served.record("error.type", status.as_str());
        served.record("otel.status_code", "ERROR");
    }
    drop(served);
    let seen = response.extensions().get::<Seen>();
    let turn = response.headers().get(TURN_ID).and_then(|id| id.to_str().ok());
    tracing::info!(
        parent: &span,
        status = status.as_u16(),
        duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        turn.id = turn,
        tenant = seen.map(|seen| seen.tenant.as_str()),
        key.name = seen.map(|seen| seen.key.as_ref()),
        "answered"
    );
    response
}

/// The request's span for tracing systems. The path is left out: it has ids in it, and the route says enough.
fn served(app: &App, request: &Request, within: &Span, route: &str) -> Span {
    let method = metrics::known(request.method());
    let span = tracing::info_span!(
        target: engine::SPANS,
        parent: within,
        "served",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        "error.type" = Empty,
        switchboard.request.id = Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("{method} {route}"));
        span.record("switchboard.request.id", &*RequestId::of(request).0);
        if let Some(adopt) = app.front.adopt_trace.get() {
            adopt(&span, request.headers());
        }
    }
    span
}

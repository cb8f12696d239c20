//! One line in the log for each request, and one count: never what was said, never with what key.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use chat::TenantId;
use tracing::Instrument;

use crate::error::TURN_ID;
use crate::metrics;
use crate::middleware::request_id::RequestId;

/// What inner layers learned about a request that the log should say.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) tenant: TenantId,
    pub(crate) key: Arc<str>,
}

/// Times the request up to its answer's head.
pub(crate) async fn trace(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let RequestId(id) = RequestId::of(&request);
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = tracing::info_span!("request", request.id = %id, %method, route);
    let response = next.run(request).instrument(span.clone()).await;
    let took = began.elapsed();
    let status = response.status();
    metrics::request(route, &method, status, took);
    let seen = response.extensions().get::<Seen>();
    let turn = response.headers().get(TURN_ID).and_then(|id| id.to_str().ok());
    let _entered = span.enter();
    tracing::info!(
        status = status.as_u16(),
        duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        turn.id = turn,
        tenant = seen.map(|seen| seen.tenant.as_str()),
        key.name = seen.map(|seen| seen.key.as_ref()),
        "answered"
    );
    response
}

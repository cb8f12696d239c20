//! A gateway that leaves asks for its connections back.
//!
//! Whoever keeps a connection for its next request, such as a proxy, would send that into the closing: a POST that was lost so is not
//! sent again by anybody but the client. And a balancer that has been told chooses only for new connections.

use axum::extract::Request;
use axum::response::Response;
use engine::Engine;
use http::header::CONNECTION;
use http::{HeaderValue, Version};

use crate::around::{Next, Within};

/// Says with each answer that the connection ends with it, once the gateway has begun to leave. HTTP/2 has words of its own for that.
pub(crate) async fn leaving<S: Within>(engine: Engine, request: Request, next: Next<S>) -> Response {
    let keeps = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    if keeps && engine.is_leaving() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

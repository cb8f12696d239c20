//! Browsers of other origins: which may call, and what they may see. Written by hand so that the origins can change while we run, and
//! so that an `OPTIONS` that is no preflight still reaches its route.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderValue, Method, StatusCode};

use crate::app::App;
use crate::around::{Next, Within};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE, OPTIONS");
/// What pages may send where their browser does not say what they want to.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, last-event-id, x-api-key, x-request-id",
);
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "ratelimit, ratelimit-policy, retry-after, x-ignored-parameters, x-request-id, x-should-retry, x-turn-id, \
     x-upstream-model",
);
/// Ten minutes: how long a change of the origins may take to reach every browser.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Answers preflights, and tells browsers whose page may see the answer.
pub(crate) async fn cors<S: Within>(app: App, request: Request, next: Next<S>) -> Response {
    let Some(origin) = request.headers().get(ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let allowed =
        app.front.cors_origins.load().iter().any(|one| one == "*" || one.as_bytes() == origin.as_bytes());
    // Whatever they are: a header that we don't know does nothing here, and client libraries send some of their own.
    let wanted = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if preflight {
        headers.append(VARY, HeaderValue::from_static("access-control-request-headers"));
    }
    if allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        if preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(REQUEST_HEADERS));
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }
    response
}

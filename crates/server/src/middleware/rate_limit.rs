//! How often a key may call, and what it is told about that.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chat::{ErrorCode, TurnError};
use http::{HeaderMap, HeaderName};

use crate::app::App;
use crate::error::{ApiError, insert};
use crate::limits::Rate;
use crate::middleware::auth::Who;

pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(crate) const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Counts the request; one too many is refused.
pub(crate) async fn rate_limit(State(app): State<App>, who: Who, request: Request, next: Next) -> Response {
    let Some(rate) = app.counters.request(who.key()) else {
        return next.run(request).await;
    };
    let mut response = match rate.wait {
        None => next.run(request).await,
        Some(wait) => {
            let message = "the key's requests per minute are used up: wait";
            let mut error = TurnError::new(ErrorCode::KeyRateLimit, message);
            error.retry_after = Some(wait);
            ApiError::from(error).into_response()
        }
    };
    show(response.headers_mut(), rate);
    response
}

/// The IETF draft's two fields.
fn show(headers: &mut HeaderMap, rate: Rate) {
    let Rate { per_minute, remaining, reset, .. } = rate;
    insert(headers, POLICY, &format!("\"requests\";q={per_minute};w=60"));
    insert(headers, STATE, &format!("\"requests\";r={remaining};t={reset}"));
}

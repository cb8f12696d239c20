//! How often a key may call, and what it is told about that and its other limits.

use std::fmt::Write as _;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use chat::{ErrorCode, TurnError};
use http::{HeaderMap, HeaderName};

use crate::app::App;
use crate::around::{Next, Within};
use crate::error::{ApiError, insert};
use crate::limits::{Rate, Standing};
use crate::middleware::auth::Who;

pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(crate) const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Counts the request; one too many is refused.
pub(crate) async fn rate_limit<S: Within>(
    app: App,
    request: Request,
    next: Next<S>,
) -> Result<Response, ApiError> {
    let who = Who::of_request(&request)?;
    let rate = app.counters.request(who.key()).await;
    let mut response = match rate.and_then(|rate| rate.wait) {
        None => next.run(request).await,
        Some(wait) => {
            let message = "the key's requests per minute are used up: wait";
            let mut error = TurnError::new(ErrorCode::KeyRateLimit, message);
            error.retry_after = Some(wait);
            ApiError::from(error).into_response()
        }
    };
    // Read once the answer is known: a turn that this request began counts.
    let mut all: Vec<_> = rate.map(standing).into_iter().collect();
    all.extend(app.counters.standing(who.key()).await);
    show(response.headers_mut(), &all);
    Ok(response)
}

fn standing(rate: Rate) -> Standing {
    Standing {
        name: "requests".to_owned(),
        unit: None,
        quota: rate.per_minute.into(),
        window: Some(60),
        remaining: rate.remaining.into(),
        reset: Some(rate.reset),
    }
}

/// The IETF draft's two fields, a member for each limit; neither where there is none.
fn show(headers: &mut HeaderMap, all: &[Standing]) {
    if all.is_empty() {
        return;
    }
    let (mut policy, mut state) = (String::new(), String::new());
    for one in all {
        let Standing { name, unit, quota, window, remaining, reset } = one;
        let comma = if policy.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(policy, "{comma}\"{name}\";q={quota}");
        if let Some(window) = window {
            let _ = write!(policy, ";w={window}");
        }
        if let Some(unit) = unit {
            let _ = write!(policy, ";qu=\"{unit}\"");
        }
        let _ = write!(state, "{comma}\"{name}\";r={remaining}");
        if let Some(reset) = reset {
            let _ = write!(state, ";t={reset}");
        }
    }
    insert(headers, POLICY, &policy);
    insert(headers, STATE, &state);
}

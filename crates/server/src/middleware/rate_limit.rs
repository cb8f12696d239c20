//! How often a key may call, and what it is told about that and its other limits.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use chat::{ErrorCode, TurnError};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::app::App;
use crate::around::{Next, Within};
use crate::error::ApiError;
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
    let others = app.counters.standing(who.key()).await;
    show(response.headers_mut(), rate.map(standing).into_iter().chain(others));
    Ok(response)
}

fn standing(rate: Rate) -> Standing {
    Standing {
        name: "requests".into(),
        unit: None,
        quota: rate.per_minute.into(),
        window: Some(60),
        remaining: rate.remaining.into(),
        reset: Some(rate.reset),
    }
}

/// The IETF draft's two fields, a member for each limit; neither where there is none.
fn show(headers: &mut HeaderMap, all: impl Iterator<Item = Standing>) {
    let (mut policy, mut state) = (String::with_capacity(128), String::with_capacity(128));
    for one in all {
        let Standing { name, unit, quota, window, remaining, reset } = one;
        begin(&mut policy, &name);
        put(&mut policy, ";q=", quota);
        if let Some(window) = window {
            put(&mut policy, ";w=", window);
        }
        if let Some(unit) = unit {
            for part in [";qu=\"", &unit, "\""] {
                policy.push_str(part);
            }
        }
        begin(&mut state, &name);
        put(&mut state, ";r=", remaining);
        if let Some(reset) = reset {
            put(&mut state, ";t=", reset);
        }
    }
    for (name, text) in [(POLICY, policy), (STATE, state)] {
        // They are made of names and numbers: a currency that cannot be in a header is left out of its name and its unit.
        if let Some(value) = HeaderValue::try_from(text).ok().filter(|value| !value.is_empty()) {
            headers.insert(name, value);
        }
    }
}

/// A further member of a list, by its name.
fn begin(list: &mut String, name: &str) {
    for part in [if list.is_empty() { "\"" } else { ", \"" }, name, "\""] {
        list.push_str(part);
    }
}

fn put(list: &mut String, parameter: &str, number: u64) {
    list.push_str(parameter);
    list.push_str(itoa::Buffer::new().format(number));
}

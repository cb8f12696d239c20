//! When an upstream asks to come back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

/// What `Retry-After` says (seconds, or an HTTP date), else, on a 429 or 503, `X-RateLimit-Reset` (Unix seconds; beyond 10¹²
/// milliseconds). A time that has passed is now. None where neither says anything that can be read.
///
/// Servers that have a limit tell it with every answer (MyGPTAssistants does). On a 503 the reset counts only where
/// `X-RateLimit-Remaining` does not say that calls are left: an outage of a second is not waited out to the end of the minute.
pub(crate) fn read(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let told = text(RETRY_AFTER.as_str()).and_then(|value| seconds(value).or_else(|| date(value, now)));
    let left =
        text("x-ratelimit-remaining").and_then(|left| left.parse::<u64>().ok()).is_some_and(|left| left > 0);
    let resets =
        status == StatusCode::TOO_MANY_REQUESTS || (status == StatusCode::SERVICE_UNAVAILABLE && !left);
    told.or_else(|| if resets { until(seconds(text("x-ratelimit-reset")?)?, now) } else { None })
}

/// Whole or decimal seconds: some servers send `1.5`.
fn seconds(value: &str) -> Option<Duration> {
    if !value.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    Duration::try_from_secs_f64(value.parse().ok()?).ok()
}

fn date(value: &str, now: SystemTime) -> Option<Duration> {
    let timestamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let seconds = u64::try_from(timestamp.as_second()).ok()?;
    until(Duration::from_secs(seconds), now)
}

/// From now to a time since the Unix epoch.
fn until(mut time: Duration, now: SystemTime) -> Option<Duration> {
    if time.as_secs() > 1_000_000_000_000 {
        time /= 1000;
    }
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    Some(time.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, name: &'static str, value: &str) -> Option<Duration> {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
        read(StatusCode::from_u16(status).unwrap(), &headers, now)
    }

    #[test]
    fn a_limit_that_is_not_reached_is_no_reason_to_wait() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let told = |status, left: &'static str| {
            let names = ["x-ratelimit-reset", "x-ratelimit-remaining"].map(http::HeaderName::from_static);
            let values = ["784111780", left].map(http::HeaderValue::from_static);
            read(status, &names.into_iter().zip(values).collect(), now)
        };
        let three = Some(Duration::from_secs(3));
        assert_eq!(told(StatusCode::SERVICE_UNAVAILABLE, "99"), None);
        assert_eq!(told(StatusCode::SERVICE_UNAVAILABLE, "0"), three);
        assert_eq!(
            told(StatusCode::TOO_MANY_REQUESTS, "99"),
            three,
            "it says itself that the limit is reached"
        );
    }

    #[test]
    fn reads_every_form() {
        let seconds = |number| Some(Duration::from_secs(number));
        assert_eq!(told(429, "retry-after", "7"), seconds(7));
        assert_eq!(told(500, "retry-after", " 1.5 "), Some(Duration::from_millis(1500)));
        assert_eq!(told(503, "retry-after", "Sun, 06 Nov 1994 08:50:00 GMT"), seconds(23));
        assert_eq!(told(503, "retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), seconds(0));
        assert_eq!(told(429, "x-ratelimit-reset", "784111780"), seconds(3));
        assert_eq!(told(503, "x-ratelimit-reset", "1784111777000"), seconds(1_000_000_000));
        assert_eq!(told(200, "x-ratelimit-reset", "784111780"), None);
        for nonsense in ["", "soon", "-1", "inf", "1e400", "99999999999999999999999"] {
            assert_eq!(told(429, "retry-after", nonsense), None, "{nonsense}");
        }
    }
}

//! Answers in fewer bytes, for clients that say they can read them. Never an event stream: what is written must arrive.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;
use tower::{ServiceExt as _, service_fn};
use tower_http::CompressionLevel;
use tower_http::compression::Compression;

use crate::around::{Next, Within};

/// Shorter ones gain nothing that a packet's own size does not eat.
const BODY_BYTES_MIN: u64 = 1024;
/// Of eleven (Brotli) and nine (gzip): beyond it time grows and size hardly shrinks.
const LEVEL: CompressionLevel = CompressionLevel::Precise(4);

/// Compresses what is worth it.
///
/// The library's layer would wrap every body, event streams too, and turn the answer to a client that refuses uncompressed ones into
/// a 406 after the turn was run. So it is only put around an answer that is to be compressed.
pub(crate) async fn compress<S: Within>(_: (), request: Request, next: Next<S>) -> Response {
    let asks = request.headers().contains_key(ACCEPT_ENCODING);
    let accepted = if asks { accepted(request.headers()) } else { None };
    let mut response = next.run(request).await;
    if !is_worth_it(&response) {
        return response;
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    let Some(encoding) = accepted else { return response };
    let mut asked = Request::new(Body::empty());
    asked.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    let mut response = Some(response);
    let given = service_fn(move |_: Request| {
        let response = response.take().unwrap_or_default();
        async move { Ok::<_, Infallible>(response) }
    });
    match Compression::new(given).quality(LEVEL).oneshot(asked).await {
        Ok(response) => response.map(Body::new),
    }
}

fn is_worth_it(response: &Response) -> bool {
    let value = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_text = value(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind != "text/event-stream" && (kind.starts_with("text/") || kind.starts_with("application/"))
    });
    let may = value(CACHE_CONTROL).is_none_or(|control| !control.contains("no-transform"));
    is_text && may && response.body().size_hint().upper().is_none_or(|bytes| bytes >= BODY_BYTES_MIN)
}

/// The better of the encodings that the client takes and we make.
fn accepted(headers: &HeaderMap) -> Option<&'static str> {
    let weight = |name: &str| {
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let members = values.flat_map(|value| value.split(','));
        let mut found = None;
        for member in members {
            let mut parts = member.split(';').map(str::trim);
            let encoding = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            match weight {
                Some(weight) if encoding.eq_ignore_ascii_case(name) => return weight,
                Some(weight) if encoding == "*" => found = Some(weight),
                _ => {}
            }
        }
        found.unwrap_or(0.0_f64)
    };
    let (br, gzip) = (weight("br"), weight("gzip"));
    match (br > 0.0 && br >= gzip, gzip > 0.0) {
        (true, _) => Some("br"),
        (false, true) => Some("gzip"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_encoding_is_taken() {
        let accepted = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (ACCEPT_ENCODING, HeaderValue::from_static(value)));
            accepted(&headers.collect())
        };
        assert_eq!(accepted(&[]), None);
        assert_eq!(accepted(&["identity"]), None);
        assert_eq!(accepted(&["gzip, deflate, br"]), Some("br"));
        assert_eq!(accepted(&["gzip", "br;q=0.5"]), Some("gzip"));
        assert_eq!(accepted(&["GZIP;q=0.1, br; q=0"]), Some("gzip"));
        assert_eq!(accepted(&["*"]), Some("br"));
        assert_eq!(accepted(&["br;q=0, *"]), Some("gzip"));
        assert_eq!(accepted(&["identity;q=0, deflate"]), None);
        assert_eq!(accepted(&["gzip;q=x"]), None);
    }
}

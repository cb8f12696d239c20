//! The name of a request: the client's, where it is a good one, else a new one. In every answer, and in every line of the log.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::HeaderName;

use crate::around::{Next, Within};
use crate::error;
use crate::openai::Dialect;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CHARACTERS_MAX: usize = 128;
/// What the names that we give begin with.
const PREFIX: &str = "req_";

/// The id of a request.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

impl RequestId {
    /// The id of a request that has passed [`name`].
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_else(|| Self("".into()))
    }
}

/// Names the request.
pub(crate) async fn name<S: Within>((): (), mut request: Request, next: Next<S>) -> Response {
    let mut given = request.headers().get_all(REQUEST_ID).iter();
    let only = given.next().filter(|_| given.next().is_none());
    let good = only.and_then(|value| value.to_str().ok()).filter(|id| is_good(id));
    let id = good.map_or_else(new, Arc::from);
    request.extensions_mut().insert(RequestId(id));
    next.run(request).await
}

/// Puts the name into the answer, and into the body of one that is an error.
pub(crate) async fn echo<S: Within>((): (), request: Request, next: Next<S>) -> Response {
    let RequestId(id) = RequestId::of(&request);
    let dialect = Dialect::of(request.uri().path());
    let mut response = error::render(next.run(request).await, &id, dialect);
    error::insert(response.headers_mut(), REQUEST_ID, &id);
    response
}

fn is_good(id: &str) -> bool {
    (1..=CHARACTERS_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// A name for a request that has none.
pub(crate) fn new() -> Arc<str> {
    let mut id = [0; PREFIX.len() + 32];
    let (prefix, digits) = id.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(PREFIX.as_bytes());
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(rand::random::<[u8; 16]>()) {
        *pair = [digit(byte >> 4), digit(byte & 0xf)];
    }
    // It is ASCII.
    str::from_utf8(&id).unwrap_or_default().into()
}

/// Half a byte as a digit, reckoned rather than looked up: so all of them are at once.
fn digit(half: u8) -> u8 {
    half + if half < 10 { b'0' } else { b'a' - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_is_a_good_one() {
        let digits: Vec<u8> = (0..16).map(digit).collect();
        assert_eq!(digits, b"0123456789abcdef");
        let (one, other) = (new(), new());
        assert_ne!(one, other);
        for id in [one, other] {
            let digits = id.strip_prefix(PREFIX).unwrap();
            assert!(
                is_good(&id) && digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{id}"
            );
        }
    }
}

//! What makes a request repeatable: the client's key, and a hash of the request.

use std::time::Duration;

use chat::{Caller, Idempotency, Timestamp};
use http::HeaderName;
use http::request::Parts;
use sha2::{Digest, Sha256};

use crate::body::Node;
use crate::error::ApiError;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_BYTES_MAX: usize = 255;

/// Whether the request has the header.
pub(crate) fn is_asked_for(parts: &Parts) -> bool {
    parts.headers.contains_key(KEY)
}

/// Reads the header; the fingerprint is of method, path and body without `stream`.
pub(crate) fn of(
    parts: &Parts,
    caller: &Caller,
    body: Node,
    window: Duration,
) -> Result<Option<Idempotency>, ApiError> {
    let mut given = parts.headers.get_all(KEY).iter();
    let Some(key) = given.next() else { return Ok(None) };
    let problem = "must be 1 to 255 printable ASCII characters, once";
    let key = key
        .to_str()
        .ok()
        .filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()) && given.next().is_none())
        .filter(|key| key.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        .ok_or_else(|| ApiError::invalid("Idempotency-Key", problem))?;
    Ok(Some(Idempotency {
        key: scoped(key, caller),
        fingerprint: fingerprint(parts.method.as_str(), parts.uri.path(), body),
        expires_at: Timestamp::now().plus(window),
    }))
}

/// The keys of browsers' tokens are their user's own: one user can neither learn nor block what another's made.
fn scoped(key: &str, caller: &Caller) -> String {
    match &caller.user {
        None => key.to_owned(),
        Some(user) => {
            let mut hash = Sha256::new();
            hash.update(user.as_str());
            hash.update([0]);
            hash.update(key);
            format!("user:{}", hex(&hash.finalize()))
        }
    }
}

fn fingerprint(method: &str, path: &str, mut body: Node) -> [u8; 32] {
    if let Node::Object(fields) = &mut body {
        fields.remove("stream");
        // In the OpenAI dialect a part of `stream`; no other route has it.
        fields.remove("stream_options");
    }
    let mut hash = Sha256::new();
    for word in [method.as_bytes(), path.as_bytes(), &serde_json::to_vec(&body).unwrap_or_default()] {
        hash.update(word);
        hash.update([0]);
    }
    hash.finalize().into()
}

/// Bytes as lower-case digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(path: &str, body: &str) -> [u8; 32] {
        fingerprint("POST", path, crate::body::parse(body).unwrap())
    }

    #[test]
    fn stream_order_and_white_space_do_not_matter() {
        let one = print("/v1/chat", r#"{"assistant":"a","message":"m","stream":true}"#);
        assert_eq!(one, print("/v1/chat", "{ \"message\": \"m\",\n\"assistant\": \"a\" }"));
        assert_ne!(one, print("/v1/chat", r#"{"assistant":"a","message":"n"}"#));
        assert_ne!(one, print("/v1/conversations", r#"{"assistant":"a","message":"m"}"#));
        let inner = r#"{"metadata":{"stream":true}}"#;
        assert_ne!(print("/v1/chat", inner), print("/v1/chat", r#"{"metadata":{}}"#));
    }
}

//! The provider's failures: three shapes of error bodies, any of which can come under a 200.

use chat::{Failure, ProviderError};
use http::{HeaderMap, StatusCode};
use upstream::Verdict;

use super::wire::{Answer, Error};
use crate::failure::{Judge, Words, of_status};
use crate::lenient;
use crate::shape::first_json;

/// The codes that the provider's documents name, and what they mean.
///
/// Source: overview page (the first five), `ErrorResponse` of the OpenAPI file (the others).
const CODES: &[(&str, Failure)] = &[
    ("RATE_LIMIT_EXCEEDED", Failure::Busy { retry_after: None }),
    ("INVALID_API_KEY", Failure::Credentials),
    ("BOT_NOT_FOUND", Failure::NotFound),
    ("INVALID_REQUEST", Failure::Rejected),
    ("INTERNAL_ERROR", Failure::Failed),
    ("NOT_FOUND", Failure::NotFound),
    ("VALIDATION_ERROR", Failure::Rejected),
    ("TENANT_MISMATCH", Failure::Credentials),
];

/// What an answer says of its failure; none when it is no failure. `error` is null on success, so that its presence says nothing.
pub(super) fn refusal(answer: &Answer) -> Option<Words> {
    let failed = match &answer.error {
        Some(Error::Text(text)) => !text.trim().is_empty(),
        Some(Error::Flag(flag)) => *flag,
        Some(Error::Object { code, message, .. }) => code.is_some() || message.is_some(),
        None => false,
    };
    (failed || answer.success == Some(false)).then(|| words(answer))
}

/// The words of a refusal's body.
pub(super) fn read(_: &HeaderMap, body: &[u8]) -> Words {
    lenient::from_slice::<Answer>(body).map_or_else(
        |_| {
            let text = String::from_utf8_lossy(body);
            // A page is for people with browsers.
            let shown = !text.trim_start().starts_with('<');
            Words { message: shown.then(|| text.into_owned()), ..Words::default() }
        },
        |answer| {
            // The status has been seen: what it means is not to be told from a body that repeats it.
            Words { meaning: None, ..words(&answer) }
        },
    )
}

fn words(answer: &Answer) -> Words {
    let mut words = Words::default();
    match &answer.error {
        Some(Error::Object { code, message, field, request_id }) => {
            words.message = named(code.as_deref(), message.as_deref(), field.as_deref());
            words.request_id.clone_from(request_id);
            words.codes.extend(code.clone());
        }
        Some(Error::Text(text)) => {
            words.codes.push(text.clone());
            words.message = Some(match answer.message.as_deref() {
                Some(message) if message != text => format!("{text}: {message}"),
                _ => text.clone(),
            });
        }
        Some(Error::Flag(_)) | None => words.message.clone_from(&answer.message),
    }
    words.meaning = meaning(answer, &words.codes);
    words
}

/// `BOT_NOT_FOUND: There is no such bot (field `botId`)`: the code is what tells an unknown bot from an unknown path.
fn named(code: Option<&str>, message: Option<&str>, field: Option<&str>) -> Option<String> {
    let mut text = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (code, message) => code.or(message)?.to_owned(),
    };
    if let Some(field) = field {
        text.push_str(&format!(" (field `{field}`)"));
    }
    Some(text)
}

/// Whether a refusal's words, as [`read`] makes them, begin with one of the provider's codes.
pub(super) fn has_code(message: &str) -> bool {
    let code = message.split(':').next().unwrap_or_default();
    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn meaning(answer: &Answer, codes: &[String]) -> Option<Failure> {
    let known = |code: &String| CODES.iter().find(|(known, _)| code.eq_ignore_ascii_case(known));
    if let Some((_, failure)) = codes.iter().find_map(known) {
        return Some(*failure);
    }
    if answer.upgrade_required == Some(true) {
        return Some(Failure::Account);
    }
    let status = StatusCode::from_u16(answer.status_code?).ok()?;
    (status.is_client_error() || status.is_server_error()).then(|| of_status(status, None))
}

/// Looks for a failure in the head of a 2xx: the whole of a short JSON body, or the first event of a stream.
pub(super) fn classify(_: StatusCode, _: &HeaderMap, head: &[u8]) -> Verdict {
    let refusal = lenient::from_slice::<Answer>(first_json(head)).ok().as_ref().and_then(refusal);
    match refusal.map(|words| words.meaning.unwrap_or(Failure::Failed)) {
        None => Verdict::Fine,
        Some(failure) => Judge::verdict(&ProviderError::new(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> Option<(Option<String>, Option<Failure>)> {
        refusal(&serde_json::from_str(json).unwrap()).map(|words| (words.message, words.meaning))
    }

    #[test]
    fn error_null_is_no_error() {
        assert_eq!(said(r#"{"success":true,"data":{"response":"Hi"},"error":null}"#), None);
        assert_eq!(said(r#"{"error":""}"#), None);
        assert_eq!(said(r#"{"error":{}}"#), None);
        assert_eq!(said(r#"{"error":false}"#), None);
    }

    #[test]
    fn all_three_shapes_are_errors_whatever_the_status() {
        let busy = Some(Failure::Busy { retry_after: None });
        for (json, message, meaning) in [
            (
                r#"{"success":false,"data":null,"error":{"code":"RATE_LIMIT_EXCEEDED","message":"Slow down"}}"#,
                "RATE_LIMIT_EXCEEDED: Slow down",
                busy,
            ),
            (
                r#"{"error":{"code":"VALIDATION_ERROR","message":"Empty","field":"message","requestId":"r"}}"#,
                "VALIDATION_ERROR: Empty (field `message`)",
                Some(Failure::Rejected),
            ),
            (
                r#"{"error":"Not Found","message":"No bot","statusCode":404}"#,
                "Not Found: No bot",
                Some(Failure::NotFound),
            ),
            (r#"{"error":"Pay","upgradeRequired":true}"#, "Pay", Some(Failure::Account)),
            (r#"{"success":false,"message":"Broken"}"#, "Broken", None),
            (r#"{"error":true,"message":"Broken"}"#, "Broken", None),
        ] {
            assert_eq!(said(json), Some((Some(message.to_owned()), meaning)), "{json}");
        }
    }

    #[test]
    fn the_layers_below_are_told() {
        let classify = |head: &str| classify(StatusCode::OK, &HeaderMap::new(), head.as_bytes());
        let busy = r#"{"success":false,"error":{"code":"RATE_LIMIT_EXCEEDED"}}"#;
        assert_eq!(classify(busy), Verdict::Busy { retry_after: None });
        assert_eq!(classify(&format!("event: error\ndata: {busy}\n\n")), Verdict::Busy { retry_after: None });
        assert_eq!(classify(r#"{"success":false,"error":{"code":"INTERNAL_ERROR"}}"#), Verdict::Failed);
        assert_eq!(classify(r#"{"error":"what"}"#), Verdict::Failed);
        assert_eq!(classify(r#"{"error":{"code":"BOT_NOT_FOUND"}}"#), Verdict::Refused);
        assert_eq!(classify(r#"{"success":true,"error":null}"#), Verdict::Fine);
        assert_eq!(classify(r#"{"success":fal"#), Verdict::Fine);
        assert_eq!(classify("data: Hello"), Verdict::Fine);
        assert_eq!(classify(""), Verdict::Fine);
    }

    #[test]
    fn a_body_that_is_no_json_is_its_own_words() {
        let words = |body: &str| read(&HeaderMap::new(), body.as_bytes()).message;
        assert_eq!(words("no route").as_deref(), Some("no route"));
        assert_eq!(words("<html>404</html>"), None);
        assert!(has_code("BOT_NOT_FOUND: x") && has_code("BOT_NOT_FOUND"));
        assert!(!has_code("Not Found: x") && !has_code(""));
    }
}

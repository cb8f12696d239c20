//! The provider's failures. None is documented: what is read are the customary places.

use chat::Failure;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use upstream::Verdict;

use crate::failure::Words;
use crate::lenient;
use crate::shape::first_json;

/// The words of a refusal's body.
pub(super) fn read(_: &HeaderMap, body: &[u8]) -> Words {
    lenient::from_slice::<Value>(body).map_or_else(
        |_| {
            let text = String::from_utf8_lossy(body);
            // A page is for people with browsers.
            let shown = !text.trim_start().starts_with('<');
            Words { message: shown.then(|| text.into_owned()), ..Words::default() }
        },
        |value| words(&value),
    )
}

/// What an answer under a 2xx says of its failure; none when it is no failure.
pub(super) fn refusal(value: &Value) -> Option<Words> {
    let error = match value.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
        Some(_) => true,
    };
    (error || value.get("success") == Some(&Value::Bool(false))).then(|| words(value))
}

fn words(value: &Value) -> Words {
    let text =
        |place: &str| value.pointer(place).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let first = ["/error/message", "/error", "/message", "/detail"].into_iter().find_map(text);
    let message = first.map(str::to_owned).or_else(|| {
        let errors = value.get("errors")?.as_array()?.iter();
        let errors: Vec<_> =
            errors.filter_map(|error| error.as_str().or_else(|| error.get("message")?.as_str())).collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    });
    let codes = ["/error/code", "/error/type", "/code"].into_iter().filter_map(text).map(str::to_owned);
    Words { message, codes: codes.collect(), ..Words::default() }
}

/// Looks for a failure in the head of a 2xx: the whole of a short JSON body, or the first event of a stream.
pub(super) fn classify(_: StatusCode, _: &HeaderMap, head: &[u8]) -> Verdict {
    match lenient::from_slice::<Value>(first_json(head)).ok().as_ref().and_then(refusal) {
        Some(_) => Verdict::Failed,
        None => Verdict::Fine,
    }
}

/// What a 2xx that says that it failed means, where it does not say more.
pub(super) const OTHERWISE: Failure = Failure::Failed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_the_customary_places() {
        let message = |json: &str| read(&HeaderMap::new(), json.as_bytes()).message;
        for json in [
            r#"{"error":{"message":"No"}}"#,
            r#"{"error":"No"}"#,
            r#"{"message":"No"}"#,
            r#"{"detail":"No"}"#,
            r#"{"errors":["No"]}"#,
            r#"{"errors":[{"message":"No"}]}"#,
            "No",
        ] {
            assert_eq!(message(json).as_deref(), Some("No"), "{json}");
        }
        assert_eq!(message("<html>"), None);
    }

    #[test]
    fn a_failure_under_a_200_is_one() {
        let classify = |head: &[u8]| classify(StatusCode::CREATED, &HeaderMap::new(), head);
        assert_eq!(classify(br#"{"error":"No"}"#), Verdict::Failed);
        assert_eq!(classify(br#"{"success":false}"#), Verdict::Failed);
        assert_eq!(classify(b"data: {\"error\":{\"message\":\"No\"}}\n\n"), Verdict::Failed);
        assert_eq!(classify(br#"{"error":null,"message":"Yes"}"#), Verdict::Fine);
        assert_eq!(classify(b""), Verdict::Fine);
    }
}

//! The provider's refusals: RFC 9457 with further members.

use chat::{Failure, ProviderError};
use http::{HeaderMap, StatusCode};
use upstream::Verdict;

use super::wire::{Answer, Failed, FieldErrors};
use crate::failure::{Judge, Words, of_status};
use crate::lenient;
use crate::loose::Id;
use crate::shape::first_json;

/// What a key says that may act for others, and was not told for whom.
///
/// Source: the SDK (the provider's code).
const NO_ACCOUNT: &str = "Missing impersonation header";

/// The words of a refusal's body.
pub(super) fn read(_: &HeaderMap, body: &[u8]) -> Words {
    lenient::from_slice::<Answer>(body).map_or_else(
        |_| {
            let text = String::from_utf8_lossy(body);
            // A page is for people with browsers.
            let shown = !text.trim_start().starts_with('<');
            Words { message: shown.then(|| text.into_owned()), ..Words::default() }
        },
        |answer| Words { meaning: None, ..words(&answer) },
    )
}

/// What an answer under a 2xx says of its failure; none when it is no failure.
pub(super) fn refusal(answer: &Answer) -> Option<Words> {
    let status = answer.status.is_some_and(|status| status >= 400);
    let error = answer.error.as_ref().is_some_and(Failed::is_one) || answer.success == Some(false);
    // The members of a refusal, with nothing of an answer beside them.
    let problem = (answer.detail.is_some() || answer.errors.is_some() || answer.reason.is_some())
        && answer.message.is_none()
        && answer.parts.is_none()
        && answer.answer.is_none();
    (status || error || problem).then(|| words(answer))
}

fn words(answer: &Answer) -> Words {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let message = said(&answer.detail)
        .or_else(|| fields(answer))
        .or_else(|| said(&answer.title))
        .or_else(|| said(&answer.reason))
        .or_else(|| said(&answer.error.as_ref().and_then(Failed::message)));
    let status = answer.status.and_then(|status| StatusCode::from_u16(status).ok());
    Words {
        message: hinted(message, answer),
        codes: answer.reason.iter().cloned().chain(answer.error.as_ref().and_then(Failed::code)).collect(),
        request_id: answer.request_id.clone().and_then(Id::into_text),
        meaning: status.filter(|status| status.as_u16() >= 400).map(|status| of_status(status, None)),
    }
}

/// `messages: is required; text: is too long`.
fn fields(answer: &Answer) -> Option<String> {
    let errors = answer.errors.as_ref()?;
    let line = |(field, errors): (&String, &FieldErrors)| {
        let errors = match errors {
            FieldErrors::Many(errors) => errors.join(" "),
            FieldErrors::One(error) => error.clone(),
        };
        if field.is_empty() { errors } else { format!("{field}: {errors}") }
    };
    let lines: Vec<_> = errors.iter().map(line).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

fn hinted(message: Option<String>, answer: &Answer) -> Option<String> {
    let named = [&answer.reason, &answer.detail, &answer.title];
    if !named.into_iter().flatten().any(|text| text.trim().eq_ignore_ascii_case(NO_ACCOUNT)) {
        return message;
    }
    let message = message.unwrap_or_else(|| NO_ACCOUNT.to_owned());
    Some(format!("{message} (this key acts for others: `account` says for whom)"))
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

    fn message(json: &str) -> Option<String> {
        read(&HeaderMap::new(), json.as_bytes()).message
    }

    #[test]
    fn the_most_telling_member_is_told() {
        let all =
            r#"{"title":"T","status":400,"detail":"D","errors":{"messages":["M","N"],"":"O"},"reason":"R"}"#;
        assert_eq!(message(all).as_deref(), Some("D"));
        assert_eq!(message(&all.replace(r#""D""#, "null")).as_deref(), Some("O; messages: M N"));
        assert_eq!(message(r#"{"title":"T","reason":"R"}"#).as_deref(), Some("T"));
        assert_eq!(message(r#"{"reason":"R"}"#).as_deref(), Some("R"));
        assert_eq!(message("Bad Gateway").as_deref(), Some("Bad Gateway"));
        assert_eq!(message("<html>"), None);
        let hinted = message(r#"{"detail":"No","reason":"Missing impersonation header"}"#).unwrap();
        assert!(hinted.starts_with("No (") && hinted.contains("`account`"), "{hinted}");
    }

    #[test]
    fn a_refusal_under_a_200_is_told_from_an_answer() {
        let said = |json: &str| refusal(&serde_json::from_str(json).unwrap()).map(|words| words.meaning);
        let busy = Failure::Busy { retry_after: None };
        assert_eq!(said(r#"{"title":"Slow down","status":429}"#), Some(Some(busy)));
        assert_eq!(said(r#"{"detail":"Broken"}"#), Some(None));
        assert_eq!(said(r#"{"type":"Full","message":{"parts":[]},"detail":"x"}"#), None);
        assert_eq!(said(r#"{"type":"Progress","code":"web_search"}"#), None);
        let head = br#"{"title":"Slow down","status":429}"#;
        assert_eq!(classify(StatusCode::OK, &HeaderMap::new(), head), Verdict::Busy { retry_after: None });
        assert_eq!(
            classify(StatusCode::OK, &HeaderMap::new(), b"data: {\"type\":\"Request\"}\n"),
            Verdict::Fine
        );
    }
}

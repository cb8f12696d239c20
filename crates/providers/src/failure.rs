//! What went wrong, in the words of `chat`, by the contract's table (§3.5, last part).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chat::{AttemptObserver, AttemptReport, Failure, ProviderError};
use futures_util::future::BoxFuture;
use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use upstream::Verdict;

use crate::blotter::Blotter;
use crate::redaction::Redaction;

/// Codes with which providers refuse the content itself: asking elsewhere would be going round a policy.
const FILTERED: &[&str] = &["content_filter", "content_policy_violation"];

/// Codes with which providers say that the request is too large for them.
const TOO_LONG: &[&str] = &["context_length_exceeded", "request_too_large"];

/// What a provider says about a failure: had from a refusal's body, or from a 2xx that says that it failed. As it came: nothing
/// is blotted yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Words {
    /// Its sentence for people.
    pub(crate) message: Option<String>,
    /// Its codes and types, whatever field they came in; compared without regard to case.
    pub(crate) codes: Vec<String>,
    /// Its id of the call.
    pub(crate) request_id: Option<String>,
    /// What they mean, where the provider's own codes say so. Goes before the status, not before [`FILTERED`] and [`TOO_LONG`].
    pub(crate) meaning: Option<Failure>,
}

/// Reads a provider's words from the headers and the body (perhaps its beginning only; JSON, HTML or nothing) of a refusal.
pub(crate) type ReadWords = fn(&http::HeaderMap, &[u8]) -> Words;

/// Says what a failure means and what of it may be passed on.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    blotter: Blotter,
    /// The operator's further codes of refused content.
    refusal_codes: Arc<[String]>,
    read: ReadWords,
}

impl Judge {
    /// A judge of this provider: `refusal_codes` as configured, `read` its own.
    pub(crate) fn new(blotter: Blotter, refusal_codes: RefusalCodes, read: ReadWords) -> Self {
        Self { blotter, refusal_codes: refusal_codes.0.into(), read }
    }

    /// A call that failed in transport or was refused.
    pub(crate) fn transport(&self, failure: upstream::Failure) -> ProviderError {
        let failure = match failure {
            upstream::Failure::Refused(refusal) => {
                let words = (self.read)(&refusal.headers, &refusal.body);
                return self.status(refusal.status, refusal.retry_after, words);
            }
            upstream::Failure::Unreachable => Failure::Unreachable,
            upstream::Failure::TimedOut(clock) => Failure::TimedOut(match clock {
                upstream::Clock::Connect => chat::Clock::Connect,
                upstream::Clock::Headers => chat::Clock::Headers,
                upstream::Clock::Idle => chat::Clock::Idle,
                upstream::Clock::Total => chat::Clock::Total,
            }),
            upstream::Failure::Broken => Failure::Broken,
            upstream::Failure::NoPlace => {
                let mut error = ProviderError::new(Failure::Busy { retry_after: None });
                error.unsent = true;
                return error;
            }
            upstream::Failure::BreakerOpen { retry_after } => Failure::BreakerOpen { retry_after },
            upstream::Failure::Paused { retry_after } => {
                return ProviderError {
                    unsent: true,
                    ..Failure::Busy { retry_after: Some(retry_after) }.into()
                };
            }
            upstream::Failure::TooLong | upstream::Failure::Unreadable => Failure::Protocol,
        };
        ProviderError::new(failure)
    }

    /// A refusal with this status.
    pub(crate) fn status(
        &self,
        status: StatusCode,
        retry_after: Option<Duration>,
        words: Words,
    ) -> ProviderError {
        let by_status = of_status(status, retry_after);
        self.said(words, by_status).with_status(status.as_u16())
    }

    /// A provider that says that it failed; `otherwise` is what that is when its words do not say what they mean.
    pub(crate) fn said(&self, words: Words, otherwise: Failure) -> ProviderError {
        let known = |list: &[&str]| {
            words.codes.iter().any(|code| list.iter().any(|known| code.trim().eq_ignore_ascii_case(known)))
        };
        let configured = || {
            self.refusal_codes.iter().any(|own| words.codes.iter().any(|code| own.eq_ignore_ascii_case(code)))
        };
        let failure = if known(FILTERED) || configured() {
            Failure::Filtered
        } else if known(TOO_LONG) {
            Failure::TooLong
        } else {
            words.meaning.unwrap_or(otherwise)
        };
        let mut error = ProviderError::new(failure);
        error.message = words.message.and_then(|message| self.blotter.blot(&message));
        error.request_id = words.request_id.and_then(|id| self.blotter.blot(&id));
        error
    }

    /// Watches a reply for the provider's own key.
    pub(crate) fn redaction(&self) -> Redaction {
        self.blotter.redaction()
    }

    /// A whole body without the provider's own key.
    pub(crate) fn body(&self, body: bytes::Bytes) -> bytes::Bytes {
        self.blotter.body(body)
    }

    /// A provider's words as they may be passed on; none when nothing is left of them.
    pub(crate) fn shown(&self, words: &str) -> Option<String> {
        self.blotter.blot(words)
    }

    /// An answer that cannot be read.
    pub(crate) fn unreadable(&self) -> ProviderError {
        ProviderError::new(Failure::Protocol)
    }

    /// What a 2xx that says that it failed is to the layers of `upstream`.
    pub(crate) fn verdict(error: &ProviderError) -> Verdict {
        match error.failure {
            Failure::Busy { retry_after } => Verdict::Busy { retry_after },
            Failure::Unavailable { retry_after } => Verdict::Unavailable { retry_after },
            Failure::Failed => Verdict::Failed,
            _ => Verdict::Refused,
        }
    }
}

/// What a status means where the body does not say more.
pub(crate) fn of_status(status: StatusCode, retry_after: Option<Duration>) -> Failure {
    match status.as_u16() {
        401 | 403 => Failure::Credentials,
        402 => Failure::Account,
        404 => Failure::NotFound,
        413 => Failure::TooLong,
        429 => Failure::Busy { retry_after },
        503 => Failure::Unavailable { retry_after },
        400..=499 => Failure::Rejected,
        500..=599 => Failure::Failed,
        // Redirects are not followed; nothing else should come.
        _ => Failure::Protocol,
    }
}

/// What a code in a 2xx that says that it failed means: the codes and types that OpenAI and its likes use, and HTTP's numbers.
pub(crate) fn of_code(code: &str) -> Option<Failure> {
    Some(match code.trim().to_ascii_lowercase().as_str() {
        "invalid_api_key"
        | "authentication_error"
        | "unauthorized_request_error"
        | "unauthorized"
        | "permission_error"
        | "permission_denied"
        | "forbidden" => Failure::Credentials,
        "insufficient_quota" | "insufficient_balance" | "billing_error" | "payment_required" => {
            Failure::Account
        }
        "model_not_found" | "not_found_error" | "not_found" => Failure::NotFound,
        "rate_limit_exceeded" | "rate_limit_error" | "too_many_requests" => {
            Failure::Busy { retry_after: None }
        }
        "overloaded_error" | "overloaded" | "service_unavailable" | "engine_overloaded" => {
            Failure::Unavailable { retry_after: None }
        }
        "invalid_request_error" | "invalid_request" => Failure::Rejected,
        "server_error" | "api_error" | "internal_error" | "internal_server_error" => Failure::Failed,
        number => match number.parse::<u16>() {
            Ok(status @ 400..=599) => of_status(StatusCode::from_u16(status).ok()?, None),
            _ => return None,
        },
    })
}

/// The operator's further codes of refused content: strings, or numbers as some providers write them.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct RefusalCodes(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for RefusalCodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Code(String);
        struct Read;
        impl serde::de::Visitor<'_> for Read {
            type Value = Code;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a code: a string or a whole number")
            }

            fn visit_str<E>(self, code: &str) -> Result<Code, E> {
                Ok(Code(code.trim().to_owned()))
            }

            fn visit_i64<E>(self, code: i64) -> Result<Code, E> {
                Ok(Code(code.to_string()))
            }
        }
        impl<'de> Deserialize<'de> for Code {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Read)
            }
        }
        let codes = Vec::<Code>::deserialize(deserializer)?;
        Ok(Self(codes.into_iter().map(|code| code.0).collect()))
    }
}

/// Tells `chat`'s observer what `upstream` tells.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) observer: Arc<dyn AttemptObserver>,
    pub(crate) judge: Judge,
}

impl upstream::Observer for Bridge {
    fn began(&self) {
        self.observer.began();
    }

    fn answered(&self, status: StatusCode) {
        self.observer.answered(status.as_u16());
    }

    fn gave_up(&self) -> bool {
        self.observer.gave_up()
    }

    fn noted(&self) -> BoxFuture<'static, ()> {
        self.observer.noted()
    }

    fn trace_headers(&self) -> Vec<(&'static str, String)> {
        self.observer.trace_headers()
    }

    fn failed(&self, retried: upstream::Retried) {
        let error = match retried.cause {
            upstream::Cause::Failed(failure) => self.judge.transport(failure),
            upstream::Cause::Broke(status) => {
                ProviderError::new(Failure::Broken).with_status(status.as_u16())
            }
            upstream::Cause::Said(status, verdict) => {
                let failure = match verdict {
                    Verdict::Busy { retry_after } => Failure::Busy { retry_after },
                    Verdict::Unavailable { retry_after } => Failure::Unavailable { retry_after },
                    Verdict::Fine | Verdict::Failed => Failure::Failed,
                    Verdict::Refused => Failure::Rejected,
                };
                ProviderError::new(failure).with_status(status.as_u16())
            }
        };
        self.observer.failed(AttemptReport {
            failure: error.failure,
            status: error.status,
            duration: retried.duration,
            retry_in: retried.retry_in,
            unsent: error.unsent,
        });
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn judge() -> Judge {
        fn read(_: &HeaderMap, body: &[u8]) -> Words {
            let text = String::from_utf8_lossy(body).into_owned();
            Words { codes: vec![text.clone()], message: Some(text), ..Words::default() }
        }
        Judge::new(Blotter::new(&["sk-1".into()], None), RefusalCodes(vec!["our_policy".to_owned()]), read)
    }

    fn refused(status: u16, body: &'static str) -> ProviderError {
        judge().transport(upstream::Failure::Refused(Box::new(upstream::Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
            retry_after: Some(Duration::from_secs(7)),
        })))
    }

    #[test]
    fn statuses_become_what_the_contract_says() {
        let seven = Some(Duration::from_secs(7));
        for (status, failure) in [
            (302, Failure::Protocol),
            (400, Failure::Rejected),
            (401, Failure::Credentials),
            (402, Failure::Account),
            (403, Failure::Credentials),
            (404, Failure::NotFound),
            (408, Failure::Rejected),
            (413, Failure::TooLong),
            (422, Failure::Rejected),
            (429, Failure::Busy { retry_after: seven }),
            (500, Failure::Failed),
            (502, Failure::Failed),
            (503, Failure::Unavailable { retry_after: seven }),
            (529, Failure::Failed),
        ] {
            let error = refused(status, "");
            assert_eq!((error.failure, error.status), (failure, Some(status)));
        }
    }

    #[test]
    fn codes_say_more_than_statuses() {
        for (body, failure) in [
            ("content_filter", Failure::Filtered),
            ("Content_Policy_Violation", Failure::Filtered),
            ("our_policy", Failure::Filtered),
            ("context_length_exceeded", Failure::TooLong),
            ("request_too_large", Failure::TooLong),
            ("other", Failure::Rejected),
        ] {
            assert_eq!(refused(400, body).failure, failure, "{body}");
        }
        assert_eq!(refused(401, "bad key sk-1").message.as_deref(), Some("bad key [secret]"));
    }

    #[test]
    fn what_never_left_says_so() {
        assert!(!judge().transport(upstream::Failure::NoPlace).was_sent());
        assert!(judge().transport(upstream::Failure::Broken).was_sent());
        assert!(judge().transport(upstream::Failure::Unreadable).was_sent());
    }

    #[test]
    fn what_cannot_be_read_is_no_broken_connection() {
        assert_eq!(judge().transport(upstream::Failure::Unreadable).failure, Failure::Protocol);
    }
}

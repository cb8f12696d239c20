//! A provider's failure in a sentence for the client.

use chat::{Clock, Failure, ProviderError, TurnError};

use crate::catalog::Assistant;

/// What the client sees of a failed call.
pub(crate) fn describe(error: &ProviderError, assistant: &Assistant) -> TurnError {
    let provider = &assistant.provider.name;
    let what = match error.failure {
        Failure::Credentials => "does not accept the gateway's credential",
        Failure::Account => "says that the gateway's account there has no credit",
        Failure::NotFound => "does not know what this assistant's `upstream_id` names",
        Failure::Rejected => "refused the request",
        Failure::TooLong => "says that the conversation is too long for it",
        Failure::Filtered => "refuses the content",
        Failure::Busy { .. } => "takes no more requests for now",
        Failure::Unavailable { .. } => "is not available for now",
        Failure::Failed => "failed",
        Failure::TimedOut(Clock::Connect) => "could not be connected to in time",
        Failure::TimedOut(Clock::Headers) => "did not begin to answer in time",
        Failure::TimedOut(Clock::FirstText) => "gave no text in time",
        Failure::TimedOut(Clock::Idle) => "fell silent in mid-answer",
        Failure::TimedOut(Clock::Total) => "did not finish within `total_timeout`",
        Failure::Empty => "answered without text",
        Failure::Protocol => "gave an answer that is not whole or cannot be read",
        Failure::Unreachable => "could not be reached",
        Failure::Broken => "broke the connection",
        Failure::BreakerOpen { .. } => "has failed too often of late and is not asked for now",
        Failure::Unsupported => "has no such operation",
    };
    let mut sentence = format!("the provider `{provider}` {what}");
    if let Some(status) = error.status {
        sentence.push_str(&format!(" (HTTP {status})"));
    }
    if let Some(words) = error.message.as_deref().filter(|words| !words.is_empty()) {
        sentence.push_str(": ");
        sentence.push_str(words);
    }
    let mut told = TurnError::new(error.failure.code(), sentence).at(provider);
    told.retry_after = error.failure.retry_after().map(|wait| wait.as_millis().div_ceil(1000).max(1) as u64);
    told
}

/// Which of two failures a client should hear of when no assistant is left: that of a call that was made rather than that of one
/// that was not, and of equals the later one.
pub(crate) fn worse(known: Option<(TurnError, bool)>, later: TurnError, was_sent: bool) -> (TurnError, bool) {
    match known {
        Some((known, true)) if !was_sent => (known, true),
        _ => (later, was_sent),
    }
}

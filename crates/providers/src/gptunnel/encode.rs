//! A request into a call of GPTunnel.
//!
//! GPTunnel takes one message, links to images and the number of messages to remember. It remembers by `chatId`, so that history
//! is told (quoted in the message) only where its memory lacks it, and instructions likewise: the gateway knows when.

use chat::{Failure, ProviderError, Request};
use http::{HeaderMap, Method};

use super::{AnswerCall, Config, wire};
use crate::link::{Outgoing, json_body};
use crate::quote::quote;

/// The length of a `chatId`, in characters.
const CHAT_ID_CHARS: std::ops::RangeInclusive<usize> = 24..=36;

/// The call for an answer; headers are added by the caller.
///
/// # Errors
/// Something is asked that GPTunnel does not take: nothing is sent then.
pub(super) fn answer(config: &Config, request: &Request, chat_id: &str) -> Result<AnswerCall, ProviderError> {
    if !CHAT_ID_CHARS.contains(&chat_id.chars().count()) {
        let mut error =
            ProviderError::new(Failure::Rejected).saying("a chatId of GPTunnel has 24 to 36 characters");
        error.unsent = true;
        return Err(error);
    }
    if request.search_filters.is_some() {
        return Err(ProviderError::new(Failure::Unsupported).saying("GPTunnel takes no search filters"));
    }
    let images: Vec<&str> = request.message.images().collect();
    if !images.iter().all(|url| is_link(url) || (config.allow_data_urls && begins(url, "data:"))) {
        return Err(
            ProviderError::new(Failure::Unsupported).saying("GPTunnel takes images as http(s) links alone")
        );
    }
    let quoted = quote(request.system.as_deref(), &request.history, &request.message.text());
    let stream = config.stream_upstream && request.stream;
    let body = json_body(&wire::Request {
        chat_id,
        assistant_code: &request.upstream_id,
        message: &quoted.message,
        max_context: request.context_messages,
        images,
        stream,
        use_wallet_balance: config.use_wallet_balance,
    })?;
    let outgoing = Outgoing {
        method: Method::POST,
        path: "/assistant/chat".to_owned(),
        headers: HeaderMap::new(),
        body,
        headers_clock: stream,
    };
    Ok(AnswerCall { outgoing, emulated: quoted.emulated })
}

fn is_link(url: &str) -> bool {
    begins(url, "https://") || begins(url, "http://")
}

fn begins(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

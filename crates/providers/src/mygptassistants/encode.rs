//! Requests, in the provider's words: pure.

use bytes::Bytes;
use chat::{Piece, ProviderError, Request, Timestamp};
use http::{HeaderMap, Method, header};

use super::{Config, FirstTurn, wire};
use crate::credential::Credential;
use crate::link::{Outgoing, json_body};
use crate::quote::quote;

/// A question, and the pieces that its answer begins with.
///
/// # Errors
/// Never, for what is asked here.
pub(super) fn question(config: &Config, request: &Request) -> Result<(Outgoing, Vec<Piece>), ProviderError> {
    let thread = request.thread.as_ref().map(|thread| thread.id.as_str());
    let streamed = request.stream && (thread.is_some() || config.first_turn == FirstTurn::Stream);
    let quoted = quote(request.system.as_deref(), &request.history, &request.message.text());
    let question =
        wire::Question { message: &quoted.message, conversation_id: thread, metadata: &request.metadata };
    let template = if streamed { &config.stream_path } else { &config.message_path };
    let outgoing = Outgoing {
        method: Method::POST,
        path: template.path(&request.upstream_id, ""),
        headers: headers(&config.api_key),
        body: json_body(&question)?,
        headers_clock: streamed,
    };
    Ok((outgoing, quoted.emulated.into_iter().map(Piece::Emulated).collect()))
}

/// One conversation with its messages.
pub(super) fn conversation(config: &Config, bot: &str, conversation: &str) -> Outgoing {
    get(config, config.conversation_path.path(bot, conversation))
}

/// A page of the conversations.
pub(super) fn conversations(
    config: &Config,
    bot: &str,
    since: Option<Timestamp>,
    page: u32,
    limit: u32,
) -> Outgoing {
    let mut path = config.conversations_path.path(bot, "");
    path.push_str(&format!("?page={page}&limit={}", limit.clamp(1, LIMIT_MAX)));
    if let Some(since) = since {
        path.push_str("&since=");
        path.push_str(&crate::link::segment(&since.to_string()));
    }
    get(config, path)
}

/// How many conversations a page may have, says the provider.
const LIMIT_MAX: u32 = 100;

fn get(config: &Config, path: String) -> Outgoing {
    Outgoing {
        method: Method::GET,
        path,
        headers: headers(&config.api_key),
        body: Bytes::new(),
        headers_clock: true,
    }
}

fn headers(key: &Credential) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, key.header(Some("Bearer")));
    headers
}

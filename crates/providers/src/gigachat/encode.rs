//! Requests, in the provider's words: pure.

use bytes::Bytes;
use chat::{Injection, Piece, ProviderError, Request, UserId};
use http::{HeaderMap, Method, header};

use super::wire;
use crate::credential::Credential;
use crate::link::{Outgoing, json_body, segment};
use crate::quote::quote;

/// A question in this conversation, and the pieces that its answer begins with.
///
/// # Errors
/// Never, for what is asked here.
pub(super) fn question(
    key: &Credential,
    request: &Request,
    conversation: &str,
) -> Result<(Outgoing, Vec<Piece>), ProviderError> {
    let quoted = quote(request.system.as_deref(), &request.history, &request.message.text());
    let user = user(request.user.as_ref(), conversation);
    let outgoing = post(key, &request.upstream_id, conversation, &user, &quoted.message)?;
    Ok((outgoing, quoted.emulated.into_iter().map(Piece::Emulated).collect()))
}

/// A message of a member of staff: it is put in, and nothing answers it.
///
/// # Errors
/// Never, for what is put in here.
pub(super) fn injection(key: &Credential, injection: &Injection) -> Result<Outgoing, ProviderError> {
    let author: String = injection.author.chars().filter(|c| !c.is_control()).collect();
    let author = if author.trim().is_empty() { "operator" } else { author.trim() };
    let user = format!("client:{author}");
    post(key, &injection.upstream_id, &injection.thread.id, &user, &injection.text)
}

/// The list of bots: answers to any valid key, and costs nothing.
///
/// Source: gigachat.ai/documentation/rest-api/chatbots (documented).
pub(super) fn bots(key: &Credential) -> Outgoing {
    Outgoing {
        method: Method::GET,
        path: "/chatbots".to_owned(),
        headers: headers(key),
        body: Bytes::new(),
        headers_clock: false,
    }
}

/// An end user as the provider is told.
///
/// `client:…` would make the message a member of staff's, and end users choose their ids: so every id begins with what we say.
fn user(user: Option<&UserId>, conversation: &str) -> String {
    match user {
        Some(user) => format!("user:{user}"),
        // Nobody was named: one person per conversation, as far as the provider knows.
        None => format!("anonymous:{conversation}"),
    }
}

fn post(
    key: &Credential,
    bot: &str,
    conversation: &str,
    user: &str,
    prompt: &str,
) -> Result<Outgoing, ProviderError> {
    let question = wire::Question { conversation_id: conversation, user_id: user, prompt };
    Ok(Outgoing {
        method: Method::POST,
        path: format!("/chatbots/{}/conversations", segment(bot)),
        headers: headers(key),
        body: json_body(&question)?,
        // Whether an answer is streamed is the bot's setting, not the call's: one that is not answers when it is done.
        headers_clock: false,
    })
}

fn headers(key: &Credential) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, key.header(Some("Bearer")))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_passes_for_staff() {
        for name in ["client:evil", " Client:evil", "CLIENT:x", "\u{a0}client:x", "user", "mail@example.com"]
        {
            let id = user(Some(&name.parse().unwrap()), "c");
            assert!(!id.trim_start().to_lowercase().starts_with("client:"), "{id}");
            assert!(id.ends_with(name));
        }
        assert_eq!(user(None, "c1"), "anonymous:c1");
    }

    #[test]
    fn no_call_is_held_to_the_headers_clock() {
        let key = Credential::parse("k").unwrap();
        assert!(!post(&key, "b", "c", "user:u", "Hi").unwrap().headers_clock);
        assert!(!bots(&key).headers_clock);
    }
}

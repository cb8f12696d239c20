//! Requests, in the provider's words: pure.

use chat::{Failure, HistoryMessage, ProviderError, Request, Role, UserId};
use http::{HeaderMap, HeaderValue, Method, header};

use super::{Account, Config, HistoryMode, wire};
use crate::link::{Outgoing, json_body};
use crate::quote;

/// The header that names whom a key acts for: an e-mail address, or Unleash's id of the account.
///
/// Source: help.unleash.so/apidocs/authentication (documented).
const ACCOUNT: &str = "unleash-account";

/// A question.
///
/// # Errors
/// It is to be asked in the name of the turn's user, and there is none that can be named.
pub(super) fn question(config: &Config, request: &Request) -> Result<Outgoing, ProviderError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, config.api_key.header(Some("Bearer")));
    if let Some(account) = account(config.account.as_ref(), request.user.as_ref())? {
        headers.insert(ACCOUNT, account);
    }
    let filters = request.search_filters.as_deref();
    // In a replay the thread is left out: were the server to put it before what is replayed, all would be there twice.
    let thread = request.thread.as_ref().filter(|_| config.history_mode == HistoryMode::Thread);
    let question = wire::Question {
        messages: messages(request),
        assistant_id: Some(request.upstream_id.trim()).filter(|id| !id.is_empty() && *id != "default"),
        enterprise_search: filters.map(|filters| wire::EnterpriseSearch { filters }),
        stream: request.stream,
        thread_id: thread.map(|thread| thread.id.as_str()),
    };
    Ok(Outgoing {
        method: Method::POST,
        path: "/chats".to_owned(),
        headers,
        body: json_body(&question)?,
        headers_clock: request.stream,
    })
}

/// In whose name is asked.
fn account(account: Option<&Account>, user: Option<&UserId>) -> Result<Option<HeaderValue>, ProviderError> {
    let name = match account {
        None => return Ok(None),
        Some(Account::Fixed(name)) => name.as_str(),
        Some(Account::User) => {
            user.ok_or_else(|| refused("this assistant is asked in the name of the turn's `user`"))?.as_str()
        }
    };
    // Blanks around it would be lost in the header: it would be another name than the one that was allowed.
    let mut value = Some(name)
        .filter(|name| name.trim() == *name)
        .and_then(|name| HeaderValue::from_bytes(name.as_bytes()).ok())
        .ok_or_else(|| refused("this `user` cannot be named in a header"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A refusal of the gateway's own, before anything is sent.
fn refused(message: &str) -> ProviderError {
    let mut error = ProviderError::new(Failure::Rejected).saying(message);
    error.unsent = true;
    error
}

fn messages(request: &Request) -> Vec<wire::Message> {
    let system = request.system.as_deref().filter(|system| !system.trim().is_empty());
    let system = system.map(|system| wire::Message { text: system.to_owned(), role: wire::Role::System });
    let history = request.history.iter().filter(|earlier| !earlier.content.is_empty()).map(message);
    let last = wire::Message { text: request.message.text().into_owned(), role: wire::Role::User };
    system.into_iter().chain(history).chain([last]).collect()
}

fn message(earlier: &HistoryMessage) -> wire::Message {
    let said = quote::said(earlier);
    let text = said.trim_end_matches('\n');
    match earlier.role {
        Role::User => wire::Message { text: text.to_owned(), role: wire::Role::User },
        Role::Assistant => wire::Message { text: text.to_owned(), role: wire::Role::Assistant },
        Role::System => wire::Message { text: text.to_owned(), role: wire::Role::System },
        // Unleash knows no operators: they are on the assistant's side, and their names tell them apart.
        Role::Operator => {
            let name: String =
                earlier.author.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
            wire::Message { text: format!("{}: {text}", name.trim()), role: wire::Role::Assistant }
        }
    }
}

/// How much of an operator's name is told.
const NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_sent_as_they_are_or_not_at_all() {
        let user = |name: &str| name.parse::<UserId>().unwrap();
        let fixed = Account::Fixed("bot@example.com".into());
        assert_eq!(account(None, Some(&user("u"))).unwrap(), None);
        assert_eq!(account(Some(&fixed), Some(&user("u"))).unwrap().unwrap(), "bot@example.com");
        assert_eq!(account(Some(&Account::User), Some(&user("u@x"))).unwrap().unwrap(), "u@x");
        assert!(account(Some(&Account::User), Some(&user("ü@x"))).unwrap().unwrap().is_sensitive());
        for wrong in [None, Some(user(" boss@x")), Some(user("boss@x "))] {
            let error = account(Some(&Account::User), wrong.as_ref()).unwrap_err();
            assert_eq!(error.failure, Failure::Rejected);
            assert!(!error.was_sent());
        }
    }
}

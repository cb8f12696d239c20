//! Unleash (help.unleash.so/apidocs): search over a company's applications with an assistant on top; its answers cite what they rest
//! on. The only one of the providers that takes earlier messages and instructions as such.
//!
//! | matter | is |
//! |---|---|
//! | `POST /chats`, its request, its answer, refusals after RFC 9457 | documented |
//! | the streams, the members of parts and resources, `Missing impersonation header` | the provider's own code |
//! | that a history may be replayed in `messages` | the provider's own example |
//! | what the server does with `threadId` | not documented: `history_mode = "thread"` relies on it, `replay` does not |
//! | what `indices` count, whether pieces add up, what comes last in a stream | not documented; see `transcript` and `decode` |

mod decode;
mod encode;
mod failure;
mod transcript;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use chat::{Capabilities, Memory, Offer, PieceStream, Provider, ProviderError, ProviderStatus, Request};
use http::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use upstream::{Repeat, Upstream};

use self::decode::{Decode, Threads};
use self::transcript::Transcript;
use crate::blotter::Blotter;
use crate::credential::Credential;
use crate::failure::{Judge, RefusalCodes};
use crate::link::Link;
use crate::text_mode::TextMode;
use crate::{BuildError, Context, Kind, section};

/// This kind's row.
pub(crate) const KIND: Kind = Kind {
    name: "unleash",
    default_base_url: "https://e-api.unleash.so",
    settings: || schemars::schema_for!(Config),
    build,
};

/// Unleash's own settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The API token. A `Bearer ` or `Bearer: ` that it was pasted with is taken off.
    #[schemars(with = "String", extend("writeOnly" = true))]
    api_key: Credential,
    /// Whom a key acts for that may act for others (`unleash-account`): an e-mail address or Unleash's id of an account, or `user`:
    /// the turn's own `user`, which only keys with `may = ["act_as_user"]` may name. Left out for keys that act for their maker.
    #[serde(default)]
    account: Option<Account>,
    /// How Unleash comes by what was said before: `replay` sends it with every turn; `thread` sends what is new with Unleash's
    /// own `threadId`, what it does with which is not documented.
    #[serde(default)]
    history_mode: HistoryMode,
    /// What the first of `references` is counted as in a text: 0 or 1. Not documented.
    #[serde(default)]
    #[schemars(range(max = 1))]
    first_index: u8,
    /// Whether pieces of a stream add up or repeat what was said: `auto`, `delta`, `cumulative`.
    #[serde(default)]
    text_mode: TextMode,
    /// Further error codes that refuse the content itself: no fallback is asked then.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    refusal_codes: RefusalCodes,
}

/// Whom a key acts for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
enum Account {
    /// The turn's user.
    User,
    /// Always the same.
    Fixed(String),
}

impl TryFrom<String> for Account {
    type Error = &'static str;

    fn try_from(account: String) -> Result<Self, Self::Error> {
        match account.trim() {
            "" => Err("must not be empty: leave it out for a key that acts for its maker"),
            "user" => Ok(Self::User),
            name if http::HeaderValue::from_bytes(name.as_bytes()).is_ok() => {
                Ok(Self::Fixed(name.to_owned()))
            }
            _ => Err("has characters that no header takes"),
        }
    }
}

/// How Unleash comes by what was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum HistoryMode {
    /// It is told with every turn.
    #[default]
    Replay,
    /// It keeps a thread.
    Thread,
}

#[derive(Debug)]
struct Unleash {
    config: Config,
    link: Link,
}

fn build(
    section: toml::Table,
    upstream: Upstream,
    context: Context,
) -> Result<Arc<dyn Provider>, BuildError> {
    let mut config: Config = section::read(section)?;
    if config.first_index > 1 {
        return Err(BuildError::at("first_index", "must be 0 or 1"));
    }
    let blotter = Blotter::new(&context.secrets, Some(config.api_key.secret()));
    let judge = Judge::new(blotter, std::mem::take(&mut config.refusal_codes), failure::read);
    // The first as the provider spells it; the second was seen in its users' code.
    let request_ids = &["requestid", "x-request-id"];
    let link = Link::new(upstream, &context, judge, Some(failure::classify), request_ids);
    Ok(Arc::new(Unleash { config, link }))
}

#[async_trait]
impl Provider for Unleash {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            stream: Offer::Native,
            history: Offer::Native,
            system: Offer::Native,
            images: Offer::Unsupported,
            search_filters: Offer::Native,
            citations: Offer::Native,
            usage: Offer::Unsupported,
            inject: Offer::Unsupported,
            upstream_history: Offer::Unsupported,
        }
    }

    fn memory(&self) -> Memory {
        match self.config.history_mode {
            HistoryMode::Replay => Memory::Replay,
            HistoryMode::Thread => Memory::Thread { windowed: false },
        }
    }

    fn acts_as_user(&self) -> bool {
        self.config.account == Some(Account::User)
    }

    fn closed_for(&self) -> Option<std::time::Duration> {
        self.link.closed_for()
    }

    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError> {
        let outgoing = encode::question(&self.config, &request)?;
        // A replay leaves nothing behind that another call would meet; a thread does.
        let is_replay = self.config.history_mode == HistoryMode::Replay || request.thread.is_none();
        let repeat = if is_replay { Repeat::Always } else { Repeat::Harmless };
        let threads = match self.config.history_mode {
            HistoryMode::Replay => Threads::Named,
            HistoryMode::Thread => Threads::Kept,
        };
        let (judge, text_mode) = (self.link.judge().clone(), self.config.text_mode);
        let first_index = u64::from(self.config.first_index);
        let decoder = move |_: &HeaderMap| -> Box<dyn crate::decoder::Decoder> {
            Box::new(Decode::new(judge.clone(), Transcript::new(text_mode, first_index), threads))
        };
        self.link.answer(&request, outgoing, repeat, Vec::new(), decoder).await
    }

    fn status(&self) -> ProviderStatus {
        self.link.status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read() {
        let read = |text: &str| section::read::<Config>(format!("api_key = 'k'\n{text}").parse().unwrap());
        assert_eq!(read("").unwrap().account, None);
        assert_eq!(read("account = 'user'").unwrap().account, Some(Account::User));
        let fixed = Some(Account::Fixed("a@example.com".into()));
        assert_eq!(read("account = ' a@example.com '").unwrap().account, fixed);
        for wrong in ["account = ' '", "account = \"a\\nb\""] {
            let error = read(wrong).unwrap_err();
            assert_eq!(error.key.as_deref(), Some("account"), "{error:?}");
        }
    }
}

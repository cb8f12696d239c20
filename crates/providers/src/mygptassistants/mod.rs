//! MyGPTAssistants (docs.mygptassistants.com): keeps conversations under ids of its own, takes one message a call, streams at an
//! address of its own, and lets its history be read.
//!
//! | matter | is |
//! |---|---|
//! | `POST /chat/{botId}/message`, its answer, both reading calls, the first shape of errors | documented |
//! | what `/stream` sends; that it takes `conversationId` and `metadata` | not documented; read as `decode` says |
//! | that these paths are still there | contradicted by newer pages: hence the path settings |
//! | whether `metadata` of later calls is merged | unknown; it is passed on with every turn that has some |
//! | history, instructions | not taken: quoted in the message |

mod decode;
mod encode;
mod failure;
mod paths;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use chat::{
    Capabilities, Failure, Memory, Offer, PieceStream, Provider, ProviderError, ProviderStatus, Request,
    Timestamp, UpstreamMessage, UpstreamPage,
};
use http::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use upstream::{Repeat, Upstream};

use self::paths::Template;
use crate::blotter::Blotter;
use crate::credential::Credential;
use crate::failure::{Judge, RefusalCodes};
use crate::link::Link;
use crate::text_mode::TextMode;
use crate::{BuildError, Context, Kind, section};

/// This kind's row.
pub(crate) const KIND: Kind = Kind {
    name: "mygptassistants",
    default_base_url: "https://api.mygptassistants.com/api/v1",
    settings: || schemars::schema_for!(Config),
    build,
};

/// MyGPTAssistants' own settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The key of Settings → API Keys, with the permission `write`.
    #[schemars(with = "String", extend("writeOnly" = true))]
    api_key: Credential,
    /// Where messages are sent. The placeholders are `{botId}` and, for one conversation, `{conversationId}`.
    #[serde(default = "paths::message")]
    message_path: Template,
    /// Where messages are sent whose answer is to be streamed.
    #[serde(default = "paths::stream")]
    stream_path: Template,
    /// Where conversations are listed.
    #[serde(default = "paths::conversations")]
    conversations_path: Template,
    /// Where one conversation is read.
    #[serde(default = "paths::conversation")]
    conversation_path: Template,
    /// How a conversation's first answer is asked for: `stream`, or `message` in one piece, should streams not tell the new
    /// conversation's id.
    #[serde(default)]
    first_turn: FirstTurn,
    /// Whether pieces of a stream add up or repeat what was said: `auto`, `delta`, `cumulative`.
    #[serde(default)]
    text_mode: TextMode,
    /// Further error codes that refuse the content itself: no fallback is asked then.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    refusal_codes: RefusalCodes,
}

/// How a conversation's first answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum FirstTurn {
    /// As all others.
    #[default]
    Stream,
    /// In one piece, whose shape is documented to hold the conversation's id.
    Message,
}

#[derive(Debug)]
struct MyGptAssistants {
    config: Config,
    link: Link,
}

fn build(
    section: toml::Table,
    upstream: Upstream,
    context: Context,
) -> Result<Arc<dyn Provider>, BuildError> {
    let mut config: Config = section::read(section)?;
    if !config.conversation_path.names_conversation() {
        return Err(BuildError::at("conversation_path", "must hold `{conversationId}`"));
    }
    let blotter = Blotter::new(&context.secrets, Some(config.api_key.secret()));
    let judge = Judge::new(blotter, std::mem::take(&mut config.refusal_codes), failure::read);
    let link = Link::new(upstream, &context, judge, Some(failure::classify), &["x-request-id"]);
    Ok(Arc::new(MyGptAssistants { config, link }))
}

#[async_trait]
impl Provider for MyGptAssistants {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            stream: Offer::Native,
            history: Offer::Native,
            system: Offer::Emulated,
            images: Offer::Unsupported,
            search_filters: Offer::Unsupported,
            citations: Offer::Unsupported,
            usage: Offer::Unsupported,
            inject: Offer::Unsupported,
            upstream_history: Offer::Native,
        }
    }

    fn memory(&self) -> Memory {
        Memory::Thread { windowed: false }
    }

    fn closed_for(&self) -> Option<std::time::Duration> {
        self.link.closed_for()
    }

    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError> {
        let (outgoing, first) = encode::question(&self.config, &request)?;
        let (judge, mode) = (self.link.judge().clone(), self.config.text_mode);
        let decoder = move |_: &HeaderMap| -> Box<dyn crate::decoder::Decoder> {
            Box::new(decode::Decode::new(judge.clone(), mode))
        };
        self.link.answer(&request, outgoing, Repeat::Harmless, first, decoder).await.map_err(hint)
    }

    async fn history(
        &self,
        upstream_id: &str,
        conversation: &str,
    ) -> Result<Vec<UpstreamMessage>, ProviderError> {
        let outgoing = encode::conversation(&self.config, upstream_id, conversation);
        let body = self.link.ask(outgoing, Repeat::Always).await.map_err(hint)?;
        decode::history(self.link.judge(), &body).map_err(|error| self.link.failed(error))
    }

    async fn conversations(
        &self,
        upstream_id: &str,
        since: Option<Timestamp>,
        page: u32,
        limit: u32,
    ) -> Result<UpstreamPage, ProviderError> {
        let outgoing = encode::conversations(&self.config, upstream_id, since, page, limit);
        let body = self.link.ask(outgoing, Repeat::Always).await.map_err(hint)?;
        decode::conversations(self.link.judge(), &body, page, limit).map_err(|error| self.link.failed(error))
    }

    fn status(&self) -> ProviderStatus {
        self.link.status()
    }
}

/// A 404 without one of the provider's codes is no unknown bot or conversation but an unknown path: the operator has to know.
fn hint(mut error: ProviderError) -> ProviderError {
    let coded = error.message.as_deref().is_some_and(failure::has_code);
    if error.failure == Failure::NotFound && error.status == Some(404) && !coded {
        let said = error.message.take().map_or_else(String::new, |message| format!(" ({message})"));
        error.message = Some(format!(
            "the provider has nothing at this address{said}: check `base_url` and the path settings"
        ));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_at_fault_are_named() {
        let read = |text: &str| section::read::<Config>(text.parse().unwrap());
        assert!(read("api_key = 'k'\nmessage_path = '/bot/{botId}'").is_ok());
        let error = read("api_key = 'k'\nstream_path = '/bot/{id}'").unwrap_err();
        assert_eq!(error.key.as_deref(), Some("stream_path"), "{error:?}");
    }
}

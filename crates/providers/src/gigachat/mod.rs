//! gigachat.ai (gigachat.ai/documentation; not Sber's GigaChat): bots over documents; keeps conversations under ids that its clients
//! make, takes one message a call, and lets members of staff put messages in.
//!
//! | matter | is |
//! |---|---|
//! | `POST /chatbots/{id}/conversations`, its request, `client:` ids, `GET /chatbots` | documented |
//! | the answer | not known: the page's sample contradicts its text; see `extract` |
//! | streams | a setting of the bot (documented), their form not known; see `decode` |
//! | how much of a conversation a bot remembers | the bot's `memory_size`, what it means is not documented |
//! | errors, limits | not known |
//! | history, instructions | not taken: quoted in the message |

mod decode;
mod encode;
mod extract;
mod failure;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use chat::{
    Capabilities, Injection, Memory, Offer, Piece, PieceStream, Probe, Provider, ProviderError,
    ProviderStatus, Request, UpstreamIds,
};
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use upstream::{Repeat, Upstream};
use uuid::Uuid;

use self::decode::Decode;
use self::extract::AnswerPath;
use crate::blotter::Blotter;
use crate::credential::Credential;
use crate::failure::{Judge, RefusalCodes};
use crate::link::Link;
use crate::text_mode::TextMode;
use crate::{BuildError, Context, Kind, section};

/// This kind's row.
pub(crate) const KIND: Kind = Kind {
    name: "gigachat",
    default_base_url: "https://api.gigachat.ai",
    settings: || schemars::schema_for!(Config),
    build,
};

/// gigachat.ai's own settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The API key.
    #[schemars(with = "String", extend("writeOnly" = true))]
    api_key: Credential,
    /// Where in its JSON the answer is, as a JSON pointer: `/data/answer`; `-` is a list's last item. The documents do not say
    /// where; left out, the usual places are looked at.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    answer_path: Option<AnswerPath>,
    /// Whether pieces of a stream add up or repeat what was said: `auto`, `delta`, `cumulative`.
    #[serde(default)]
    text_mode: TextMode,
    /// Further error codes that refuse the content itself: no fallback is asked then.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    refusal_codes: RefusalCodes,
}

#[derive(Debug)]
struct Gigachat {
    config: Config,
    link: Link,
}

fn build(
    section: toml::Table,
    upstream: Upstream,
    context: Context,
) -> Result<Arc<dyn Provider>, BuildError> {
    let mut config: Config = section::read(section)?;
    let blotter = Blotter::new(&context.secrets, Some(config.api_key.secret()));
    let judge = Judge::new(blotter, std::mem::take(&mut config.refusal_codes), failure::read);
    let link = Link::new(upstream, &context, judge, Some(failure::classify), &["x-request-id"]);
    Ok(Arc::new(Gigachat { config, link }))
}

#[async_trait]
impl Provider for Gigachat {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Whether a bot streams is its own setting: what is certain is that the gateway can do it in its place.
            stream: Offer::Emulated,
            history: Offer::Native,
            system: Offer::Emulated,
            images: Offer::Unsupported,
            search_filters: Offer::Unsupported,
            citations: Offer::Unsupported,
            usage: Offer::Unsupported,
            inject: Offer::Native,
            upstream_history: Offer::Unsupported,
        }
    }

    fn memory(&self) -> Memory {
        Memory::Thread { windowed: false }
    }

    /// "Client defined unique identifier", "e.g. UUID".
    fn new_thread(&self) -> Option<String> {
        Some(Uuid::new_v4().to_string())
    }

    fn closed_for(&self) -> Option<std::time::Duration> {
        self.link.closed_for()
    }

    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError> {
        let thread = request.thread.as_ref().map(|thread| thread.id.clone());
        let conversation = thread.unwrap_or_else(|| Uuid::new_v4().to_string());
        let (outgoing, mut first) = encode::question(&self.config.api_key, &request, &conversation)?;
        first.push(Piece::Upstream(UpstreamIds {
            conversation_id: Some(conversation),
            ..UpstreamIds::default()
        }));
        let (judge, text_mode) = (self.link.judge().clone(), self.config.text_mode);
        let path = self.config.answer_path.clone();
        let decoder = move |_: &HeaderMap| -> Box<dyn crate::decoder::Decoder> {
            Box::new(Decode::new(judge.clone(), path.clone(), text_mode))
        };
        self.link.answer(&request, outgoing, Repeat::Harmless, first, decoder).await.map_err(hint)
    }

    async fn inject(&self, injection: Injection) -> Result<(), ProviderError> {
        let outgoing = encode::injection(&self.config.api_key, &injection)?;
        let body = self.link.ask(outgoing, Repeat::Harmless).await.map_err(hint)?;
        decode::injected(self.link.judge(), &body).map_err(|error| self.link.failed(error))
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        let body = self.link.ask(encode::bots(&self.config.api_key), Repeat::Always).await.map_err(hint)?;
        decode::bots(self.link.judge(), &body).map_err(|error| self.link.failed(error))?;
        Ok(Probe::Works)
    }

    fn status(&self) -> ProviderStatus {
        self.link.status()
    }
}

/// Bots can be bound to host names and addresses: a 403 may mean that the gateway's is none of them.
fn hint(mut error: ProviderError) -> ProviderError {
    if error.status == Some(403) {
        let said = error.message.take().unwrap_or_else(|| "refused".to_owned());
        error.message =
            Some(format!("{said} (the bot's `restrictions` may not allow this gateway's address or origin)"));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_none_is_named() {
        let read = |text: &str| section::read::<Config>(format!("api_key = 'k'\n{text}").parse().unwrap());
        assert!(read("answer_path = '/a/0'").is_ok());
        let error = read("answer_path = 'a.b'").unwrap_err();
        assert_eq!(error.key.as_deref(), Some("answer_path"), "{error:?}");
    }
}

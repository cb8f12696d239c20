//! GPTunnel's assistants: `POST https://gptunnel.ru/v1/assistant/chat`.
//!
//! Source: docs.gptunnel.ru/assistant/chat, as of 2025; what it leaves open is handled as `decode` and `encode` say.

mod decode;
mod encode;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use chat::{
    Capabilities, Emulated, Failure, Memory, Offer, Piece, PieceStream, Probe, Provider, ProviderError,
    ProviderStatus, Request, UpstreamIds,
};
use http::{HeaderMap, Method, header};
use schemars::JsonSchema;
use serde::Deserialize;
use upstream::{Repeat, Upstream};
use uuid::Uuid;

use crate::blotter::Blotter;
use crate::credential::Credential;
use crate::failure::{Judge, RefusalCodes};
use crate::link::{Link, Outgoing};
use crate::text_mode::TextMode;
use crate::{BuildError, Context, Kind, section};

/// This kind's row.
pub(crate) const KIND: Kind = Kind {
    name: "gptunnel",
    default_base_url: "https://gptunnel.ru/v1",
    settings: || schemars::schema_for!(Config),
    build: |section, upstream, context| {
        Ok(Arc::new(Gptunnel::open(section::read(section)?, upstream, &context)?))
    },
};

/// GPTunnel's own settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The API key. A `Bearer ` that it was pasted with is taken off.
    #[schemars(with = "String", extend("writeOnly" = true))]
    api_key: Credential,
    /// How the key is sent: `raw` (the key alone, as documented) or `bearer`.
    #[serde(default)]
    auth_scheme: AuthScheme,
    /// Ask GPTunnel for a stream when the client reads one. The provider calls this experimental and does not document its form.
    /// Without it an answer comes in one piece, and is streamed as one.
    #[serde(default)]
    stream_upstream: bool,
    /// Pay from the personal account (`useWalletBalance`). Not sent when left out.
    #[serde(default)]
    use_wallet_balance: Option<bool>,
    /// Pass `data:` URLs on as images. The documentation speaks of links alone.
    #[serde(default)]
    allow_data_urls: bool,
    /// Whether the pieces of a stream add up (`delta`) or repeat what was said (`cumulative`); `auto` finds out.
    #[serde(default)]
    text_mode: TextMode,
    /// Further error codes that mean that the content itself is refused: no fallback is asked then.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    refusal_codes: RefusalCodes,
}

/// How the key stands in the `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum AuthScheme {
    #[default]
    Raw,
    Bearer,
}

#[derive(Debug)]
struct Gptunnel {
    link: Link,
    config: Config,
}

impl Gptunnel {
    fn open(mut config: Config, upstream: Upstream, context: &Context) -> Result<Self, BuildError> {
        let blotter = Blotter::new(&context.secrets, Some(config.api_key.secret()));
        let judge = Judge::new(blotter, std::mem::take(&mut config.refusal_codes), decode::words);
        let link = Link::new(upstream, context, judge, Some(decode::classify), &["x-request-id"]);
        Ok(Self { link, config })
    }

    fn headers(&self) -> HeaderMap {
        let scheme = match self.config.auth_scheme {
            AuthScheme::Raw => None,
            AuthScheme::Bearer => Some("Bearer"),
        };
        HeaderMap::from_iter([(header::AUTHORIZATION, self.config.api_key.header(scheme))])
    }
}

#[async_trait]
impl Provider for Gptunnel {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            stream: if self.config.stream_upstream { Offer::Native } else { Offer::Emulated },
            history: Offer::Native,
            system: Offer::Emulated,
            images: Offer::Native,
            search_filters: Offer::Unsupported,
            citations: Offer::Unsupported,
            usage: Offer::Native,
            inject: Offer::Unsupported,
            upstream_history: Offer::Unsupported,
        }
    }

    fn memory(&self) -> Memory {
        Memory::Thread { windowed: true }
    }

    fn takes_data_urls(&self) -> bool {
        self.config.allow_data_urls
    }

    /// 36 characters, of which GPTunnel takes 24 to 36; the form of its own sample.
    fn new_thread(&self) -> Option<String> {
        Some(Uuid::new_v4().to_string())
    }

    fn closed_for(&self) -> Option<std::time::Duration> {
        self.link.closed_for()
    }

    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError> {
        let chat_id = match &request.thread {
            Some(thread) => thread.id.clone(),
            None => Uuid::new_v4().to_string(),
        };
        let call = encode::answer(&self.config, &request, &chat_id)?;
        let mut first: Vec<Piece> = call.emulated.into_iter().map(Piece::Emulated).collect();
        first.push(Piece::Upstream(UpstreamIds { conversation_id: Some(chat_id), ..UpstreamIds::default() }));
        let outgoing = Outgoing { headers: self.headers(), ..call.outgoing };
        let (judge, text_mode) = (self.link.judge().clone(), self.config.text_mode);
        let decoder = move |_: &HeaderMap| -> Box<dyn crate::decoder::Decoder> {
            Box::new(decode::Answer::new(judge.clone(), text_mode))
        };
        // Each call is billed and remembered.
        self.link.answer(&request, outgoing, Repeat::Harmless, first, decoder).await
    }

    /// The list of models asks for a key and costs nothing.
    async fn probe(&self) -> Result<Probe, ProviderError> {
        let outgoing = Outgoing {
            method: Method::GET,
            path: "/models".to_owned(),
            headers: self.headers(),
            body: bytes::Bytes::new(),
            headers_clock: true,
        };
        match self.link.ask(outgoing, Repeat::Always).await {
            Ok(body) => decode::refused(self.link.judge(), &body).map_or(Ok(Probe::Works), Err),
            Err(error) if error.failure == Failure::NotFound => Ok(Probe::NotOffered),
            Err(error) => Err(error),
        }
    }

    fn status(&self) -> ProviderStatus {
        self.link.status()
    }
}

/// A call for an answer, and what was done in the provider's place to make it.
#[derive(Debug)]
struct AnswerCall {
    outgoing: Outgoing,
    emulated: Vec<Emulated>,
}

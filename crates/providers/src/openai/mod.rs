//! Any server that speaks OpenAI's `POST /chat/completions`.
//!
//! Source: platform.openai.com/docs/api-reference/chat, as of 2025; vLLM's, Ollama's and OpenRouter's deviations where they are known.

mod decode;
mod encode;
mod pattern;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use chat::{
    Capabilities, Failure, Memory, Offer, PieceStream, Probe, Provider, ProviderError, ProviderStatus,
    Request,
};
use http::{HeaderMap, Method, header};
use schemars::JsonSchema;
use serde::Deserialize;
use upstream::{Repeat, Upstream};

use crate::blotter::Blotter;
use crate::credential::Credential;
use crate::failure::{Judge, RefusalCodes};
use crate::link::{Link, Outgoing};
use crate::text_mode::TextMode;
use crate::{BuildError, Context, Kind, section};

/// This kind's row.
pub(crate) const KIND: Kind = Kind {
    name: "openai",
    default_base_url: "https://api.openai.com/v1",
    settings: || schemars::schema_for!(Config),
    build: |section, upstream, context| {
        Ok(Arc::new(Openai::open(section::read(section)?, upstream, &context)?))
    },
};

/// The settings of a server that speaks OpenAI's dialect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The API key, sent as `Authorization: Bearer …`. Left out: none is sent, as servers of one's own often need none.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("writeOnly" = true))]
    api_key: Option<Credential>,
    /// Whether the models take images.
    #[serde(default = "yes")]
    images: bool,
    /// Ask for token counts at the end of a stream (`stream_options.include_usage`). Turn it off for servers that refuse the field;
    /// streamed turns then report no usage.
    #[serde(default = "yes")]
    stream_usage: bool,
    /// Whether the pieces of a stream add up (`delta`, as OpenAI's do) or repeat what was said (`cumulative`); `auto` finds out.
    #[serde(default = "delta")]
    text_mode: TextMode,
    /// Further error codes that mean that the content itself is refused: no fallback is asked then.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    refusal_codes: RefusalCodes,
}

fn yes() -> bool {
    true
}

fn delta() -> TextMode {
    TextMode::Delta
}

#[derive(Debug)]
struct Openai {
    link: Link,
    config: Config,
    /// Those of each call.
    headers: HeaderMap,
}

impl Openai {
    fn open(mut config: Config, upstream: Upstream, context: &Context) -> Result<Self, BuildError> {
        let blotter = Blotter::new(&context.secrets, config.api_key.as_ref().map(Credential::secret));
        let judge = Judge::new(blotter, std::mem::take(&mut config.refusal_codes), decode::words);
        let link = Link::new(upstream, context, judge, Some(decode::classify), &["x-request-id"]);
        let key = config.api_key.iter();
        let headers = key.map(|key| (header::AUTHORIZATION, key.header(Some("Bearer")))).collect();
        Ok(Self { link, config, headers })
    }
}

#[async_trait]
impl Provider for Openai {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            stream: Offer::Native,
            history: Offer::Native,
            system: Offer::Native,
            images: if self.config.images { Offer::Native } else { Offer::Unsupported },
            search_filters: Offer::Unsupported,
            citations: Offer::Unsupported,
            usage: Offer::Native,
            inject: Offer::Unsupported,
            upstream_history: Offer::Unsupported,
        }
    }

    fn memory(&self) -> Memory {
        Memory::Replay
    }

    fn takes_data_urls(&self) -> bool {
        self.config.images
    }

    fn passes_through(&self) -> bool {
        true
    }

    /// The protocol counts tokens alone.
    fn reports_cost(&self) -> bool {
        false
    }

    fn closed_for(&self) -> Option<std::time::Duration> {
        self.link.closed_for()
    }

    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError> {
        let (outgoing, passed_through) = encode::answer(&self.config, &request)?;
        let outgoing = Outgoing { headers: self.headers.clone(), ..outgoing };
        let (judge, text_mode, stream) = (self.link.judge().clone(), self.config.text_mode, request.stream);
        let decoder = move |_: &HeaderMap| -> Box<dyn crate::decoder::Decoder> {
            Box::new(decode::Answer::new(judge.clone(), text_mode, stream, passed_through))
        };
        // Nothing is remembered there: there is no effect to repeat.
        self.link.answer(&request, outgoing, Repeat::Always, Vec::new(), decoder).await
    }

    /// The list of models costs nothing.
    async fn probe(&self) -> Result<Probe, ProviderError> {
        let outgoing = Outgoing {
            method: Method::GET,
            path: "/models".to_owned(),
            headers: self.headers.clone(),
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

//! What a cassette's provider is asked: `request.json`.

use std::sync::Arc;
use std::time::Duration;

use chat::{
    AttemptObserver, AttemptReport, Content, HistoryMessage, Injection, Part, Piece, Provider, ProviderError,
    Request, Role, Thread, Timestamp,
};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;

/// `request.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    pub(super) settings: toml::Table,
    pub(crate) answer: Option<Answer>,
    inject: Option<Inject>,
    history: Option<HistoryOf>,
    conversations: Option<Conversations>,
    probe: Option<Probe>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    upstream_id: String,
    system: Option<String>,
    #[serde(default)]
    history: Vec<Earlier>,
    message: Words,
    user: Option<String>,
    thread: Option<ThreadOf>,
    #[serde(default)]
    context_messages: u32,
    search_filters: Option<Box<RawValue>>,
    #[serde(default)]
    metadata: chat::Metadata,
    #[serde(default)]
    stream: bool,
    extension: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Earlier {
    role: Role,
    author: Option<String>,
    text: Words,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(untagged)]
enum Words {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct ThreadOf {
    id: String,
    #[serde(default)]
    fresh: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inject {
    upstream_id: String,
    thread: ThreadOf,
    author: String,
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryOf {
    upstream_id: String,
    conversation: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversations {
    upstream_id: String,
    since: Option<String>,
    page: u32,
    limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {}

impl Asked {
    pub(super) async fn ask(&self, provider: &dyn Provider) -> Vec<Result<Piece, ProviderError>> {
        if let Some(answer) = &self.answer {
            return match provider.answer(answer.request()).await {
                Ok(pieces) => pieces.collect().await,
                Err(error) => vec![Err(error)],
            };
        }
        // What is no answer is shown as one text.
        let shown = if let Some(inject) = &self.inject {
            let injection = Injection {
                upstream_id: inject.upstream_id.clone(),
                thread: inject.thread.clone().into(),
                author: inject.author.clone(),
                text: inject.text.clone(),
            };
            provider.inject(injection).await.map(|()| "put in".to_owned())
        } else if let Some(of) = &self.history {
            let messages = provider.history(&of.upstream_id, &of.conversation).await;
            messages.map(|messages| messages.iter().map(|message| format!("{message:?}\n")).collect())
        } else if let Some(of) = &self.conversations {
            let since: Option<Timestamp> = of.since.as_deref().map(|since| since.parse().unwrap());
            provider
                .conversations(&of.upstream_id, since, of.page, of.limit)
                .await
                .map(|page| format!("{page:#?}"))
        } else {
            assert!(self.probe.is_some(), "request.json asks nothing");
            provider.probe().await.map(|probe| format!("{probe:?}"))
        };
        vec![shown.map(Piece::Text)]
    }
}

impl Answer {
    pub(super) fn request(&self) -> Request {
        Request {
            turn_id: "turn_01890a5dac96774bbcceb302099a8057".parse().unwrap(),
            upstream_id: self.upstream_id.clone(),
            system: self.system.clone(),
            history: self.history.iter().map(Earlier::message).collect(),
            message: self.message.clone().into(),
            user: self.user.as_deref().map(|user| user.parse().unwrap()),
            thread: self.thread.clone().map(Into::into),
            context_messages: self.context_messages,
            search_filters: self.search_filters.clone().map(Into::into),
            metadata: self.metadata.clone(),
            stream: self.stream,
            extension: self.extension.as_ref().map(|body| body.get().into()),
            observer: Arc::new(Silent),
            deadline: tokio::time::Instant::now().into_std() + Duration::from_secs(3600),
        }
    }
}

impl Earlier {
    fn message(&self) -> HistoryMessage {
        HistoryMessage {
            role: self.role,
            author: self.author.clone().unwrap_or_else(|| self.role.as_str().to_owned()),
            content: self.text.clone().into(),
        }
    }
}

impl From<Words> for Content {
    fn from(words: Words) -> Self {
        match words {
            Words::Text(text) => Self::text_only(text),
            Words::Parts(parts) => Self { parts },
        }
    }
}

impl From<ThreadOf> for Thread {
    fn from(thread: ThreadOf) -> Self {
        Self { id: thread.id, fresh: thread.fresh }
    }
}

#[derive(Debug)]
struct Silent;

impl AttemptObserver for Silent {
    fn began(&self) {}

    fn failed(&self, _report: AttemptReport) {}
}

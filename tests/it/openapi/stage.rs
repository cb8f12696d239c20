//! The providers that the examples are recorded from: they say the same at every run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat::{
    Capabilities, Cost, Failure, FinishReason, Memory, Offer, Piece, PieceStream, Progress, Provider,
    ProviderError, ProviderStatus, Request, Role, Source, Timestamp, UpstreamConversation, UpstreamIds,
    UpstreamMessage, UpstreamPage, Usage,
};
use engine::{Assistant, Catalog, Clocks, ProviderEntry};
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, Plan};

/// Searches documents, and cites them.
#[derive(Debug)]
struct Library;

/// Keeps conversations of its own.
#[derive(Debug)]
struct Shop;

/// Cannot answer.
#[derive(Debug)]
struct Outage;

fn status() -> ProviderStatus {
    ProviderStatus { breaker: "closed", in_flight: 0, last_error: None, last_error_at: None }
}

fn said(pieces: Vec<Piece>) -> PieceStream {
    Box::pin(stream::iter(pieces.into_iter().map(Ok)))
}

#[async_trait]
impl Provider for Library {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            stream: Offer::Native,
            history: Offer::Native,
            system: Offer::Native,
            images: Offer::Unsupported,
            search_filters: Offer::Native,
            citations: Offer::Native,
            usage: Offer::Native,
            inject: Offer::Unsupported,
            upstream_history: Offer::Unsupported,
        }
    }

    fn memory(&self) -> Memory {
        Memory::Replay
    }

    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError> {
        request.observer.began();
        let source = Source {
            id: "1".to_owned(),
            title: Some("Handbook: time off".to_owned()),
            url: Some("https://docs.example.com/handbook/time-off".to_owned()),
            snippet: Some("Everybody has 30 days a year.".to_owned()),
            kind: Some("page".to_owned()),
            app: Some("confluence".to_owned()),
        };
        let cost = Cost::parse("0.17685", "RUB");
        Ok(said(vec![
            Piece::Progress(Progress::step("web_search")),
            Piece::Model("gpt-4o".to_owned()),
            Piece::Sources(vec![source]),
            Piece::Text("Everybody has ".to_owned()),
            Piece::Text("30 days a year".to_owned()),
            Piece::Citation(vec!["1".to_owned()]),
            Piece::Text(".".to_owned()),
            Piece::Usage(Usage {
                input_tokens: Some(111),
                output_tokens: Some(10),
                total_tokens: Some(121),
                cost,
            }),
            Piece::Upstream(UpstreamIds {
                request_id: Some("9761dd0f".to_owned()),
                ..UpstreamIds::default()
            }),
            Piece::End(Some(FinishReason::Stop)),
        ]))
    }

    fn status(&self) -> ProviderStatus {
        status()
    }
}

#[async_trait]
impl Provider for Shop {
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

    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError> {
        request.observer.began();
        Ok(said(vec![Piece::Text("With pleasure.".to_owned()), Piece::End(None)]))
    }

    async fn history(&self, _: &str, _: &str) -> Result<Vec<UpstreamMessage>, ProviderError> {
        let message = |role, text: &str| UpstreamMessage {
            id: None,
            role,
            author: None,
            text: text.to_owned(),
            created_at: Some(Timestamp::from_millis(1_790_000_000_000)),
        };
        Ok(vec![message(Role::User, "Do you deliver?"), message(Role::Assistant, "Everywhere.")])
    }

    async fn conversations(
        &self,
        _: &str,
        _: Option<Timestamp>,
        _: u32,
        _: u32,
    ) -> Result<UpstreamPage, ProviderError> {
        let at = Some(Timestamp::from_millis(1_790_000_000_000));
        let item = |id: &str, preview: &str| UpstreamConversation {
            id: id.to_owned(),
            preview: Some(preview.to_owned()),
            message_count: Some(2),
            created_at: at,
            updated_at: at,
        };
        let items = vec![item("7f3a", "Do you deliver?"), item("80b1", "Where is my parcel?")];
        Ok(UpstreamPage { items, has_more: false })
    }

    fn status(&self) -> ProviderStatus {
        status()
    }
}

#[async_trait]
impl Provider for Outage {
    fn capabilities(&self) -> Capabilities {
        Capabilities { usage: Offer::Native, ..Shop.capabilities() }
    }

    fn memory(&self) -> Memory {
        Memory::Replay
    }

    async fn answer(&self, _: Request) -> Result<PieceStream, ProviderError> {
        Err(Failure::Failed.into())
    }

    fn status(&self) -> ProviderStatus {
        status()
    }
}

/// An assistant at each of the three.
pub fn catalog() -> Catalog {
    let entry = |name: &str, kind, provider| {
        let clocks = Clocks {
            first_text: Duration::from_secs(60),
            total: Duration::from_secs(120),
            hedge_after: None,
        };
        Arc::new(ProviderEntry { name: name.parse().unwrap(), kind, provider, clocks })
    };
    let library = entry("library", "unleash", Arc::new(Library) as Arc<dyn Provider>);
    let shop = entry("shop", "mygptassistants", Arc::new(Shop));
    let far = entry("tunnel", "gptunnel", Arc::new(Outage));
    let assistant = |name: &str, description: &str, provider: &Arc<ProviderEntry>| Assistant {
        name: name.parse().unwrap(),
        provider: Arc::clone(provider),
        upstream_id: "one".to_owned(),
        description: description.to_owned(),
        fallback: Vec::new(),
        system: None,
        context_messages: 20,
        meters: engine::Meters::default(),
    };
    let assistants = vec![
        assistant("docs", "Knows the handbook", &library),
        assistant("sales", "Takes orders", &shop),
        assistant("support", "Answers customers", &far),
    ];
    Catalog::new(vec![library, shop, far], assistants).unwrap()
}

/// The simulated providers.
pub struct Simulator {
    url: String,
}

impl Simulator {
    /// A conversation that nobody has adopted.
    pub async fn conversation(&self) -> String {
        let url = format!("{}/mygptassistants/api/v1/chat/bot_sales/message", self.url);
        let request = crate::smoke::program::client().post(url).bearer_auth(simulator::KEY);
        let request =
            request.header("content-type", "application/json").body(r#"{"message":"Do you deliver?"}"#);
        let text = request.send().await.unwrap().text().await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let id = told.pointer("/data/conversationId").and_then(serde_json::Value::as_str);
        id.unwrap_or_else(|| panic!("{text}")).to_owned()
    }
}

/// A gateway with the same assistants, over the simulated providers.
pub async fn simulated() -> (Gateway, Simulator, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    let options = simulator::Options { pace: simulator::Pace::Instant, ..simulator::Options::default() };
    serving.spawn(simulator::serve(listener, options, std::future::pending::<()>()));
    let mut text = "[server]\nopen = true\n".to_owned();
    for (provider, kind, path, assistant, upstream_id) in [
        ("library", "unleash", "/unleash", "docs", "3f2b6c1e-8d4a-4f0b-9a67-2c5d1e7f9b03"),
        ("shop", "mygptassistants", "/mygptassistants/api/v1", "sales", "bot_sales"),
        ("tunnel", "gptunnel", "/gptunnel/v1", "support", "fault-500"),
    ] {
        text.push_str(&format!(
            "[providers.{provider}]\nkind = \"{kind}\"\nbase_url = \"{url}{path}\"\napi_key = \"{}\"\n\
             [assistants.{assistant}]\nprovider = \"{provider}\"\nupstream_id = \"{upstream_id}\"\n",
            simulator::KEY
        ));
    }
    let config = cli::config::Config::parse("t.toml", &text, &NoEnvironment, &[]).unwrap();
    let gateway = Gateway::kept(Plan { catalog: Arc::into_inner(config.catalog), ..Plan::default() }).await;
    (gateway, Simulator { url }, serving)
}

struct NoEnvironment;

impl cli::config::Environment for NoEnvironment {
    fn value(&self, _: &str) -> Option<String> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

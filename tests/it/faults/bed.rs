//! The real engine over real providers whose connections are scripted, for tests with `start_paused`: minutes of an outage pass in a
//! moment.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chat::{ConversationStore, Maintenance, Turn};
use engine::{Ask, Assistant, Catalog, Clocks, Engine, OnDisconnect, ProviderEntry, Refused, Settings};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Response};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::util::service_fn;
use upstream::{Body, BreakerConfig, Client, Config, Failure, RetryConfig, Upstream};

use crate::kit::{ask, caller};

/// What a provider does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Says `ok`, whole.
    Answer,
    /// Answers with this status, and asks to be left alone for so many seconds.
    Refuse(u16, Option<u64>),
    /// There is no connection.
    Unreachable,
    /// The connection breaks before the head.
    Reset,
    /// Nothing comes.
    Hang,
    /// The stream is silent after its head.
    Silent,
    /// The stream breaks after its head, before its text.
    BreakBeforeText,
    /// The stream breaks in the middle of its text.
    BreakInText,
    /// The stream says, before its text, that the provider has failed.
    Confess,
}

/// The calls of a provider: when each came, since the bed was made, and what was done with it.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<(Duration, Does)>>>);

impl Calls {
    pub fn all(&self) -> Vec<(Duration, Does)> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// The defaults of `[defaults]`, with a short clock to the headers.
pub fn config(name: &str) -> Config {
    Config {
        name: name.to_owned(),
        base_url: "http://provider.test/v1".parse().unwrap(),
        headers: HeaderMap::new(),
        connect_timeout: Duration::from_secs(5),
        headers_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        retry: RetryConfig {
            attempts_max: 3,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(32),
            budget_percent: 20,
            ambiguous: false,
        },
        breaker: BreakerConfig {
            window: Duration::from_secs(30),
            failures: 0.5,
            minimum: 10,
            cool_down: Duration::from_secs(15),
        },
        max_concurrency: 256,
        requests_per_minute: 0,
        proxy: None,
        ca_file: None,
    }
}

/// A provider of kind `openai`, by the name that its configuration has, and its assistant of the same name.
pub struct Part {
    provider: Arc<ProviderEntry>,
    fallback: Vec<&'static str>,
    pub calls: Calls,
}

impl Part {
    /// One that does what `script` says, given the time and the number of the call.
    pub fn new(
        config: Config,
        fallback: &[&'static str],
        script: impl Fn(Duration, usize) -> Does + Send + Sync + 'static,
    ) -> Self {
        let (calls, began, script) = (Calls::default(), Instant::now(), Arc::new(script));
        let log = calls.clone();
        let client = Client::new(service_fn(move |_: http::Request<Bytes>| {
            let does = {
                let mut log = log.0.lock().unwrap();
                let (at, number) = (began.elapsed(), log.len());
                let does = script(at, number);
                log.push((at, does));
                does
            };
            play(does)
        }));
        let name = config.name.clone();
        let upstream = Upstream::with_client(config, client).unwrap();
        let context = providers::Context { secrets: Arc::from([]), reply_bytes_max: 1 << 20 };
        let provider = providers::build("openai", toml::Table::new(), upstream, context).unwrap();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let clocks = Clocks { first_text: minutes(2), total: minutes(15), hedge_after: None };
        let entry = ProviderEntry { name: name.parse().unwrap(), kind: "openai", provider, clocks };
        Self { provider: Arc::new(entry), fallback: fallback.to_vec(), calls }
    }

    /// `closed`, `open` or `half_open`.
    pub fn breaker(&self) -> &'static str {
        self.provider.provider.status().breaker
    }
}

async fn play(does: Does) -> Result<Response<Body>, Failure> {
    let role = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    let text = r#"data: {"choices":[{"index":0,"delta":{"content":"ok"}}]}"#;
    let error = r#"data: {"error":{"message":"Sorry","type":"server_error"}}"#;
    let said = |frames: &[&str], end: Option<Failure>| {
        let frames = frames.iter().map(|frame| Ok(Bytes::from(format!("{frame}\n\n"))));
        let items: Vec<_> = frames.chain(end.map(Err)).collect();
        let mut response = Response::new(Body::new(stream::iter(items)));
        response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        Ok(response)
    };
    match does {
        Does::Answer => said(&[role, text, "data: [DONE]"], None),
        Does::BreakBeforeText => said(&[role], Some(Failure::Broken)),
        Does::BreakInText => said(&[role, text], Some(Failure::Broken)),
        Does::Silent => {
            let mut response = Response::new(Body::new(stream::pending()));
            response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            Ok(response)
        }
        Does::Confess => said(&[role, error], None),
        Does::Unreachable => Err(Failure::Unreachable),
        Does::Reset => Err(Failure::Broken),
        Does::Hang => std::future::pending().await,
        Does::Refuse(status, retry_after) => {
            let mut response = Response::new(Body::new(stream::empty()));
            *response.status_mut() = status.try_into().unwrap();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert("retry-after", seconds.into());
            }
            Ok(response)
        }
    }
}

/// An engine over these providers. Nothing is stored: a store's threads have no part in paused time.
pub struct Bed {
    engine: Engine,
}

impl Bed {
    pub async fn new(parts: impl FnOnce() -> Vec<Arc<Part>>) -> Self {
        let store =
            store::open(&store::Config::new("memory:".to_owned()), &TaskTracker::new()).await.unwrap();
        let parts = parts();
        let assistants = parts.iter().map(|part| Assistant {
            name: part.provider.name.as_str().parse().unwrap(),
            provider: Arc::clone(&part.provider),
            upstream_id: "model".to_owned(),
            description: String::new(),
            fallback: part.fallback.iter().map(|name| name.parse().unwrap()).collect(),
            system: None,
            context_messages: 20,
            meters: engine::Meters::default(),
        });
        let entries = parts.iter().map(|part| Arc::clone(&part.provider)).collect();
        let catalog = Catalog::new(entries, assistants.collect()).unwrap();
        let engine = Engine::new(
            Arc::new(catalog),
            // Who leaves takes the turn along.
            Settings { on_disconnect: OnDisconnect::Cancel, ..Settings::default() },
            Arc::clone(&store) as Arc<dyn ConversationStore>,
            store as Arc<dyn Maintenance>,
            TaskTracker::new(),
        );
        Self { engine }
    }

    /// A turn, to its end; cancelled when nobody waits for it any more.
    ///
    /// # Errors
    /// It was refused before acceptance.
    pub async fn turn(&self, assistant: &str) -> Result<Arc<Turn>, Refused> {
        let ask = Ask { store: false, ..ask(assistant, "hi") };
        Ok(self.engine.chat(&caller("t"), ask).await?.end().await)
    }

    /// So many turns, one after each pause, each taking the time it takes; what became of them, with the time of asking.
    pub async fn turns(
        &self,
        assistant: &str,
        count: u32,
        pause: Duration,
    ) -> Vec<(Duration, Result<Arc<Turn>, Refused>)> {
        let turns = (0..count).map(|number| async move {
            let at = pause * number;
            tokio::time::sleep(at).await;
            (at, self.turn(assistant).await)
        });
        let mut turns: Vec<_> =
            stream::iter(turns).buffer_unordered(count.try_into().unwrap()).collect().await;
        turns.sort_by_key(|(at, _)| *at);
        turns
    }
}

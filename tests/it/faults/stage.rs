//! A gateway in one process: router, engine, providers and a SQLite file over a simulator on loopback.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat::{ConversationStore, Maintenance};
use engine::{Assistant, Catalog, Clocks, ProviderEntry, Settings};
use serde_json::Value;
use simulator::{Journal, Options, Pace};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use upstream::{BreakerConfig, RetryConfig, Upstream};

use crate::gateway::{Answer, Gateway, Plan};

/// Longer than anything here takes, so that only a clock that a test sets runs out.
const LONG: Duration = Duration::from_secs(120);

/// The longest pause before a second attempt; before a third it is twice as long.
pub const RETRY_BASE: Duration = Duration::from_millis(4);

/// A running simulator and a gateway that asks it; both end with the test.
pub struct Stage {
    pub address: String,
    pub journal: Journal,
    pub gateway: Gateway,
    /// The store's file, where there is one.
    pub file: PathBuf,
    /// Providers by what they were made from: made once, as a client costs more than a turn.
    made: Mutex<HashMap<(&'static str, Way), Arc<ProviderEntry>>>,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
    _serving: JoinSet<()>,
}

/// How a provider is configured, as far as tests change it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Way {
    pub headers: Duration,
    pub first_text: Duration,
    pub idle: Duration,
    pub total: Duration,
    pub hedge_after: Option<Duration>,
    pub ambiguous: bool,
    pub budget_percent: u32,
    /// So many failures open the breaker.
    pub breaker_minimum: u32,
    pub cool_down: Duration,
    /// Nobody listens where it is.
    pub refused: bool,
    /// Further settings of the provider's own.
    pub settings: &'static str,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            headers: LONG,
            first_text: LONG,
            idle: LONG,
            total: LONG,
            hedge_after: None,
            ambiguous: false,
            // Many rows share a provider, and none is to use up another's retries.
            budget_percent: 1_000,
            breaker_minimum: 1_000,
            cool_down: LONG,
            refused: false,
            settings: "",
        }
    }
}

impl Way {
    /// The same with so many times the time, where a clock is to run out.
    pub fn slower(self, times: u32) -> Self {
        let slower = |clock: Duration| if clock < LONG { clock * times } else { clock };
        Self {
            headers: slower(self.headers),
            first_text: slower(self.first_text),
            idle: slower(self.idle),
            total: slower(self.total),
            ..self
        }
    }
}

/// An assistant of a test.
#[derive(Debug, Clone)]
pub struct Cast {
    pub name: &'static str,
    /// Kind of provider; the provider is named so as well.
    pub kind: &'static str,
    pub upstream_id: String,
    pub fallback: Vec<&'static str>,
    pub way: Way,
    /// Its provider is made for it alone, and has no past.
    pub new: bool,
}

impl Cast {
    pub fn new(name: &'static str, kind: &'static str, upstream_id: impl Into<String>) -> Self {
        let (fallback, way) = (Vec::new(), Way::default());
        Self { name, kind, upstream_id: upstream_id.into(), fallback, way, new: false }
    }

    /// The same over a provider configured so.
    pub fn over(self, way: Way) -> Self {
        Self { way, ..self }
    }

    /// The same with these fallbacks.
    pub fn falls_back(self, fallback: &[&'static str]) -> Self {
        Self { fallback: fallback.to_vec(), ..self }
    }
}

impl Stage {
    /// With a store that keeps nothing.
    pub async fn open() -> Self {
        Self::with(Settings::default(), "memory:").await
    }

    /// With a store of this URL; empty: a file of its own.
    pub async fn with(settings: Settings, url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let journal = simulator::journal();
        let options = Options { seed: 7, pace: Pace::Instant, journal: journal.clone() };
        let mut serving = JoinSet::new();
        serving.spawn(simulator::serve(listener, options, std::future::pending::<()>()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test.db");
        let url = if url.is_empty() { format!("sqlite:{}", file.display()) } else { url.to_owned() };
        let config = store::Config::new(url);
        let store = store::open(&config, &TaskTracker::new()).await.unwrap();
        let store = (Arc::clone(&store) as Arc<dyn ConversationStore>, store as Arc<dyn Maintenance>);
        let gateway = Gateway::new(Plan { settings, store: Some(store), ..Plan::default() });
        gateway.engine.settle().await.unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(LONG).build().unwrap();
        let made = Mutex::default();
        Self { address, journal, gateway, file, made, client, _folder: folder, _serving: serving }
    }

    /// Puts these assistants in the place of those before.
    pub fn cast(&self, cast: &[Cast]) {
        let entry = |one: &Cast| {
            if one.new {
                return Arc::new(self.provider(one));
            }
            let mut made = self.made.lock().unwrap();
            let entry = made.entry((one.kind, one.way.clone()));
            Arc::clone(entry.or_insert_with(|| Arc::new(self.provider(one))))
        };
        let entries: Vec<_> = cast.iter().map(entry).collect();
        let assistants = cast.iter().zip(&entries).map(|(one, provider)| Assistant {
            name: one.name.parse().unwrap(),
            provider: Arc::clone(provider),
            upstream_id: one.upstream_id.clone(),
            description: String::new(),
            fallback: one.fallback.iter().map(|name| name.parse().unwrap()).collect(),
            system: None,
            context_messages: 20,
            meters: engine::Meters::default(),
        });
        let catalog = Catalog::new(entries.clone(), assistants.collect()).unwrap();
        self.gateway.engine.set_catalog(Arc::new(catalog));
    }

    fn provider(&self, cast: &Cast) -> ProviderEntry {
        let Cast { kind, way, .. } = cast;
        // Port 1 is nobody's.
        let address = if way.refused { "127.0.0.1:1" } else { &self.address };
        let base_url = format!("http://{address}{}", simulator::base_path(kind).unwrap());
        let upstream = Upstream::open(upstream::Config {
            name: (*kind).to_owned(),
            base_url: base_url.parse().unwrap(),
            headers: http::HeaderMap::new(),
            connect_timeout: LONG,
            headers_timeout: way.headers,
            idle_timeout: way.idle,
            retry: RetryConfig {
                attempts_max: 3,
                base: RETRY_BASE,
                cap: Duration::from_secs(32),
                budget_percent: way.budget_percent,
                ambiguous: way.ambiguous,
            },
            breaker: BreakerConfig {
                window: LONG,
                failures: 0.5,
                minimum: way.breaker_minimum,
                cool_down: way.cool_down,
            },
            max_concurrency: 256,
            requests_per_minute: 0,
            proxy: None,
            ca_file: None,
        });
        let own = if *kind == "gptunnel" { "stream_upstream = true\n" } else { "" };
        let section = format!("api_key = 'sim-key'\n{own}{}", way.settings);
        let reply_bytes_max = self.gateway.engine.settings().reply_bytes_max;
        let context = providers::Context { secrets: Arc::from([]), reply_bytes_max };
        let provider = providers::build(kind, section.parse().unwrap(), upstream.unwrap(), context).unwrap();
        let clocks = Clocks { first_text: way.first_text, total: way.total, hedge_after: way.hedge_after };
        ProviderEntry {
            name: kind.parse().unwrap(),
            kind: providers::kind(kind).unwrap().name,
            provider,
            clocks,
        }
    }

    /// `POST /v1/chat`, read to its end.
    pub async fn chat(&self, body: Value) -> Told {
        Told::of(self, self.gateway.post("/v1/chat", body).await).await
    }

    /// What the simulator was asked for an id so far.
    pub fn calls(&self, upstream_id: &str) -> Vec<simulator::Call> {
        self.journal.calls_for(upstream_id)
    }

    /// The plain answer to a request that the journal has: the text that the simulator means where nothing goes wrong.
    pub async fn post(&self, kind: &str, path: &str, body: &Value) -> String {
        let key = if kind == "gptunnel" { "sim-key" } else { "Bearer sim-key" };
        let request = self.client.post(format!("http://{}{path}", self.address));
        let request = request.header("authorization", key).header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        assert!(response.status().is_success(), "{kind} {path}: {}", response.status());
        response.text().await.unwrap()
    }
}

/// What a client was told of a turn.
#[derive(Debug)]
pub struct Told {
    /// The HTTP status.
    pub http: u16,
    pub headers: http::HeaderMap,
    /// The turn at its end.
    pub turn: Value,
    /// The error's code, where the answer is one.
    pub refused: Option<String>,
    /// The types of the events, progress by its step; empty for an answer in one piece.
    pub events: Vec<String>,
    /// How long before each further attempt the turn says that it waits.
    pub pauses: Vec<Duration>,
}

impl Told {
    async fn of(stage: &Stage, answer: Answer) -> Self {
        let streamed = answer.header("content-type") == Some("text/event-stream");
        let (http, headers) = (answer.status.as_u16(), answer.headers.clone());
        if streamed {
            let events = answer.events();
            let (turn, kinds) = fold(&events);
            return Self { http, headers, turn, refused: None, events: kinds, pauses: pauses(&events) };
        }
        let id = answer.header("x-turn-id").expect("a turn has an id").to_owned();
        let refused = (!answer.status.is_success()).then(|| answer.code().1);
        let turn = match &refused {
            None => answer.json(),
            Some(_) => stage.gateway.get(&format!("/v1/chat/{id}")).await.json(),
        };
        let again = stage.gateway.get(&format!("/v1/chat/{id}/events")).await;
        // An unstored turn's events may be gone by then.
        let pauses = if again.status.is_success() { pauses(&again.events()) } else { Vec::new() };
        Self { http, headers, turn, refused, events: Vec::new(), pauses }
    }

    pub fn status(&self) -> &str {
        self.turn["status"].as_str().unwrap()
    }

    pub fn text(&self) -> &str {
        self.turn["message"]["text"].as_str().unwrap_or_default()
    }

    /// The code of the turn's error.
    pub fn error(&self) -> Option<&str> {
        self.turn["error"]["code"].as_str()
    }

    /// Assistant, outcome and status of the calls that did not give the answer.
    pub fn attempts(&self) -> Vec<(&str, &str, Option<u64>)> {
        let attempts = self.turn["attempts"].as_array().unwrap().iter();
        attempts
            .map(|one| {
                let word = |name: &str| one[name].as_str().unwrap();
                (word("assistant"), word("outcome"), one["status"].as_u64())
            })
            .collect()
    }

    /// How often the events name this step or type.
    pub fn count(&self, event: &str) -> usize {
        self.events.iter().filter(|one| *one == event).count()
    }
}

fn pauses(events: &[(u64, String, Value)]) -> Vec<Duration> {
    let waits = events.iter().filter_map(|(_, _, data)| data["retry_in_ms"].as_u64());
    waits.map(Duration::from_millis).collect()
}

/// Folds a stream as a client does, and checks the laws of §3.3.
fn fold(events: &[(u64, String, Value)]) -> (Value, Vec<String>) {
    let (mut text, mut sources, mut kinds) = (String::new(), Value::Array(Vec::new()), Vec::new());
    let ((_, last, end), before) = events.split_last().expect("a stream has events");
    for (place, (number, kind, data)) in before.iter().enumerate() {
        assert_eq!(*number, place as u64 + 1);
        assert_eq!(place == 0, kind == "turn.started", "{kind} at {place}");
        match kind.as_str() {
            "message.delta" => text.push_str(data["text"].as_str().unwrap()),
            "message.replaced" => data["text"].as_str().unwrap().clone_into(&mut text),
            "turn.sources" => sources = data["sources"].clone(),
            "turn.progress" => {
                kinds.push(data["step"].as_str().unwrap().to_owned());
                continue;
            }
            "message.citation" | "turn.started" => {}
            other => panic!("{other} before the end"),
        }
        kinds.push(kind.clone());
    }
    let turn = end["turn"].clone();
    assert_eq!(*last, format!("turn.{}", turn["status"].as_str().unwrap()));
    assert_eq!(turn["message"]["text"].as_str().unwrap_or_default(), text, "the deltas put together");
    assert_eq!(turn["sources"], sources, "the last list of sources");
    kinds.push(last.clone());
    (turn, kinds)
}

//! A gateway for tests of what a caller can see: the real router and engine over a scripted provider.

pub mod description;
mod down;
mod script;
mod vault;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use chat::{AllowedAssistants, ConversationStore, KeyId, Maintenance, Permission, Permissions, Timestamp};
use engine::{Assistant, Catalog, Clocks, Engine, ProviderEntry, Settings};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use server::{Config, KeySpec, Limits, Reload, Reloaded, Server, hash_secret};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use description::Face;
pub use down::Down;
pub use script::Script;
pub use vault::Vault;

/// The secret of the key that most tests call with.
pub const KEY: &str = "a-key-for-the-tests";
/// The secret of a key that may everything, and admin.
pub const ADMIN: &str = "a-key-for-the-admin";

/// A running gateway without sockets.
pub struct Gateway {
    pub server: Server,
    pub engine: Engine,
    pub vault: Arc<Vault>,
    pub script: Arc<Script>,
    clients: Router,
    admins: Router,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status, code and field of an error, whose envelope is checked whole.
    pub fn error(&self) -> (u16, String, Option<String>) {
        let json = self.json();
        let error = json["error"].as_object().unwrap_or_else(|| panic!("no error: {json}"));
        let names: Vec<_> = error.keys().map(String::as_str).collect();
        let expected = ["type", "code", "message", "param", "request_id", "turn_id", "provider", "retryable"];
        assert_eq!(names, expected);
        assert_eq!(error["request_id"].as_str(), self.header("x-request-id"));
        assert_eq!(error["turn_id"].as_str(), self.header("x-turn-id"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        let retryable = error["retryable"].as_bool().unwrap();
        let told = self.header("x-should-retry") == Some("false");
        assert_eq!(told, self.status.is_server_error() && !retryable, "x-should-retry");
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        (self.status.as_u16(), text("code").unwrap(), text("param"))
    }

    /// Status and code of an error.
    pub fn code(&self) -> (u16, String) {
        let (status, code, _) = self.error();
        (status, code)
    }

    /// The events of a stream: number, type, data.
    pub fn events(&self) -> Vec<(u64, String, Value)> {
        let frames = self.text.split_terminator("\n\n").filter(|frame| !frame.starts_with(':'));
        frames.map(event).collect()
    }
}

fn event(frame: &str) -> (u64, String, Value) {
    let lines: Vec<_> = frame.lines().collect();
    let [id, kind, data] = lines[..] else { panic!("{frame:?}") };
    let id = id.strip_prefix("id: ").unwrap().parse().unwrap();
    let kind = kind.strip_prefix("event: ").unwrap().to_owned();
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((data["seq"].as_u64(), data["type"].as_str()), (Some(id), Some(kind.as_str())));
    (id, kind, data)
}

/// What a gateway under test is made of.
pub struct Plan {
    pub config: Config,
    pub keys: Vec<KeySpec>,
    pub settings: Settings,
    pub store: Option<(Arc<dyn ConversationStore>, Arc<dyn Maintenance>)>,
    /// Whom to ask; else `support` and `docs`, both played by the script.
    pub catalog: Option<Catalog>,
}

impl Default for Plan {
    fn default() -> Self {
        let keys = vec![key(KEY, |_| {}), key(ADMIN, everything)];
        Self { config: Config::default(), keys, settings: Settings::default(), store: None, catalog: None }
    }
}

/// A configured key with this secret.
pub fn key(secret: &str, change: impl FnOnce(&mut KeySpec)) -> KeySpec {
    let hash = hash_secret(secret);
    let mut spec = KeySpec {
        id: KeyId::of_hash(&hash),
        name: "test".to_owned(),
        hash,
        tenant: "tests".parse().unwrap(),
        assistants: AllowedAssistants::All,
        may: Permissions::default(),
        admin: false,
        expires_at: None,
        limits: Limits::default(),
    };
    change(&mut spec);
    spec
}

fn everything(spec: &mut KeySpec) {
    spec.may = Permission::ALL.iter().copied().collect();
    spec.admin = true;
}

/// Limits, as the store keeps them.
pub fn limits(json: Value) -> Limits {
    serde_json::from_value(json).unwrap()
}

#[derive(Debug)]
struct Broken;

#[async_trait]
impl Reload for Broken {
    async fn reload(&self) -> Result<Reloaded, String> {
        Err("line 3: no such provider".to_owned())
    }
}

impl Gateway {
    /// A gateway whose store is down but for keys, which stand in a [`Vault`].
    pub fn new(plan: Plan) -> Self {
        let tracker = TaskTracker::new();
        let script = Arc::new(Script::default());
        let vault = Arc::new(Vault::default());
        let (store, maintenance): (Arc<dyn ConversationStore>, Arc<dyn Maintenance>) =
            plan.store.unwrap_or_else(|| (Arc::new(Down), Arc::clone(&vault) as _));
        let catalog = Arc::new(plan.catalog.unwrap_or_else(|| catalog(&script)));
        let engine = Engine::new(catalog, plan.settings, store, Arc::clone(&maintenance), tracker.clone());
        let server =
            Server::new(engine.clone(), maintenance, plan.config, plan.keys, Arc::new(Broken), tracker);
        let (clients, admins) = (server.router(), server.admin_router());
        Self { server, engine, vault, script, clients, admins }
    }

    /// A gateway over a store of its own, in memory.
    pub async fn kept(plan: Plan) -> Self {
        let store = ::store::open(&::store::Config::new("memory:"), &TaskTracker::new()).await.unwrap();
        Self::new(Plan { store: Some((Arc::clone(&store) as _, store as _)), ..plan })
    }

    /// The answer's head; its body can still be streaming.
    pub async fn open(&self, request: Request<Body>) -> http::Response<Body> {
        self.clients.clone().oneshot(request).await.unwrap()
    }

    /// Whatever is answered has to be as the API's description says.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let answer = whole(self.open(request).await).await;
        description::check(Face::Clients, &method, &uri, &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, KEY, "")).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(request(Method::POST, path, KEY, body.to_string())).await
    }

    /// As the admin, of the admin listener.
    pub async fn admin(&self, method: Method, path: &str, body: &str) -> Answer {
        self.send_admin(request(method, path, ADMIN, body)).await
    }

    pub async fn send_admin(&self, request: Request<Body>) -> Answer {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let answer = whole(self.admins.clone().oneshot(request).await.unwrap()).await;
        description::check(Face::Admins, &method, &uri, &answer);
        answer
    }
}

/// Reads an answer to its end.
pub async fn whole(response: http::Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

/// A request with a key, and a JSON body where there is one.
pub fn request(method: Method, path: &str, key: &str, body: impl Into<String>) -> Request<Body> {
    let body = body.into();
    let mut request =
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request.body(Body::from(body)).unwrap()
}

fn catalog(script: &Arc<Script>) -> Catalog {
    let provider = Arc::new(ProviderEntry {
        name: "stage".parse().unwrap(),
        kind: "script",
        provider: Arc::clone(script) as _,
        clocks: Clocks {
            first_text: Duration::from_secs(60),
            total: Duration::from_secs(120),
            hedge_after: None,
        },
    });
    let assistant = |name: &str| Assistant {
        name: name.parse().unwrap(),
        provider: Arc::clone(&provider),
        upstream_id: "one".to_owned(),
        description: String::new(),
        fallback: Vec::new(),
        system: None,
        context_messages: 20,
        meters: engine::Meters::default(),
    };
    Catalog::new(vec![Arc::clone(&provider)], vec![assistant("support"), assistant("docs")]).unwrap()
}

/// A moment so many seconds from now.
pub fn in_seconds(seconds: u64) -> Timestamp {
    Timestamp::now().plus(Duration::from_secs(seconds))
}

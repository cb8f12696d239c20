//! What works, what clients see and what heals when something that a gateway needs is slow, gone, full or wrong: the rows of
//! `docker/DEGRADED.md`, on the program itself. Between it and its servers stand proxies that make the weather.

mod clock;
mod disk;
mod keys;
mod partition;
mod postgres;
mod redis;

use std::time::{Duration, Instant};

use chat::Maintenance as _;
use serde_json::{Value, json};
use server::hash_secret;
use tokio_util::task::TaskTracker;

use crate::crash::bed::{Bed, Gateway, SECRET};
use crate::kit::postgres::Database;
use crate::kit::proxy::{Proxy, Weather};
use crate::smoke::program::{PATIENCE, client};

/// Far above what anything takes that does not wait for a server that is gone, and far below what waiting for one takes.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// A key that stands in the store.
const KEPT: &str = "a-key-of-the-store";

/// A gateway, and the weather between it and its servers.
struct Stage {
    bed: Bed,
    gateway: Gateway,
    admin: String,
    postgres: Proxy,
    redis: Proxy,
}

impl Stage {
    /// On this database and the Redis at this address. `limits` are of the key of the file.
    async fn on(database: &Database, redis: &str, limits: &str) -> Self {
        let postgres = Proxy::before(&database.address()).await;
        let redis = Proxy::before(redis).await;
        let assistants = [("slow", "openai", "fault-slow-pieces-60"), ("quick", "openai", "sim-model")];
        let cluster = format!("[cluster]\nredis = \"redis://{}\"", redis.address);
        let bed = Bed::new(&assistants, "", &cluster).await;
        bed.change(
            &format!("sqlite:{}", bed.store().display()),
            &database.url_through(&postgres.address.to_string()),
        );
        bed.change("admin_listen = \"\"", "admin_listen = \"127.0.0.1:0\"");
        bed.change(
            &format!("secret = \"{SECRET}\"\n"),
            &format!("secret = \"{SECRET}\"\nadmin = true\n{limits}\n"),
        );
        let gateway = bed.start().await;
        let listening = gateway.log.wait_for("listening").await;
        let admin = format!("http://{}", listening["admin_address"].as_str().unwrap());
        Self { bed, gateway, admin, postgres, redis }
    }

    /// Asks for a turn.
    async fn chat(&self, store: bool) -> (u16, Value) {
        self.gateway
            .post("/v1/chat", &json!({"assistant": "quick", "message": "Hello", "store": store}))
            .await
    }

    /// Asks for a turn that must be answered without waiting for anybody.
    async fn chat_at_once(&self, store: bool) -> (u16, Value) {
        let begun = Instant::now();
        let answer = self.chat(store).await;
        assert!(begun.elapsed() < AT_ONCE, "{:?} for {answer:?}", begun.elapsed());
        answer
    }

    /// Status and code of an answer to somebody with this key.
    async fn as_whom(&self, key: &str) -> (u16, Option<String>) {
        let url = format!("{}/v1/assistants", self.gateway.url);
        let answer = client().get(url).bearer_auth(key).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        (status, body["error"]["code"].as_str().map(str::to_owned))
    }

    async fn ready(&self) -> u16 {
        self.gateway.get("/readyz").await.0
    }

    /// A number of the metrics; none when it is not there.
    async fn metric(&self, name: &str) -> Option<f64> {
        let text =
            client().get(format!("{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|number| number.parse().unwrap())
    }

    /// Waits until a metric says this.
    async fn shows(&self, name: &str, value: f64) {
        let waiting = async {
            while self.metric(name).await != Some(value) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{name} is never {value}"));
    }
}

/// A database in which a key is kept, and a Redis. None where there are no servers.
async fn servers() -> Option<(Database, String)> {
    let redis = crate::kit::redis::shared()?;
    let database = Database::new().await?;
    keep_key(&database, KEPT).await;
    Some((database, redis))
}

/// Keeps a key with this secret.
async fn keep_key(database: &Database, secret: &str) -> chat::KeyId {
    let store = store::open(&store::Config::new(database.url()), &TaskTracker::new()).await.unwrap();
    let key = chat::NewKey {
        name: "kept".to_owned(),
        hash: hash_secret(secret),
        tenant: "kept".parse().unwrap(),
        assistants: None,
        may: chat::Permissions::default(),
        admin: false,
        expires_at: None,
        limits: String::new(),
    };
    let id = store.create_key(key, chat::Timestamp::now()).await.unwrap().id;
    store.close(PATIENCE).await.unwrap();
    id
}

//! A provider that gives away all that it was told: the worst that one may do with a secret.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The credential that gateways call it with.
pub const API_KEY: &str = "sk-canary-of-the-provider";
/// Stands in all that it says.
pub const REPLY: &str = "canary-text-of-the-reply";

/// A running provider that speaks OpenAI's chat completions.
pub struct Echo {
    pub url: String,
    seen: Seen,
    _serving: JoinSet<()>,
}

type Seen = Arc<Mutex<Vec<HeaderMap>>>;

impl Echo {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Seen::default();
        let router = Router::new()
            .route("/v1/chat/completions", axum::routing::post(answer))
            .with_state(Arc::clone(&seen));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, _serving: serving }
    }

    /// The headers of all calls so far, in order.
    pub fn seen(&self) -> Vec<HeaderMap> {
        self.seen.lock().unwrap().clone()
    }

    /// A provider's table.
    pub fn provider(&self, name: &str) -> String {
        format!(
            "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"{API_KEY}\"\n\
             retry = {{ attempts = 2, base = \"1ms\", cap = \"1ms\" }}\n",
            self.url
        )
    }
}

/// An assistant's table: what its model is called is what happens, `status-N`, `leaky` (its own key is all it talks of) or `fine`.
pub fn assistant(name: &str, provider: &str, model: &str, fallback: &str) -> String {
    format!(
        "[assistants.{name}]\nprovider = \"{provider}\"\nupstream_id = \"{model}\"\nfallback = [{fallback}]\n"
    )
}

async fn answer(State(seen): State<Seen>, headers: HeaderMap, body: Bytes) -> Response {
    seen.lock().unwrap().push(headers.clone());
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let status = asked["model"].as_str().unwrap().strip_prefix("status-");
    if let Some(status) = status {
        let key = headers["authorization"].to_str().unwrap();
        let message = format!("you said {key} and {asked}");
        let error = json!({"error": {"message": message, "type": "x", "code": "x"}});
        let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
        return respond(status, "application/json", error.to_string());
    }
    if asked["model"] == "leaky" {
        return leak(asked["stream"] == true, headers["authorization"].to_str().unwrap());
    }
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
    let choice = |field: &str| json!([{"index": 0, field: {"role": "assistant", "content": REPLY}, "finish_reason": "stop"}]);
    let (id, model) = ("chatcmpl-1", "fine-2026");
    if asked["stream"] == true {
        let first =
            json!({"id": id, "model": model, "choices": [{"index": 0, "delta": {"content": "Well. "}}]});
        let second = json!({"id": id, "model": model, "choices": choice("delta"), "usage": usage});
        let body = format!("data: {first}\n\ndata: {second}\n\ndata: [DONE]\n\n");
        return respond(StatusCode::OK, "text/event-stream", body);
    }
    let whole = json!({"id": id, "object": "chat.completion", "model": model, "choices": choice("message"), "usage": usage});
    respond(StatusCode::OK, "application/json", whole.to_string())
}

/// Tells the key that it was called with: in a piece, and in pieces of three bytes.
fn leak(stream: bool, key: &str) -> Response {
    let text = format!("You sent {key}, as I sa");
    let whole = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], "x_key": key});
    if !stream {
        return respond(StatusCode::OK, "application/json", whole.to_string());
    }
    let mut body = String::new();
    for piece in text.as_bytes().chunks(3) {
        let delta = json!({"content": std::str::from_utf8(piece).unwrap()});
        body += &format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta}]}));
    }
    let last = json!({"choices": [{"index": 0, "delta": {"content": format!("id: {key}s")}, "finish_reason": "stop"}], "x_key": key});
    respond(StatusCode::OK, "text/event-stream", format!("{body}data: {last}\n\ndata: [DONE]\n\n"))
}

fn respond(status: StatusCode, kind: &str, body: String) -> Response {
    Response::builder().status(status).header("content-type", kind).body(Body::from(body)).unwrap()
}

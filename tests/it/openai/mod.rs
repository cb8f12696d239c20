//! OpenAI's dialect as its clients see it: the real router and engine over scripted providers, or over the simulated one.

mod completions;
mod conversations;
mod errors;
mod passed_through;
mod responses;

use std::sync::Arc;
use std::time::Duration;

use chat::{Failure, Piece, ProviderError};
use engine::{Assistant, Catalog, Clocks, ProviderEntry};
use serde_json::{Value, json};

use crate::gateway::{Answer, Gateway, Plan};
use crate::kit::{Act, Play, Scripted};

/// A gateway with assistants `support` (its fallback is `docs`), `docs` and `model`, which takes a client's own body.
struct Stage {
    gateway: Gateway,
    support: Arc<Scripted>,
    docs: Arc<Scripted>,
    model: Arc<Scripted>,
}

impl Stage {
    async fn open() -> Self {
        let gateway = Gateway::kept(Plan::default()).await;
        let (support, docs) = (Arc::new(Scripted::replay()), Arc::new(Scripted::replay()));
        let mut model = Scripted::replay();
        model.passes_through = true;
        let model = Arc::new(model);
        let clocks = Clocks {
            first_text: Duration::from_secs(600),
            total: Duration::from_secs(900),
            hedge_after: None,
        };
        let entry = |name: &str, provider: &Arc<Scripted>| {
            Arc::new(ProviderEntry {
                name: name.parse().unwrap(),
                kind: "scripted",
                provider: Arc::clone(provider) as _,
                clocks,
            })
        };
        let entries = [entry("one", &support), entry("two", &docs), entry("three", &model)];
        let assistant = |name: &str, place: usize, fallback: &[&str]| Assistant {
            name: name.parse().unwrap(),
            provider: Arc::clone(&entries[place]),
            upstream_id: "upstream".to_owned(),
            description: String::new(),
            fallback: fallback.iter().map(|name| name.parse().unwrap()).collect(),
            system: None,
            context_messages: 20,
            meters: engine::Meters::default(),
        };
        let assistants = vec![
            assistant("support", 0, &["docs"]),
            assistant("docs", 1, &[]),
            assistant("model", 2, &["docs"]),
        ];
        let catalog = Catalog::new(entries.to_vec(), assistants).unwrap();
        gateway.engine.set_catalog(Arc::new(catalog));
        Self { gateway, support, docs, model }
    }

    async fn complete(&self, body: Value) -> Answer {
        self.gateway.post("/v1/chat/completions", body).await
    }

    async fn respond(&self, body: Value) -> Answer {
        self.gateway.post("/v1/responses", body).await
    }
}

/// A request of Chat Completions.
fn asked(model: &str, stream: bool) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream})
}

fn say(text: &str) -> Act {
    Act::Give(Piece::Text(text.to_owned()))
}

fn end(reason: Option<chat::FinishReason>) -> Act {
    Act::Give(Piece::End(reason))
}

fn frame(json: Value) -> Act {
    Act::Give(Piece::Extension(json.to_string().into()))
}

/// A play that says this and breaks.
fn broken(pieces: &[&str]) -> Play {
    let mut play: Play = pieces.iter().map(|piece| say(piece)).collect();
    play.push(Act::Fail(ProviderError::new(Failure::Broken)));
    play
}

/// The data of an event stream, as they came.
fn data(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{}", answer.text);
    let lines = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(str::to_owned).collect()
}

/// The same, without the sign of the end.
fn chunks(answer: &Answer) -> Vec<Value> {
    let data = data(answer).into_iter().filter(|data| data != "[DONE]");
    data.map(|data| serde_json::from_str(&data).unwrap()).collect()
}

/// The text of a stream's chunks.
fn text(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

/// Status, type, code and field of an error, whose envelope is OpenAI's.
fn error(answer: &Answer) -> (u16, String, String, Value) {
    let json = answer.json();
    let error = json["error"].as_object().unwrap_or_else(|| panic!("no error: {json}"));
    assert_eq!(json.as_object().unwrap().len(), 1);
    assert_eq!(error.keys().collect::<Vec<_>>(), ["message", "type", "param", "code"]);
    assert!(error["message"].is_string());
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (answer.status.as_u16(), text("type"), text("code"), error["param"].clone())
}

//! gigachat.ai: `POST /chatbots/{id}/conversations`, with `GET /chatbots` beside it. Not Sber's service of that name.
//!
//! Source: gigachat.ai/documentation/rest-api/conversations, /getting-started, /rest-api/chatbots [D]. What an answer
//! looks like is unknown [U]: the documented sample is an array of documents (`shape-documents`). Chosen here: an
//! object with `message` ([U], by the text "will respond with a message"); other forms by `shape-…`. Whether it streams
//! is the chatbot's setting and not the call's [D], so an id decides that as well. Also chosen: an empty 201 for a
//! message that is put in ([U]; `shape-put-in-json`), errors as `{message}` ([U]; `shape-error-object`), that a bot
//! remembers everything (`memory_size` is [U]; `shape-no-memory`), that conversations are a bot's ([U]).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::KEY;
use crate::chance::{hash, uuid};
use crate::conversations::{Key, Role};
use crate::exchange::{Dialect, Exchange, Refusal, Reply, Stop, filled, is_bearer, run};
use crate::faults::Plan;
use crate::script::{Kind, Media, Script};
use crate::text::{Prompt, Wording};
use crate::world::World;

pub(crate) const DIALECT: Dialect = Dialect {
    name: "gigachat",
    assistants: &["8fb205e5-ff46-4bf6-9d7b-4d770935a486", "5a0c7d3e-1b92-4c56-a8ef-6d41b2f09c83"],
    authorize,
    wrong_label: 400,
    error,
    error_label: "application/json",
    error_event: None,
    headers: |_, _| {},
    unknown: |_| Refusal::new(404, "Chatbot not found"),
};

/// The provider's routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/chatbots", get(chatbots))
        .route("/chatbots/{bot}/conversations", post(conversations))
        .fallback(elsewhere)
}

async fn conversations(
    State(world): State<Arc<World>>,
    Path(bot): Path<String>,
    request: Request,
) -> Response {
    run(world, &DIALECT, |_| Some(bot.clone()), request, |exchange| answer(exchange, &bot)).await
}

async fn chatbots(State(world): State<Arc<World>>, request: Request) -> Response {
    let list = |exchange: &mut Exchange| {
        let owner = uuid(hash(0, &["owner"]));
        let bot = |id: &&str| json!({"id": id, "user_id": owner, "name": "Simulated chatbot"});
        let bots: Vec<_> = DIALECT.assistants.iter().map(bot).collect();
        Ok(Reply { status: 200, script: Script::json(exchange.plan.framing, &bots) })
    };
    run(world, &DIALECT, |_| None, request, list).await
}

async fn elsewhere(State(world): State<Arc<World>>, request: Request) -> Response {
    run(world, &DIALECT, |_| None, request, |_| Err(Refusal::new(404, "Not found").into())).await
}

fn authorize(headers: &HeaderMap) -> Result<(), Refusal> {
    if is_bearer(headers, KEY) { Ok(()) } else { Err(Refusal::new(401, "Unauthorized")) }
}

fn error(refusal: &Refusal, plan: &Plan, _request_id: &str) -> String {
    let mut error = json!({"message": refusal.message});
    if let (Some(error), Some(code)) = (error.as_object_mut(), refusal.code) {
        error.insert("code".into(), code.into());
    }
    if plan.has("error-object") { json!({"error": error}).to_string() } else { error.to_string() }
}

fn answer(exchange: &mut Exchange, bot: &str) -> Result<Reply, Stop> {
    let body = exchange.json()?;
    let empty = Map::new();
    let fields = body.as_object().unwrap_or(&empty);
    let conversation = filled(fields, "conversation_id")?;
    let user = filled(fields, "user_id")?;
    let prompt = filled(fields, "prompt")?;
    exchange.assistant(bot)?;
    let key = Key { provider: DIALECT.name, scope: bot.to_owned(), id: conversation.to_owned() };
    if user.starts_with("client:") {
        // Put in as the client [D]: by the bot's side, so as an assistant's message.
        exchange.world.put_in(key, Role::Assistant, prompt);
        let script = if exchange.plan.has("put-in-json") {
            Script::json(exchange.plan.framing, &json!({}))
        } else {
            Script::new(Media::Text, exchange.plan.framing, 0)
        };
        return Ok(Reply { status: 201, script });
    }
    let memory = exchange.world.recall(&exchange.plan, &key, usize::MAX).unwrap_or_default();
    let wording = exchange.wording(&Prompt {
        seed: exchange.world.seed,
        provider: DIALECT.name,
        assistant: bot,
        conversation,
        message: prompt,
        memory: &memory,
        instructions: &[],
        pictures: 0,
    });
    exchange.world.remember(key, prompt, wording.text());
    let set = exchange.plan.has("openai-chunks") || exchange.plan.has("raw-text");
    let script = if exchange.streams(set) {
        stream(exchange, &wording)
    } else {
        let answer = whole(exchange, &wording, bot, fields);
        Script::json(exchange.plan.framing, &answer)
    };
    Ok(Reply { status: 201, script })
}

/// The answer in one of the forms it may have [U].
fn whole(exchange: &Exchange, wording: &Wording, bot: &str, asked: &Map<String, Value>) -> Value {
    let has = |shape| exchange.plan.has(shape);
    let now = Timestamp::now();
    let row = |role: &str, text: &Value, number: i64| {
        let at = now.saturating_add(SignedDuration::from_millis(number)).unwrap_or(now);
        json!({
            "id": uuid(exchange.world.fresh()),
            "chatbot_id": bot,
            "conversation_id": asked.get("conversation_id"),
            "user_id": asked.get("user_id"),
            "role": role,
            "content": text,
            "created_at": date(at),
        })
    };
    let text = if wording.absent { Value::Null } else { wording.text().into() };
    if has("json-string") {
        return text;
    }
    if has("documents") {
        return json!([document(bot, now)]);
    }
    if has("array") {
        let prompt = asked.get("prompt").cloned().unwrap_or_default();
        // Not in the order of time, which is what decides [D].
        return json!([row("assistant", &text, 1), document(bot, now), row("user", &prompt, 0)]);
    }
    let mut answer = json!({
        "id": uuid(exchange.world.fresh()),
        "chatbot_id": bot,
        "conversation_id": asked.get("conversation_id"),
        "message": text,
        "created_at": date(now),
    });
    if let Some(answer) = answer.as_object_mut().filter(|_| wording.absent) {
        answer.remove("message");
    }
    answer
}

/// The row of the documentation's sample, its truncated embedding included [D].
fn document(bot: &str, now: Timestamp) -> Value {
    let name = "https://developers.cloudflare.com/workers/learning/how-kv-works/-0";
    let content = "DOCUMENT NAME: https://developers.cloudflare.com/workers/learning/how-kv/\n\n---\n\nHow KV works \
                   Workers KV is a global, low-latency, key-value data store. It stores data in a small number of \
                   centralized data centers, then caches that data in Cloudflare’s data centers after access.";
    json!({
        "id": "7c4e187d-27e4-4922-a54c-750d6a92d5a2",
        "chatbot_id": bot,
        "user_id": "4c4087f4-805f-4cf4-9957-0571faf82a4d",
        "name": name,
        "content": content,
        "metadata": {"loc": {"lines": {"to": 1, "from": 1}}},
        "embedding": "[0.005706016,0.014266768,0.011446592,-0.05322389,-0.008515823,0.028229399,-0.029860675..]",
        "created_at": date(now),
        "updated_at": date(now),
    })
}

/// Five digits of a second and an offset, as in the sample [D].
fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.5f+00:00").to_string()
}

fn stream(exchange: &Exchange, wording: &Wording) -> Script {
    if exchange.plan.has("raw-text") {
        let mut script = exchange.stream(Media::Text, wording);
        for piece in wording.pieces() {
            script.push_text(Kind::Text, None, piece);
        }
        return script;
    }
    let mut script = exchange.stream(Media::Events, wording);
    for piece in wording.pieces() {
        let choice = json!({"index": 0, "delta": {"content": piece}, "finish_reason": null});
        script.push(Kind::Text, None, &json!({"object": "chat.completion.chunk", "choices": [choice]}));
    }
    let choice = json!({"index": 0, "delta": {}, "finish_reason": wording.finish.word()});
    script.push(Kind::Tail, None, &json!({"object": "chat.completion.chunk", "choices": [choice]}));
    script.push_text(Kind::Tail, None, "[DONE]");
    script
}

//! MyGPTAssistants: the Chat API.
//!
//! Source: docs.mygptassistants.com/api/chat-api and /overview [D]; the documentation's own repository for the other
//! forms of errors [P]. Not documented, and chosen here: what a stream looks like ([I], from the platform's open-source
//! ancestor: `event: chunk` with `message`, at the end `event: result` with the whole text; `conversationId` and
//! `messageId` in that last event; other forms by `shape-…`), that `/stream` takes `conversationId` and `metadata` as
//! `/message` does [I], the code of an unknown conversation ([P] `NOT_FOUND`), what `since` compares ([U]; the last
//! change), the order of the list ([U]; changed last comes first), and what later `metadata` do ([U]; nothing). The
//! documented rate limit is announced in the headers and not enforced: `fault-429…` does that on demand.

mod history;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::KEY;
use crate::conversations::Key;
use crate::exchange::{Dialect, Exchange, Refusal, Reply, Stop, filled, is_bearer, run};
use crate::faults::Plan;
use crate::journal::now_ms;
use crate::script::{Kind, Media, Script};
use crate::text::{Prompt, Wording};
use crate::world::World;

pub(crate) const DIALECT: Dialect = Dialect {
    name: "mygptassistants",
    assistants: &["bot_support", "bot_sales", "bot_123456"],
    authorize,
    wrong_label: 400,
    error,
    error_label: "application/json",
    error_event: Some("error"),
    headers,
    unknown: |_| Refusal::new(404, "Bot not found").code("BOT_NOT_FOUND"),
};

/// The provider's routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/chat/{bot}/message", post(message))
        .route("/chat/{bot}/stream", post(stream))
        .route("/chat/{bot}/conversations", get(history::list))
        .route("/chat/{bot}/conversations/{conversation}", get(history::read))
        .fallback(elsewhere)
}

async fn message(State(world): State<Arc<World>>, Path(bot): Path<String>, request: Request) -> Response {
    run(world, &DIALECT, |_| Some(bot.clone()), request, |exchange| answer(exchange, &bot, false)).await
}

async fn stream(State(world): State<Arc<World>>, Path(bot): Path<String>, request: Request) -> Response {
    run(world, &DIALECT, |_| Some(bot.clone()), request, |exchange| answer(exchange, &bot, true)).await
}

async fn elsewhere(State(world): State<Arc<World>>, request: Request) -> Response {
    let nothing = |_: &mut Exchange| Err(Refusal::new(404, "Not found").code("NOT_FOUND").into());
    run(world, &DIALECT, |_| None, request, nothing).await
}

fn authorize(headers: &HeaderMap) -> Result<(), Refusal> {
    if is_bearer(headers, KEY) { Ok(()) } else { Err(Refusal::new(401, "Invalid or missing API key")) }
}

/// The three headers [D]: 100 calls a minute, of which one is always used; the window ends with the minute.
fn headers(_request_id: &str, headers: &mut HeaderMap) {
    let seconds = now_ms() / 1_000;
    headers.insert(HeaderName::from_static("x-ratelimit-limit"), HeaderValue::from_static("100"));
    headers.insert(HeaderName::from_static("x-ratelimit-remaining"), HeaderValue::from_static("99"));
    let reset = HeaderValue::from(seconds - seconds % 60 + 60);
    headers.insert(HeaderName::from_static("x-ratelimit-reset"), reset);
}

fn error(refusal: &Refusal, plan: &Plan, request_id: &str) -> String {
    let code = refusal.code.unwrap_or(match refusal.status {
        401 => "INVALID_API_KEY",
        402 => "PAYMENT_REQUIRED",
        403 => "FORBIDDEN",
        404 => "NOT_FOUND",
        429 => "RATE_LIMIT_EXCEEDED",
        400..=499 => "INVALID_REQUEST",
        _ => "INTERNAL_ERROR",
    });
    let message = refusal.message.as_ref();
    let body = if plan.has("error-code") {
        json!({"error": {"code": code, "message": message, "field": refusal.field, "requestId": request_id}})
    } else if plan.has("error-text") {
        json!({"error": code, "message": message, "statusCode": refusal.status})
    } else if plan.has("error-message") {
        json!({"message": message})
    } else {
        json!({"success": false, "data": null, "error": {"code": code, "message": message}})
    };
    body.to_string()
}

/// Whose conversation it is: a bot's.
fn key(bot: &str, conversation: &str) -> Key {
    Key { provider: DIALECT.name, scope: bot.to_owned(), id: conversation.to_owned() }
}

fn no_conversation() -> Refusal {
    Refusal::new(404, "Conversation not found").code("NOT_FOUND")
}

/// The call's fields, checked: the message and the conversation. Unknown fields are ignored [U].
fn read(fields: &Map<String, Value>) -> Result<(&str, Option<&str>), Refusal> {
    let message = filled(fields, "message")?;
    let conversation = match fields.get("conversationId") {
        None => None,
        Some(Value::String(id)) if !id.is_empty() => Some(id.as_str()),
        Some(_) => return Err(Refusal::field("conversationId", "must be a string with something in it")),
    };
    if fields.get("metadata").is_some_and(|metadata| !metadata.is_object()) {
        return Err(Refusal::field("metadata", "must be an object"));
    }
    Ok((message, conversation))
}

fn answer(exchange: &mut Exchange, bot: &str, stream: bool) -> Result<Reply, Stop> {
    let body = exchange.json()?;
    let empty = Map::new();
    let (message, conversation) = read(body.as_object().unwrap_or(&empty))?;
    exchange.assistant(bot)?;
    let (id, memory) = match conversation {
        None => (format!("conv_{:016x}", exchange.world.fresh()), Vec::new()),
        Some(id) => {
            let memory = exchange.world.recall(&exchange.plan, &key(bot, id), usize::MAX);
            (id.to_owned(), memory.ok_or_else(no_conversation)?)
        }
    };
    let wording = exchange.wording(&Prompt {
        seed: exchange.world.seed,
        provider: DIALECT.name,
        assistant: bot,
        conversation: &id,
        message,
        memory: &memory,
        instructions: &[],
        pictures: 0,
    });
    let said = exchange.world.remember(key(bot, &id), message, wording.text());
    let script = if exchange.streams(stream) {
        events(exchange, &wording, &id, &said)
    } else {
        Script::json(exchange.plan.framing, &whole(exchange, &wording, &id, &said))
    };
    Ok(Reply { status: 200, script })
}

/// The documented answer [D].
fn whole(exchange: &Exchange, wording: &Wording, conversation: &str, message: &str) -> Value {
    let mut answer =
        json!({"response": wording.text(), "conversationId": conversation, "messageId": message});
    if let Some(answer) = answer.as_object_mut().filter(|_| wording.absent) {
        answer.remove("response");
    }
    if exchange.plan.has("flat") {
        return answer;
    }
    let mut answer = json!({"success": true, "data": answer});
    if let Some(answer) = answer.as_object_mut().filter(|_| exchange.plan.has("error-null")) {
        answer.insert("error".into(), Value::Null);
    }
    answer
}

#[derive(Serialize)]
struct Said<'a> {
    message: &'a str,
}

#[derive(Serialize)]
struct BotSaid<'a> {
    bot: Bot<'a>,
    history: [(); 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bot<'a> {
    text: &'a str,
    source_documents: [(); 0],
}

/// The stream [I]: deltas, then the whole.
fn events(exchange: &Exchange, wording: &Wording, conversation: &str, message: &str) -> Script {
    let has = |shape| exchange.plan.has(shape);
    let media = if has("raw-text") { Media::Text } else { Media::Events };
    let mut script = exchange.stream(media, wording);
    if has("id-first") && media == Media::Events {
        script.push(Kind::Head, Some("start"), &json!({"conversationId": conversation}));
    }
    for piece in wording.pieces() {
        if has("raw-text") || has("raw-data") {
            script.push_text(Kind::Text, None, piece);
        } else if has("bot-chunks") {
            let bot = Bot { text: piece, source_documents: [] };
            script.push(Kind::Text, Some("chunk"), &BotSaid { bot, history: [] });
        } else {
            script.push(Kind::Text, Some("chunk"), &Said { message: piece });
        }
    }
    if has("raw-text") || has("raw-data") {
        return script;
    }
    let mut end = json!({"bot": {"text": wording.repeated(), "sourceDocuments": []}, "history": []});
    if let Some(end) = end.as_object_mut() {
        if wording.absent {
            end.insert("bot".into(), json!({"sourceDocuments": []}));
        }
        if !has("no-id") {
            end.insert("conversationId".into(), conversation.into());
            end.insert("messageId".into(), message.into());
        }
    }
    script.push(Kind::Tail, Some("result"), &end);
    script
}

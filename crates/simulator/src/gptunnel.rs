//! GPTunnel: `POST /assistant/chat`, with `GET /models` and `GET /balance` beside it.
//!
//! Source: docs.gptunnel.ru/assistant/chat, /api/models, /balance [D]. Not documented, and chosen here: the form of a
//! stream ([U]; OpenAI's chunks, as the names in the API are OpenAI's; ids `shape-json`, `shape-ndjson` and
//! `shape-raw-text` choose others), the body of every error but 401 and 404 ([U]; the same form), the status of a
//! wrong `chatId` ([U]; 400), that `maxContext` counts messages and not pairs and leaves out the new one ([U]), and
//! that a chat is known by `chatId` alone ([D] "unique"; its scope is [U]). Unknown fields are ignored [U].

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::KEY;
use crate::chance::{hash, hex24};
use crate::conversations::Key;
use crate::exchange::{Dialect, Exchange, Refusal, Reply, Stop, filled, flag, run, text};
use crate::faults::Plan;
use crate::journal::{Usage, now_ms};
use crate::script::{Kind, Media, Script};
use crate::text::{Prompt, Wording, tokens};
use crate::world::World;

/// Price of a thousand tokens read, in hundred-thousandths of a RUB per token: 1.35 RUB [D].
const PROMPT_PRICE: u64 = 135;

/// The same for tokens written: 2.7 RUB [D].
const COMPLETION_PRICE: u64 = 270;

pub(crate) const DIALECT: Dialect = Dialect {
    name: "gptunnel",
    assistants: &["ai08158128", "ai4410207", "translator"],
    authorize,
    wrong_label: 400,
    error,
    error_label: "application/json",
    error_event: None,
    headers: |_, _| {},
    unknown: |_| Refusal::new(404, "Assistant not found"),
};

/// The provider's routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/assistant/chat", post(chat))
        .route("/models", get(models))
        .route("/balance", get(balance))
        .fallback(elsewhere)
}

async fn chat(State(world): State<Arc<World>>, request: Request) -> Response {
    let id = |body: Option<&Value>| Some(body?.get("assistantCode")?.as_str()?.to_owned());
    run(world, &DIALECT, id, request, answer).await
}

async fn models(State(world): State<Arc<World>>, request: Request) -> Response {
    let models = |exchange: &mut Exchange| {
        let model = json!({
            "id": "gpt-4o", "object": "model", "created": 1_715_367_049, "title": "GPT-4o",
            "max_capacity": 128_000, "cost_context": "1.3500", "cost_completion": "2.7000",
        });
        document(exchange, &json!({"object": "list", "data": [model]}))
    };
    run(world, &DIALECT, |_| None, request, models).await
}

async fn balance(State(world): State<Arc<World>>, request: Request) -> Response {
    let balance = |exchange: &mut Exchange| {
        let sum = json!({"orgId": "sim", "object": "balance", "balance": 1234.56, "creditLimit": 0});
        document(exchange, &sum)
    };
    run(world, &DIALECT, |_| None, request, balance).await
}

async fn elsewhere(State(world): State<Arc<World>>, request: Request) -> Response {
    run(world, &DIALECT, |_| None, request, |_| Err(Refusal::new(404, "Not found").into())).await
}

fn document(exchange: &Exchange, document: &Value) -> Result<Reply, Stop> {
    Ok(Reply { status: 200, script: Script::json(exchange.plan.framing, document) })
}

/// The key alone, as every example of the provider has it [D].
fn authorize(headers: &HeaderMap) -> Result<(), Refusal> {
    let bare = headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes() == KEY.as_bytes());
    if bare { Ok(()) } else { Err(Refusal::new(401, "Unauthorized")) }
}

fn error(refusal: &Refusal, plan: &Plan, _request_id: &str) -> String {
    let kind = match refusal.status {
        401 => "unauthorized_request_error",
        // A 404 is one too [D].
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    let message = Value::from(refusal.message.as_ref());
    let code = Value::from(refusal.code);
    // The documentation's samples for 401 end in a comma, which is not JSON.
    let comma = if plan.has("trailing-comma") { "," } else { "" };
    format!(r#"{{"error":{{"message":{message},"type":"{kind}","param":null,"code":{code}{comma}}}}}"#)
}

/// The call's fields, checked.
struct Call<'a> {
    chat: &'a str,
    assistant: &'a str,
    message: &'a str,
    remembered_max: usize,
    pictures: usize,
    stream: bool,
}

fn read(fields: &Map<String, Value>) -> Result<Call<'_>, Refusal> {
    let chat = text(fields, "chatId")?;
    if !(24..=36).contains(&chat.chars().count()) {
        return Err(Refusal::field("chatId", "must have from 24 to 36 characters"));
    }
    flag(fields, "useWalletBalance")?;
    let remembered_max = match fields.get("maxContext") {
        None => 0,
        Some(Value::Number(count)) if count.as_f64().is_some_and(|count| count >= 0.0) => {
            count.as_u64().map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
        }
        Some(_) => return Err(Refusal::field("maxContext", "must be a number, 0 or greater")),
    };
    let pictures = match fields.get("images") {
        None => 0,
        Some(Value::Array(links)) if links.iter().all(Value::is_string) => links.len(),
        Some(_) => return Err(Refusal::field("images", "must be an array of links")),
    };
    Ok(Call {
        chat,
        assistant: filled(fields, "assistantCode")?,
        message: filled(fields, "message")?,
        remembered_max,
        pictures,
        stream: flag(fields, "stream")?,
    })
}

fn answer(exchange: &mut Exchange) -> Result<Reply, Stop> {
    let body = exchange.json()?;
    let empty = Map::new();
    let call = read(body.as_object().unwrap_or(&empty))?;
    exchange.assistant(call.assistant)?;
    let key = Key { provider: DIALECT.name, scope: String::new(), id: call.chat.to_owned() };
    let memory = exchange.world.recall(&exchange.plan, &key, call.remembered_max).unwrap_or_default();
    let wording = exchange.wording(&Prompt {
        seed: exchange.world.seed,
        provider: DIALECT.name,
        assistant: call.assistant,
        conversation: call.chat,
        message: call.message,
        memory: &memory,
        instructions: &[],
        pictures: call.pictures,
    });
    let read = memory.iter().map(|message| tokens(&message.text)).sum::<u64>() + tokens(call.message);
    exchange.usage = Some(bill(memory.len() as u64, read, tokens(wording.text())));
    exchange.world.remember(key, call.message, wording.text());
    let script = if exchange.streams(call.stream && !exchange.plan.has("json")) {
        stream(exchange, &wording)
    } else {
        let message = (!wording.absent).then(|| wording.text());
        Script::json(exchange.plan.framing, &whole(exchange, &call, message))
    };
    Ok(Reply { status: 200, script })
}

/// Tokens × price [D]. Whole numbers until the last step, so that the sums are what a person would write.
fn bill(context: u64, prompt: u64, completion: u64) -> Usage {
    let rubles = |price: u64| price as f64 / 100_000.0;
    Usage {
        context_messages: context,
        prompt_tokens: prompt,
        completion_tokens: completion,
        prompt_cost: rubles(prompt * PROMPT_PRICE),
        completion_cost: rubles(completion * COMPLETION_PRICE),
        total_cost: rubles(prompt * PROMPT_PRICE + completion * COMPLETION_PRICE),
    }
}

fn usage(usage: &Usage) -> Value {
    json!({
        "context_messages": usage.context_messages,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "embedding_tokens": 0,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_cost": usage.prompt_cost,
        "completion_cost": usage.completion_cost,
        "embedding_cost": 0,
        "total_cost": usage.total_cost,
    })
}

/// The documented answer [D].
fn whole(exchange: &Exchange, call: &Call<'_>, message: Option<&str>) -> Value {
    let mut answer = json!({
        "id": hex24(exchange.world.fresh()),
        "chatId": call.chat,
        "assistantId": hex24(hash(0, &[call.assistant])),
        "assistantCode": call.assistant,
        "message": message,
        "model": "gpt-4o",
    });
    let (Some(fields), Some(billed)) = (answer.as_object_mut(), &exchange.usage) else { return answer };
    if message.is_none() {
        fields.remove("message");
    }
    if exchange.plan.has("2024") {
        fields.remove("model");
        fields.insert("spendTokenCount".into(), (billed.prompt_tokens + billed.completion_tokens).into());
        fields.insert("historyMessageCount".into(), billed.context_messages.into());
    } else if !exchange.plan.has("no-usage") {
        fields.insert("usage".into(), usage(billed));
    }
    answer
}

/// A piece of a stream in OpenAI's form [U].
#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'static str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u8,
    delta: Delta<'a>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

fn stream(exchange: &Exchange, wording: &Wording) -> Script {
    if exchange.plan.has("raw-text") {
        let mut script = exchange.stream(Media::Text, wording);
        for piece in wording.pieces() {
            script.push_text(Kind::Text, None, piece);
        }
        return script;
    }
    let media = if exchange.plan.has("ndjson") { Media::Lines } else { Media::Events };
    let mut script = exchange.stream(media, wording);
    let id = hex24(exchange.world.fresh());
    let created = now_ms() / 1_000;
    let chunk = |content, finish_reason, usage| Chunk {
        id: &id,
        object: "chat.completion.chunk",
        created,
        model: "gpt-4o",
        choices: [Choice { index: 0, delta: Delta { content }, finish_reason }],
        usage,
    };
    for piece in wording.pieces() {
        script.push(Kind::Text, None, &chunk(Some(piece), None, None));
    }
    let billed = exchange.usage.as_ref().filter(|_| !exchange.plan.has("no-usage")).map(usage);
    script.push(Kind::Tail, None, &chunk(None, Some(wording.finish.word()), billed));
    if media == Media::Events {
        script.push_text(Kind::Tail, None, "[DONE]");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bills_as_the_documents_do() {
        let usage = usage(&bill(2, 111, 10));
        assert_eq!(
            usage.to_string(),
            r#"{"context_messages":2,"prompt_tokens":111,"completion_tokens":10,"embedding_tokens":0,"total_tokens":121,"prompt_cost":0.14985,"completion_cost":0.027,"embedding_cost":0,"total_cost":0.17685}"#
        );
    }
}

//! A server that speaks OpenAI's `/chat/completions`, as dozens of vendors and local model servers do.
//!
//! Source: platform.openai.com/docs/api-reference/chat [D]. It remembers nothing: history is what the call carries. With `tools` and
//! "use the tool" in the last user message it calls the first tool. Whatever the call has beside `model`, `messages`,
//! `stream` and `stream_options` comes back in `x_echo` (in a stream: in the first event), which no real server does.

mod check;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::KEY;
use crate::chance::hex24;
use crate::conversations::Role;
use crate::exchange::{Dialect, Exchange, Refusal, Reply, Stop, is_bearer, run};
use crate::faults::Plan;
use crate::journal::{Usage, now_ms};
use crate::script::{Kind, Media, Script};
use crate::text::{Prompt, Wording, excerpt, tokens};
use crate::world::World;
use check::Call;

pub(crate) const DIALECT: Dialect = Dialect {
    name: "openai",
    assistants: &["sim-model", "sim-model-large", "gpt-4o"],
    authorize,
    wrong_label: 400,
    error,
    error_label: "application/json",
    error_event: None,
    headers: |_, _| {},
    unknown: |id| {
        let message = format!("The model `{}` does not exist or you do not have access to it.", excerpt(id));
        Refusal::new(404, message).code("model_not_found")
    },
};

/// The server's routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/chat/completions", post(completions))
        .route("/models", get(models))
        .fallback(elsewhere)
}

async fn completions(State(world): State<Arc<World>>, request: Request) -> Response {
    let id = |body: Option<&Value>| Some(body?.get("model")?.as_str()?.to_owned());
    run(world, &DIALECT, id, request, answer).await
}

async fn models(State(world): State<Arc<World>>, request: Request) -> Response {
    let list = |exchange: &mut Exchange| {
        let model =
            |id: &&str| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "sim"});
        let models: Vec<_> = DIALECT.assistants.iter().map(model).collect();
        let list = json!({"object": "list", "data": models});
        Ok(Reply { status: 200, script: Script::json(exchange.plan.framing, &list) })
    };
    run(world, &DIALECT, |_| None, request, list).await
}

async fn elsewhere(State(world): State<Arc<World>>, request: Request) -> Response {
    let nothing = |_: &mut Exchange| Err(Refusal::new(404, "Unknown request URL").into());
    run(world, &DIALECT, |_| None, request, nothing).await
}

fn authorize(headers: &HeaderMap) -> Result<(), Refusal> {
    let refusal = || Refusal::new(401, "Incorrect API key provided").code("invalid_api_key");
    if is_bearer(headers, KEY) { Ok(()) } else { Err(refusal()) }
}

fn error(refusal: &Refusal, _plan: &Plan, _request_id: &str) -> String {
    let (kind, code) = match refusal.status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        402 => ("insufficient_quota", Some("insufficient_quota")),
        403 => ("permission_error", None),
        429 => ("rate_limit_error", Some("rate_limit_exceeded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let code = refusal.code.or(code);
    json!({"error": {"message": refusal.message, "type": kind, "param": refusal.field, "code": code}})
        .to_string()
}

/// What is said: words, or the call of a tool.
struct Saying<'a> {
    call: Call<'a>,
    wording: Wording,
    /// A tool's name, and its arguments as JSON in a string.
    tool: Option<(&'a str, String)>,
    usage: Usage,
    id: String,
    created: u64,
}

impl Saying<'_> {
    fn finish(&self) -> &'static str {
        if self.tool.is_some() { "tool_calls" } else { self.wording.finish.word() }
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "total_tokens": self.usage.prompt_tokens + self.usage.completion_tokens,
        })
    }

    fn tool_id(&self) -> String {
        format!("call_{}", self.id)
    }
}

fn answer(exchange: &mut Exchange) -> Result<Reply, Stop> {
    let body = exchange.json()?;
    let empty = Map::new();
    let call = check::read(body.as_object().unwrap_or(&empty))?;
    exchange.assistant(call.model)?;
    let wants_tool = call.message.to_lowercase().contains("use the tool") && call.tool_results.is_empty();
    let tool = call.tool.filter(|_| wants_tool);
    let tool = tool.map(|name| (name, json!({"query": excerpt(&call.message)}).to_string()));
    let memory = if exchange.plan.has("no-memory") { &[] } else { call.replayed.as_slice() };
    let instructions: Vec<&str> = call.instructions.iter().map(String::as_str).collect();
    let results = call.tool_results.iter().map(|result| format!("The tool said «{}». ", excerpt(result)));
    let results: String = results.collect();
    let prompt = Prompt {
        seed: exchange.world.seed,
        provider: DIALECT.name,
        assistant: call.model,
        conversation: "",
        message: &call.message,
        memory,
        instructions: &instructions,
        pictures: call.pictures,
    };
    let mut wording = exchange.wording(&prompt);
    if !results.is_empty() && !wording.text().is_empty() {
        wording = Wording::plain(results + wording.text());
    }
    let read = memory.iter().map(|message| tokens(&message.text)).sum::<u64>()
        + instructions.iter().map(|text| tokens(text)).sum::<u64>()
        + tokens(&call.message);
    let written = tool.as_ref().map_or_else(|| tokens(wording.text()), |(_, arguments)| tokens(arguments));
    let context_messages =
        call.replayed.iter().filter(|message| matches!(message.role, Role::User | Role::Assistant)).count()
            as u64;
    let usage =
        Usage { context_messages, prompt_tokens: read, completion_tokens: written, ..Usage::default() };
    exchange.usage = Some(usage);
    let id = hex24(exchange.world.fresh());
    let saying = Saying { call, wording, tool, usage, id, created: now_ms() / 1_000 };
    let script = if exchange.streams(saying.call.stream) {
        stream(exchange, &saying)
    } else {
        Script::json(exchange.plan.framing, &whole(&saying))
    };
    Ok(Reply { status: 200, script })
}

fn whole(saying: &Saying<'_>) -> Value {
    let message = match &saying.tool {
        Some((name, arguments)) => json!({
            "role": "assistant",
            "content": null,
            "tool_calls": [{
                "id": saying.tool_id(),
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }],
        }),
        None if saying.wording.absent => json!({"role": "assistant"}),
        None => json!({"role": "assistant", "content": saying.wording.text()}),
    };
    let mut answer = json!({
        "id": format!("chatcmpl-{}", saying.id),
        "object": "chat.completion",
        "created": saying.created,
        "model": saying.call.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": saying.finish()}],
        "usage": saying.usage(),
    });
    if let (Some(answer), Some(echo)) = (answer.as_object_mut(), saying.call.echo()) {
        answer.insert("x_echo".into(), echo);
    }
    answer
}

/// An event.
#[derive(Serialize)]
struct Chunk<'a, D> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice<D>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_echo: Option<Value>,
}

#[derive(Serialize)]
struct Choice<D> {
    index: u8,
    delta: D,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Content<'a> {
    content: &'a str,
}

fn stream(exchange: &Exchange, saying: &Saying<'_>) -> Script {
    let mut script = exchange.stream(Media::Events, &saying.wording);
    let id = format!("chatcmpl-{}", saying.id);
    let mut push = |kind, choices: &[Choice<Value>], usage, x_echo| {
        script.push(kind, None, &chunk(&id, saying, choices, usage, x_echo));
    };
    let choice = |delta| [Choice { index: 0, delta, finish_reason: None }];
    push(Kind::Head, &choice(json!({"role": "assistant", "content": ""})), None, saying.call.echo());
    if let Some((name, arguments)) = &saying.tool {
        let call = json!({
            "index": 0, "id": saying.tool_id(), "type": "function", "function": {"name": name, "arguments": ""},
        });
        push(Kind::Text, &choice(json!({"tool_calls": [call]})), None, None);
        // The arguments come in two parts, as they do from a model.
        let (begun, rest) = arguments.split_at(arguments.floor_char_boundary(arguments.len() / 2));
        for part in [begun, rest] {
            let call = json!({"index": 0, "function": {"arguments": part}});
            push(Kind::Text, &choice(json!({"tool_calls": [call]})), None, None);
        }
    } else {
        for piece in saying.wording.pieces() {
            let choices = [Choice { index: 0, delta: Content { content: piece }, finish_reason: None }];
            script.push(Kind::Text, None, &chunk(&id, saying, &choices, None, None));
        }
    }
    let end = [Choice { index: 0, delta: json!({}), finish_reason: Some(saying.finish()) }];
    script.push(Kind::Tail, None, &chunk(&id, saying, &end, None, None));
    if saying.call.include_usage {
        script.push(Kind::Tail, None, &chunk::<Value>(&id, saying, &[], Some(saying.usage()), None));
    }
    script.push_text(Kind::Tail, None, "[DONE]");
    script
}

fn chunk<'a, D>(
    id: &'a str,
    saying: &'a Saying<'_>,
    choices: &'a [Choice<D>],
    usage: Option<Value>,
    x_echo: Option<Value>,
) -> Chunk<'a, D> {
    let (created, model) = (saying.created, saying.call.model);
    Chunk { id, object: "chat.completion.chunk", created, model, choices, usage, x_echo }
}

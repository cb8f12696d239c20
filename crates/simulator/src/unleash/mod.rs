//! Unleash: `POST /chats`.
//!
//! Source: help.unleash.so/apidocs/chat-with-assistant and /authentication [D]; the official SDK and its OpenAPI file
//! for the parts' content, the stream and the error's `reason` [P]. Names and enums are taken as documented, capital
//! letters and all, though the server probably knows others too [I]. Not documented, and chosen here: `Message` events
//! carry deltas ([U]; `fault-cumulative`) under `message` ([D] by the schema; `shape-flat-message` [P]), `Full` comes
//! at the end of a stream ([U]; `shape-no-full`), `References` before the text ([U]; `shape-references-last`), `indices`
//! count `references` from 0 ([U]; `shape-one-based`), a thread is remembered and set before what is sent ([U]), an
//! unknown thread is a 404 ([U]), the missing impersonation header a 403 ([U]), errors other than 400 have the same
//! form ([U]), and their label ([I] RFC 7807's).

mod check;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::chance::{hash, uuid};
use crate::conversations::{Key, Remembered};
use crate::exchange::{Dialect, Exchange, Refusal, Reply, Stop, is_bearer, run};
use crate::faults::Plan;
use crate::script::{Kind, Media, Script};
use crate::text::{Prompt, Wording};
use crate::world::World;
use crate::{KEY, KEY_IMPERSONATED};

pub(crate) const DIALECT: Dialect = Dialect {
    name: "unleash",
    assistants: &["3f2b6c1e-8d4a-4f0b-9a67-2c5d1e7f9b03", "b7d9e0a2-5c31-4e8f-8b64-90f1a3c2d7e5"],
    authorize,
    wrong_label: 415,
    error,
    error_label: "application/problem+json",
    error_event: None,
    headers,
    unknown: |_| Refusal::new(404, "Assistant not found"),
};

/// The provider's routes.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new().route("/chats", post(chats)).fallback(elsewhere)
}

async fn chats(State(world): State<Arc<World>>, request: Request) -> Response {
    let id = |body: Option<&Value>| Some(body?.get("assistantId")?.as_str()?.to_owned());
    run(world, &DIALECT, id, request, answer).await
}

async fn elsewhere(State(world): State<Arc<World>>, request: Request) -> Response {
    run(world, &DIALECT, |_| None, request, |_| Err(Refusal::new(404, "Not found").into())).await
}

fn authorize(headers: &HeaderMap) -> Result<(), Refusal> {
    if is_bearer(headers, KEY) {
        return Ok(());
    }
    if !is_bearer(headers, KEY_IMPERSONATED) {
        return Err(Refusal::new(401, "The API key is missing or not valid"));
    }
    let account = headers.get("unleash-account").is_some_and(|account| !account.is_empty());
    if account {
        return Ok(());
    }
    let message = "This key acts for an account that the unleash-account header names";
    Err(Refusal::new(403, message).code("Missing impersonation header"))
}

fn headers(request_id: &str, headers: &mut HeaderMap) {
    if let Ok(request_id) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static("requestid"), request_id);
    }
}

/// RFC 7807 [D].
fn error(refusal: &Refusal, plan: &Plan, request_id: &str) -> String {
    let title = match (refusal.status, &refusal.field) {
        (400, Some(_)) => "One or more validation errors occurred.",
        (400, None) => "Bad Request",
        (401, _) => "Unauthorized",
        (403, _) => "Forbidden",
        (404, _) => "Not Found",
        (415, _) => "Unsupported Media Type",
        (429, _) => "Too Many Requests",
        (500.., _) => "An error occurred while processing your request.",
        _ => "Error",
    };
    let mut problem = json!({
        "type": "https://tools.ietf.org/html/rfc9110#section-15",
        "title": title,
        "status": refusal.status,
        "detail": refusal.message,
        "instance": "/chats",
    });
    if let Some(problem) = problem.as_object_mut() {
        if let Some(field) = &refusal.field {
            problem.insert("errors".into(), json!({field.as_str(): [refusal.message]}));
        }
        if let Some(reason) = refusal.code {
            problem.insert("reason".into(), reason.into());
        }
        if !plan.has("header-id") {
            problem.insert("requestId".into(), request_id.into());
        }
    }
    problem.to_string()
}

fn answer(exchange: &mut Exchange) -> Result<Reply, Stop> {
    let body = exchange.json()?;
    let empty = Map::new();
    let call = check::read(body.as_object().unwrap_or(&empty))?;
    // None is the default assistant, which nothing goes wrong with.
    if let Some(id) = call.assistant {
        exchange.assistant(id)?;
    }
    let (thread, mut memory) = match call.thread {
        None => (uuid(exchange.world.fresh()), Vec::new()),
        Some(id) => {
            let memory = exchange.world.recall(&exchange.plan, &key(id), usize::MAX);
            (id.to_owned(), memory.ok_or_else(|| Refusal::new(404, "Thread not found"))?)
        }
    };
    for (role, text) in &call.replayed {
        exchange.world.put_in(key(&thread), *role, text);
        memory.push(Remembered { role: *role, text: (*text).into() });
    }
    let wording = exchange.wording(&Prompt {
        seed: exchange.world.seed,
        provider: DIALECT.name,
        assistant: call.assistant.unwrap_or_default(),
        // A fresh thread's id would make two runs differ that were asked the same in another order.
        conversation: call.thread.unwrap_or_default(),
        message: call.message,
        memory: &memory,
        instructions: &call.instructions,
        pictures: 0,
    });
    exchange.world.remember(key(&thread), call.message, wording.text());
    let found = Found::new(exchange.world.seed, call.message, call.app, exchange.plan.has("one-based"));
    let script = if exchange.streams(call.stream) {
        events(exchange, &wording, &found, &thread)
    } else {
        Script::json(exchange.plan.framing, &whole(exchange, &wording, &found, &thread))
    };
    Ok(Reply { status: 200, script })
}

fn key(thread: &str) -> Key {
    Key { provider: DIALECT.name, scope: String::new(), id: thread.to_owned() }
}

/// What the search found, and how it is cited.
struct Found {
    resources: Value,
    references: Value,
    /// Index of the first citation.
    base: usize,
}

impl Found {
    /// Two documents; they come from `app`, if the filters name one.
    fn new(seed: u64, message: &str, app: Option<&str>, one_based: bool) -> Self {
        let app = app.unwrap_or("confluence");
        let titles = ["Handbook: how we answer", "Release notes — what changed"];
        let ids = [0_u8, 1].map(|number| uuid(hash(seed, &[message, app, &number.to_string()])));
        let resources = ids.iter().zip(titles).enumerate().map(|(number, (id, title))| {
            json!({
                "id": id,
                "appId": app,
                "type": "page",
                "externalId": format!("{app}-{number}"),
                "name": title,
                "data": {},
                "title": title,
                "subtitle": "Simulated source",
                "url": format!("https://docs.example.com/{app}/{id}"),
            })
        });
        let resources: Vec<Value> = resources.collect();
        let references = ids.map(|id| json!({"resourceId": id}));
        Self { resources: resources.into(), references: json!(references), base: usize::from(one_based) }
    }

    fn citation(&self, exchange: &Exchange, number: usize) -> Value {
        json!({"type": part_type(exchange, "InlineReference"), "indices": [self.base + number]})
    }
}

fn part_type(exchange: &Exchange, name: &'static str) -> &'static str {
    match (exchange.plan.has("lower-case"), name) {
        (true, "Text") => "text",
        (true, _) => "inlineReference",
        (false, _) => name,
    }
}

/// The documented answer, which also stands at the end of a stream.
fn whole(exchange: &Exchange, wording: &Wording, found: &Found, thread: &str) -> Value {
    let has = |shape| exchange.plan.has(shape);
    let request_id = (!has("header-id")).then_some(exchange.request_id.as_str());
    if has("2024") {
        return json!({
            "answer": {"answer": wording.text(), "resourceIds": [], "sources": []},
            "references": found.references,
            "requestId": request_id,
        });
    }
    let text = |text: &str| json!({"type": part_type(exchange, "Text"), "format": "markdown", "text": text});
    let repeated = wording.repeated();
    let (before, after) = repeated.split_at(middle(&repeated, wording));
    let parts = [text(before), found.citation(exchange, 0), text(after), found.citation(exchange, 1)];
    let mut answer = json!({
        "type": "Full",
        "requestId": request_id,
        "message": {"role": "Assistant", "parts": (!wording.absent).then_some(parts)},
        "resources": found.resources,
        "references": found.references,
        "threadId": thread,
    });
    if let Some(answer) = answer.as_object_mut() {
        answer
            .retain(|name, _| !(name == "type" && has("no-type") || name == "threadId" && has("no-thread")));
    }
    answer
}

/// Where the first citation stands in the whole answer: where the stream has it, behind its middle piece.
fn middle(repeated: &str, wording: &Wording) -> usize {
    let pieces: Vec<&str> = wording.pieces().collect();
    let bytes = pieces.iter().take(pieces.len() / 2 + 1).map(|piece| piece.len()).sum();
    let place = if pieces.len() > 1 { bytes } else { repeated.len() / 2 };
    repeated.floor_char_boundary(place.min(repeated.len()))
}

#[derive(Serialize)]
struct Nested<P> {
    r#type: &'static str,
    message: Spoken<P>,
}

#[derive(Serialize)]
struct Flat<P> {
    r#type: &'static str,
    #[serde(flatten)]
    message: Spoken<P>,
}

#[derive(Serialize)]
struct Spoken<P> {
    role: &'static str,
    parts: [P; 1],
}

#[derive(Serialize)]
struct TextPart<'a> {
    r#type: &'static str,
    format: &'static str,
    text: &'a str,
}

fn events(exchange: &Exchange, wording: &Wording, found: &Found, thread: &str) -> Script {
    let has = |shape| exchange.plan.has(shape);
    let mut script = exchange.stream(Media::Events, wording);
    let request_id = (!has("header-id")).then_some(exchange.request_id.as_str());
    script.push(Kind::Head, None, &json!({"type": "Request", "requestId": request_id}));
    script.push(Kind::Head, None, &json!({"type": "Progress", "code": "file_search"}));
    script.push(Kind::Head, None, &json!({"type": "Resources", "resources": found.resources}));
    let references = json!({"type": "References", "references": found.references});
    if !has("references-last") {
        script.push(Kind::Head, None, &references);
    }
    let kind = part_type(exchange, "Text");
    let pieces: Vec<&str> = wording.pieces().collect();
    // Cited in the middle and at the end; not where each piece is all of the text so far.
    let cited = |place: usize| place == pieces.len() / 2 || place + 1 == pieces.len();
    let mut citations = 0;
    for (place, text) in pieces.iter().enumerate() {
        say(exchange, &mut script, Kind::Text, TextPart { r#type: kind, format: "markdown", text });
        if cited(place) && citations < 2 && pieces.len() > 1 {
            say(exchange, &mut script, Kind::Head, found.citation(exchange, citations));
            citations += 1;
        }
    }
    if has("references-last") {
        script.push(Kind::Tail, None, &references);
    }
    if has("no-full") {
        // The thread has to be said somewhere; where is unknown [U].
        let thread = (!has("no-thread")).then_some(thread);
        script.push(
            Kind::Tail,
            None,
            &json!({"type": "Request", "requestId": request_id, "threadId": thread}),
        );
    } else {
        script.push(Kind::Tail, None, &whole(exchange, wording, found, thread));
    }
    if has("done") {
        script.push_text(Kind::Tail, None, "[DONE]");
    }
    script
}

fn say<P: Serialize>(exchange: &Exchange, script: &mut Script, kind: Kind, part: P) {
    let message = Spoken { role: "Assistant", parts: [part] };
    if exchange.plan.has("flat-message") {
        script.push(kind, None, &Flat { r#type: "Message", message });
    } else {
        script.push(kind, None, &Nested { r#type: "Message", message });
    }
}

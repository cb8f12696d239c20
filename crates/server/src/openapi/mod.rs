//! The API's description: OpenAPI 3.1, put together from the types that routes read and write, and a page that shows it.
//!
//! `operations/` lists what can be asked, `errors.rs` gives each error its response by the table of `error.rs`, `schemas.rs` makes
//! schemas of types. The examples in `examples.json` were recorded from a gateway; a test runs them again.

mod dialect_event;
mod errors;
mod event;
mod operation;
mod operations;
mod page;
mod schemas;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::Envelope;
use crate::openai::Failure;
use operation::{Door, Operation};
use schemas::Schemas;

pub(crate) use page::page;

/// Recorded requests and their answers, in the order in which they were made. Those of OpenAI's dialect stand for both of its roots.
const EXAMPLES: &str = include_str!("examples.json");

/// The document as JSON text: the same for every gateway of this version.
static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n");

/// The OpenAPI 3.1 document of the API, as JSON text.
#[must_use]
pub fn openapi() -> &'static str {
    &DOCUMENT
}

/// `GET /openapi.json`.
pub(crate) async fn json() -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")], openapi()).into_response()
}

/// A request that was made of a gateway, and its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    /// The operation's id.
    operation: String,
    /// The example's name.
    name: String,
    /// What it shows.
    summary: String,
    #[serde(default)]
    #[expect(dead_code, reason = "for the test that runs the examples")]
    path: Map<String, Value>,
    #[serde(default)]
    #[expect(dead_code, reason = "for the test that runs the examples")]
    query: Map<String, Value>,
    #[serde(default)]
    #[expect(dead_code, reason = "for the test that runs the examples")]
    headers: Map<String, Value>,
    body: Option<Value>,
    status: u16,
    media: Option<String>,
    answer: Option<Value>,
}

fn document() -> Value {
    let mut schemas = Schemas::new();
    let _ = (schemas.answered::<Envelope<'static>>(), schemas.answered::<Failure<'static>>());
    let operations = operations::all(&mut schemas);
    let mut paths = Map::new();
    for operation in operations {
        let (path, method) = (operation.path.clone(), operation.method.to_ascii_lowercase());
        let item = paths.entry(path).or_insert_with(|| path_item(&operation));
        if let Some(item) = item.as_object_mut() {
            item.insert(method, operation.into_json());
        }
    }
    // A file that cannot be read shows as a document without examples, which the golden file does not match.
    let examples: Vec<Example> = serde_json::from_str(EXAMPLES).unwrap_or_default();
    examples.iter().for_each(|example| show(example, &mut paths));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Switchboard",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "One API for assistant services.",
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The gateway that this document came from."}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "tags": tags(),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key (`swk_…`, or one of the configuration), or a browser's token (`swt_…`).",
                },
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same, in a header of its own."},
            },
            "parameters": parameters(),
            "headers": headers(),
            "responses": errors::shared(),
            "schemas": schemas.gathered(),
        },
    })
}

/// What stands beside a path's operations.
fn path_item(operation: &Operation) -> Value {
    let mut item = Map::new();
    if matches!(operation.door, Door::Admins | Door::OpenToAdmins) {
        let server = json!({"url": "http://127.0.0.1:9090", "description": "The admin listener, `server.admin_listen`."});
        item.insert("servers".to_owned(), json!([server]));
    }
    item.insert("parameters".to_owned(), json!([{"$ref": "#/components/parameters/x-request-id"}]));
    item.into()
}

/// Puts an example beside what it is an example of.
fn show(example: &Example, paths: &mut Map<String, Value>) {
    let names = [example.operation.clone(), operations::under_openai(&example.operation)];
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(|item| item.values_mut());
    for operation in operations {
        let name = operation.get("operationId").and_then(Value::as_str);
        if name.is_some_and(|name| names.iter().any(|one| one == name)) {
            show_at(example, operation);
        }
    }
}

fn show_at(example: &Example, operation: &mut Value) {
    let put = |place: Option<&mut Value>, value: &Value| {
        let Some(content) = place.and_then(Value::as_object_mut) else { return };
        let examples = content.entry("examples").or_insert_with(|| json!({}));
        if let Some(examples) = examples.as_object_mut() {
            examples.insert(example.name.clone(), json!({"summary": example.summary, "value": value}));
        }
    };
    // What is refused is no example of what to send.
    if let Some(body) = example.body.as_ref().filter(|_| example.status < 400) {
        put(operation.pointer_mut("/requestBody/content/application~1json"), body);
    }
    if let (Some(answer), Some(media)) = (&example.answer, &example.media) {
        let place = format!("/responses/{}/content/{}", example.status, media.replace('/', "~1"));
        put(operation.pointer_mut(&place), answer);
    }
}

fn tags() -> Value {
    json!([
        {"name": "Turns", "description": "One request for a reply: the user's message in, the assistant's message out."},
        {"name": "Conversations", "description": "Sequences of messages that the gateway keeps, whatever the provider remembers."},
        {"name": "Messages", "description": "Who said what in a conversation."},
        {"name": "Assistants", "description": "Names to ask for; each points at one provider's assistant."},
        {"name": "Usage", "description": "What was used, as far as the providers report it."},
        {"name": "Tokens", "description": "Short-lived bearers for browsers."},
        {"name": "OpenAI", "description": "OpenAI's dialect of the same turns, under `/v1` and under `/openai/v1`: what a client of theirs takes as \
            its base URL. Fields that are not known here are let through."},
        {"name": "Health", "description": "For orchestrators, and for those who read this. No key is asked for."},
        {"name": "Admin", "description": "For operators, at a listener of its own, with a key that has `admin`."},
    ])
}

fn parameters() -> Value {
    json!({
        "x-request-id": {
            "name": "x-request-id", "in": "header",
            "description": "Names the request, in the answer and in the gateway's log, if it is 1 to 128 of `A–Z a–z 0–9 . _ -`; else a new name is given.",
            "schema": {"type": "string"},
        },
        "Idempotency-Key": {
            "name": "Idempotency-Key", "in": "header",
            "description": "Makes the request repeatable: the same key with the same body (but for `stream`) gives the same result again; with another body it is a conflict.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        },
        "Last-Event-ID": {
            "name": "Last-Event-ID", "in": "header",
            "description": "The number of the last event that was read; 0 is the start. Goes before `after`.",
            "schema": {"type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX},
        },
        "limit": {
            "name": "limit", "in": "query", "description": "How many at most.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
        },
        "cursor": {
            "name": "cursor", "in": "query", "description": "Where to go on: the `next_cursor` of the page before.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 4096},
        },
    })
}

fn headers() -> Value {
    json!({
        "x-request-id": {
            "description": "The request's name: the client's, or a new one.",
            "required": true,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        },
        "x-turn-id": {
            "description": "The turn that the answer is about.",
            "schema": {"$ref": "#/components/schemas/TurnId"},
        },
        "retry-after": {
            "description": "In how many seconds to try again, wherever waiting helps.",
            "schema": {"type": "integer", "minimum": 1},
        },
        "x-should-retry": {
            "description": "Stands where a repeat does not help, for clients that would repeat by themselves.",
            "schema": {"type": "string", "const": "false"},
        },
        "x-ignored-parameters": {
            "description": "The parameters that the assistant cannot honour, with commas between them.",
            "schema": {"type": "string", "examples": ["temperature, max_tokens"]},
        },
        "x-upstream-model": {
            "description": "The provider's own model, where it is known.",
            "schema": {"type": "string"},
        },
        "www-authenticate": {
            "description": "How to authenticate.",
            "required": true,
            "schema": {"type": "string", "const": "Bearer"},
        },
        "allow": {
            "description": "The methods that the path takes.",
            "required": true,
            "schema": {"type": "string"},
        },
        "ratelimit-policy": {
            "description": "For keys with a rate: how many requests in how many seconds (IETF draft).",
            "schema": {"type": "string", "examples": ["\"requests\";q=600;w=60"]},
        },
        "ratelimit": {
            "description": "For keys with a rate: requests that could be made now, and seconds until the whole burst could.",
            "schema": {"type": "string", "examples": ["\"requests\";r=59;t=1"]},
        },
    })
}

const ABOUT: &str = "A gateway between applications and assistant services: every provider behind it is an assistant with a name. JSON in \
and out, in UTF-8. Times are RFC 3339, ids are opaque strings with a prefix. Fields that a request does not have are refused by name; null \
says the same as leaving a field out (in a PATCH it clears).\n\n\
Errors are `{\"error\": {…}}` with a `code` that programs can rely on. `retryable` says whether the same request may do better later, \
`retry-after` when. Where a path takes no such method the answer is 405 with `allow`; a path that is not there is 404 `route_not_found`. \
GET routes answer HEAD.\n\n\
An event stream is described by the schema of one of its events.\n\n\
Lists are pages: ask with `cursor` set to `next_cursor` for the next one.";

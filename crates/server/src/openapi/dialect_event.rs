//! What OpenAI's dialect streams, as its JSON is described. `openai/` writes Responses' events by their parts; the dialect's tests hold
//! every event that they read to these shapes.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::openai::completions::chunks::Chunk;
use crate::openai::item::{Item, Piece};
use crate::openai::responses::object::Object;
use crate::openai::{Failure, Shown};

/// What a provider of the same dialect answered: passed on with every field as it came, but for these two.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "PassedOn", extend("additionalProperties" = true))]
pub(super) struct PassedOn {
    /// The turn's id with another prefix.
    #[schemars(extend("pattern" = "^chatcmpl-[0-9a-f]{32}$"))]
    id: String,
    /// The assistant that answered.
    model: String,
}

/// One of a completion's server-sent events. Lines that begin with `:` are heartbeats.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ChatCompletionFrame")]
pub(super) struct ChatFrame {
    #[schemars(schema_with = "chunk")]
    data: String,
}

fn chunk(generator: &mut SchemaGenerator) -> Schema {
    let told = [
        generator.subschema_for::<Chunk<'static>>(),
        generator.subschema_for::<PassedOn>(),
        generator.subschema_for::<Failure<'static>>(),
    ];
    json_schema!({
        "description": "One line: a chunk as JSON, and `[DONE]` after the last one. A stream that broke off ends with an error and without it.",
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": told},
    })
}

/// One of a response's server-sent events, by its lines. Lines that begin with `:` are heartbeats.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ResponseFrame")]
pub(super) struct ResponseFrame {
    /// The event's type, as in its data.
    event: String,
    /// One line of JSON.
    #[schemars(schema_with = "json_of_event")]
    data: String,
}

fn json_of_event(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": generator.subschema_for::<StreamEvent>(),
    })
}

/// An event of a response's stream: the JSON of a `data:` line. It has the same `sequence_number` whoever reads, and whenever.
#[derive(JsonSchema, Serialize)]
#[serde(tag = "type")]
#[expect(dead_code, reason = "for its description alone")]
enum StreamEvent {
    /// The turn is accepted.
    #[serde(rename = "response.created")]
    Created {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The response as it stands.
        response: Box<Object<'static>>,
    },
    /// It waits for another turn of its conversation.
    #[serde(rename = "response.queued")]
    Queued {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The response as it stands.
        response: Box<Object<'static>>,
    },
    /// It runs.
    #[serde(rename = "response.in_progress")]
    InProgress {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The response as it stands.
        response: Box<Object<'static>>,
    },
    /// The end: the reply is whole.
    #[serde(rename = "response.completed")]
    Completed {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The response as it stands.
        response: Box<Object<'static>>,
    },
    /// The end: the reply stopped short, or was cancelled.
    #[serde(rename = "response.incomplete")]
    Incomplete {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The response as it stands.
        response: Box<Object<'static>>,
    },
    /// The reply broke off: an `error` follows.
    #[serde(rename = "response.failed")]
    Failed {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The response as it stands.
        response: Box<Object<'static>>,
    },
    /// An item begins.
    #[serde(rename = "response.output_item.added")]
    ItemAdded {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// Its place in the response's `output`.
        output_index: usize,
        /// The item as it stands.
        item: Item,
    },
    /// An item is whole.
    #[serde(rename = "response.output_item.done")]
    ItemDone {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// Its place in the response's `output`.
        output_index: usize,
        /// The item as it stands.
        item: Item,
    },
    /// A part of an item begins.
    #[serde(rename = "response.content_part.added")]
    PartAdded {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The item that it belongs to.
        item_id: String,
        /// The item's place.
        output_index: usize,
        /// The part's place in the item.
        content_index: usize,
        /// The part as it stands.
        part: Piece,
    },
    /// A part of an item is whole.
    #[serde(rename = "response.content_part.done")]
    PartDone {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The item that it belongs to.
        item_id: String,
        /// The item's place.
        output_index: usize,
        /// The part's place in the item.
        content_index: usize,
        /// The part as it stands.
        part: Piece,
    },
    /// Text to append.
    #[serde(rename = "response.output_text.delta")]
    TextDelta {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The item that it belongs to.
        item_id: String,
        /// The item's place.
        output_index: usize,
        /// The part's place in the item.
        content_index: usize,
        /// The text.
        delta: String,
        /// Always empty.
        logprobs: [(); 0],
    },
    /// The text is whole.
    #[serde(rename = "response.output_text.done")]
    TextDone {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The item that it belongs to.
        item_id: String,
        /// The item's place.
        output_index: usize,
        /// The part's place in the item.
        content_index: usize,
        /// The text.
        text: String,
        /// Always empty.
        logprobs: [(); 0],
    },
    /// Arguments of a call, to append.
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The item that they belong to.
        item_id: String,
        /// The item's place.
        output_index: usize,
        /// A piece of their JSON.
        delta: String,
    },
    /// The arguments of a call are whole.
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// The item that they belong to.
        item_id: String,
        /// The item's place.
        output_index: usize,
        /// The function.
        name: String,
        /// Their JSON.
        arguments: String,
    },
    /// The end: the stream broke off.
    #[serde(rename = "error")]
    Error {
        /// The event's number: 0, 1, 2 …
        sequence_number: u64,
        /// Which error.
        code: chat::ErrorCode,
        /// A sentence for people.
        message: String,
        /// The field that is at fault.
        param: Option<String>,
        /// The same, where OpenAI's clients look for it.
        error: Shown<'static>,
    },
}

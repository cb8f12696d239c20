//! The events of a stream, as their JSON is described. `chat` writes that JSON by hand; a test holds every event that it writes to
//! these shapes.

use chat::{Source, Turn};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

/// One of a stream's server-sent events, by its lines. Lines that begin with `:` are heartbeats.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ServerSentEvent")]
pub(super) struct Frame {
    /// The event's number: 1, 2, 3 …
    #[schemars(extend("pattern" = "^[1-9][0-9]*$"))]
    id: String,
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
        "contentSchema": generator.subschema_for::<Event>(),
    })
}

/// An event of a turn's stream: the JSON of a `data:` line.
#[derive(JsonSchema, Serialize)]
#[serde(tag = "type")]
#[expect(dead_code, reason = "for its description alone")]
enum Event {
    /// The turn is accepted and durable. Once, first: before the provider answers.
    #[serde(rename = "turn.started")]
    Started {
        /// The event's number: 1, 2, 3 …
        #[schemars(range(min = 1))]
        seq: u64,
        /// The turn as it stands.
        turn: Turn,
    },
    /// What the provider is doing (`web_search`), or the gateway for its sake (`retry`, `fallback`).
    #[serde(rename = "turn.progress")]
    Progress {
        /// The event's number.
        #[schemars(range(min = 1))]
        seq: u64,
        /// The step. What belongs to it stands beside it; there can be more than is listed here.
        step: String,
        /// Of `retry` and `fallback`: the assistant that is asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        assistant: Option<String>,
        /// Of `retry`: the error code of the call that failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Of `retry`: in how many milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
    /// All sources known so far, in place of the list before.
    #[serde(rename = "turn.sources")]
    Sources {
        /// The event's number.
        #[schemars(range(min = 1))]
        seq: u64,
        /// The whole list.
        sources: Vec<Source>,
    },
    /// Text to append.
    #[serde(rename = "message.delta")]
    Delta {
        /// The event's number.
        #[schemars(range(min = 1))]
        seq: u64,
        /// It.
        text: String,
    },
    /// At this place in the text these sources are cited.
    #[serde(rename = "message.citation")]
    Citation {
        /// The event's number.
        #[schemars(range(min = 1))]
        seq: u64,
        /// The ids of the sources.
        source_ids: Vec<String>,
    },
    /// All the text so far is replaced, and the citations before are dropped: the provider corrected itself. Rare.
    #[serde(rename = "message.replaced")]
    Replaced {
        /// The event's number.
        #[schemars(range(min = 1))]
        seq: u64,
        /// The text from now on.
        text: String,
    },
    /// The end: the reply is whole. Last.
    #[serde(rename = "turn.completed")]
    Completed {
        /// The event's number.
        #[schemars(range(min = 1))]
        seq: u64,
        /// The turn.
        turn: Turn,
    },
    /// The end: the reply broke off or was cut. Last.
    #[serde(rename = "turn.incomplete")]
    Incomplete {
        /// The event's number.
        #[schemars(range(min = 1))]
        seq: u64,
        /// The turn, with the text that came.
        turn: Turn,
    },
    /// The end: no text came; the turn's `error` says why. Last.
    #[serde(rename = "turn.failed")]
    Failed {
        /// The event's number.
        #[schemars(range(min = 1))]
        seq: u64,
        /// The turn.
        turn: Turn,
    },
    /// The end: a client stopped it. Last.
    #[serde(rename = "turn.cancelled")]
    Cancelled {
        /// The event's number.
        #[schemars(range(min = 1))]
        seq: u64,
        /// The turn, with the text that came.
        turn: Turn,
    },
}

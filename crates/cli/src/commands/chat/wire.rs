//! The public API's JSON, as far as the client reads it. What it does not know it leaves alone.

use serde::{Deserialize, Serialize};

/// A turn to ask for.
#[derive(Debug, Serialize)]
pub(super) struct Ask<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) assistant: Option<String>,
    pub(super) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) conversation_id: Option<&'a str>,
    pub(super) stream: bool,
}

/// An event of a turn.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) seq: u64,
    pub(super) turn: Option<Turn>,
    pub(super) text: Option<String>,
    pub(super) sources: Option<Vec<Source>>,
    pub(super) source_ids: Option<Vec<String>>,
    pub(super) step: Option<String>,
    pub(super) assistant: Option<String>,
}

/// A turn.
#[derive(Debug, Deserialize)]
pub(super) struct Turn {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) conversation_id: Option<String>,
    #[serde(default)]
    pub(super) sources: Vec<Source>,
    pub(super) error: Option<Error>,
}

/// What a reply rests on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Source {
    pub(super) id: String,
    pub(super) title: Option<String>,
    pub(super) url: Option<String>,
}

/// A list of assistants.
#[derive(Debug, Deserialize)]
pub(super) struct Assistants {
    pub(super) data: Vec<Assistant>,
}

/// An assistant.
#[derive(Debug, Deserialize)]
pub(super) struct Assistant {
    pub(super) name: String,
}

/// The body of a refusal.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: Error,
}

/// What went wrong.
#[derive(Debug, Deserialize)]
pub(super) struct Error {
    pub(super) code: String,
    pub(super) message: String,
}

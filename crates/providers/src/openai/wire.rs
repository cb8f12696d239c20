//! OpenAI's JSON.
//!
//! Source: platform.openai.com/docs/api-reference/chat (`create`, `object`, `streaming`).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The body of a call that the gateway writes itself.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    pub(super) content: Content<'a>,
}

/// Text alone is sent as a string: every server takes that, not every one takes parts.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(String),
    Parts(Vec<Part<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Debug, Serialize)]
pub(super) struct ImageUrl<'a> {
    pub(super) url: &'a str,
}

/// A completion, or a chunk of one. Fields that servers write in their own ways are raw.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Completion {
    pub(super) id: Option<Box<RawValue>>,
    pub(super) model: Option<Box<RawValue>>,
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<Box<RawValue>>,
    pub(super) error: Option<Box<RawValue>>,
    /// vLLM's errors: `{"object": "error", "message", "type", "code"}`; others: `{"detail"}`.
    pub(super) object: Option<Box<RawValue>>,
    pub(super) message: Option<Box<RawValue>>,
    pub(super) detail: Option<Box<RawValue>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Box<RawValue>>,
    pub(super) code: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) index: Option<u64>,
    /// In a chunk.
    pub(super) delta: Option<Said>,
    /// In a whole completion.
    pub(super) message: Option<Said>,
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    /// A string, or parts.
    pub(super) content: Option<Box<RawValue>>,
    /// The model's own words on why it does not answer.
    pub(super) refusal: Option<Box<RawValue>>,
    pub(super) tool_calls: Option<Vec<ToolCall>>,
    /// How a tool was called before `tool_calls`.
    pub(super) function_call: Option<Function>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) function: Option<Function>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<Box<RawValue>>,
}

/// A part of a content that is no string.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SaidPart {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) text: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<Box<RawValue>>,
    pub(super) completion_tokens: Option<Box<RawValue>>,
    pub(super) total_tokens: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Error {
    pub(super) message: Option<Box<RawValue>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Box<RawValue>>,
    pub(super) code: Option<Box<RawValue>>,
}

//! A turn as a completion.

use axum::body::Body;
use axum::response::Response;
use chat::{Source, Turn};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::openai::shape::{self, Counts, Usage};

/// OpenAI's `chat.completion`.
#[derive(Debug, Serialize)]
pub(super) struct Completion<'a> {
    id: String,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    usage: Option<Usage>,
    /// What the reply rests on: not OpenAI's.
    #[serde(skip_serializing_if = "<[Source]>::is_empty")]
    sources: &'a [Source],
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u8,
    message: Message<'a>,
    logprobs: (),
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: (),
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

/// OpenAI's tool call; in a chunk it has its index.
#[derive(Debug, Serialize)]
pub(super) struct ToolCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Completion<'a> {
    /// The completion that a whole turn is.
    pub(super) fn of(turn: &'a Turn) -> Self {
        let text = turn.message.as_ref().map(|message| message.content.text()).unwrap_or_default();
        let tool_calls = tool_calls(turn, |_| None);
        let content = (!text.is_empty() || tool_calls.is_empty()).then(|| text.into_owned());
        let message = Message { role: "assistant", content, refusal: (), tool_calls };
        Self {
            id: shape::id(super::PREFIX, turn.id),
            object: "chat.completion",
            created: shape::seconds(turn.created_at),
            model: turn.assistant.as_str(),
            choices: [Choice { index: 0, message, logprobs: (), finish_reason: shape::finish_reason(turn) }],
            usage: Counts::of(turn).map(Usage::from),
            sources: &turn.sources,
        }
    }
}

/// The tools that the reply calls.
pub(super) fn tool_calls(turn: &Turn, index: impl Fn(usize) -> Option<usize>) -> Vec<ToolCall<'_>> {
    let call = |(place, (id, name, arguments))| ToolCall {
        index: index(place),
        id,
        r#type: "function",
        function: Function { name, arguments },
    };
    shape::tool_calls(turn).enumerate().map(call).collect()
}

/// JSON that is written already.
pub(super) fn json(json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

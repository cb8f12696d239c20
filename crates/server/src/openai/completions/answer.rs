//! A turn as a completion.

use axum::body::Body;
use axum::response::Response;
use chat::{Source, Turn};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Serialize;

use crate::openai::shape::{self, Counts, Usage};

/// How many headers an answer has, and some.
const HEADERS: usize = 12;

/// OpenAI's `chat.completion`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletion")]
pub(crate) struct Completion<'a> {
    /// The turn's id with another prefix.
    #[schemars(extend("pattern" = "^chatcmpl-[0-9a-f]{32}$"))]
    id: String,
    #[schemars(extend("const" = "chat.completion"))]
    object: &'static str,
    /// When it was asked for, in seconds since 1970.
    created: i64,
    /// The assistant that answered: a fallback has another name than the one that was asked.
    model: &'a str,
    choices: [Choice<'a>; 1],
    /// Null where the provider reports no tokens.
    usage: Option<Usage>,
    /// What the reply rests on: not OpenAI's.
    #[serde(skip_serializing_if = "<[Source]>::is_empty")]
    sources: &'a [Source],
}

/// The one answer that there is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletionChoice")]
struct Choice<'a> {
    /// Always 0.
    index: u8,
    message: Message<'a>,
    logprobs: (),
    /// Why it ended.
    #[schemars(extend("enum" = ["stop", "length", "content_filter", "tool_calls"]))]
    finish_reason: &'static str,
}

/// What the assistant said.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletionMessage")]
struct Message<'a> {
    #[schemars(extend("const" = "assistant"))]
    role: &'static str,
    /// Null where it only calls tools.
    content: Option<String>,
    refusal: (),
    /// The tools that are to be run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

/// OpenAI's tool call; in a chunk it has its index.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatToolCall")]
pub(crate) struct ToolCall<'a> {
    /// In a chunk: which of the calls it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize")]
    index: Option<usize>,
    /// What the tool's answer names.
    id: &'a str,
    #[schemars(extend("const" = "function"))]
    r#type: &'static str,
    function: Function<'a>,
}

/// The function, and what it is called with.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatToolCallFunction")]
struct Function<'a> {
    name: &'a str,
    /// JSON, as the model wrote it.
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
    // Room for all that the layers add: it would be made anew, and all of it moved.
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

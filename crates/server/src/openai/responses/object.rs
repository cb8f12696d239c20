//! A turn as a response.

use chat::{ConversationId, FinishReason, Metadata, Source, Turn, TurnError, TurnStatus};
use serde::Serialize;

use crate::openai::item::{Item, Piece};
use crate::openai::shape::{self, Counts};

/// What a request said that the turn does not keep: shown to who made it.
#[derive(Debug, Clone, Default)]
pub(super) struct Echo {
    pub(super) background: bool,
    pub(super) instructions: Option<String>,
    pub(super) previous_response_id: Option<String>,
    pub(super) user: Option<String>,
}

/// OpenAI's `response`.
#[derive(Debug, Serialize)]
pub(super) struct Object<'a> {
    id: String,
    object: &'static str,
    created_at: i64,
    completed_at: Option<i64>,
    status: &'static str,
    background: bool,
    conversation: Option<Conversation>,
    error: Option<Failed<'a>>,
    incomplete_details: Option<Details>,
    instructions: Option<&'a str>,
    max_output_tokens: (),
    max_tool_calls: (),
    model: &'a str,
    output: Vec<Item>,
    parallel_tool_calls: bool,
    previous_response_id: Option<&'a str>,
    reasoning: Reasoning,
    service_tier: &'static str,
    store: bool,
    temperature: (),
    text: Text,
    tool_choice: &'static str,
    tools: [(); 0],
    top_p: (),
    truncation: &'static str,
    usage: Option<Usage>,
    user: Option<&'a str>,
    metadata: &'a Metadata,
    /// What the reply rests on: not OpenAI's.
    #[serde(skip_serializing_if = "<[Source]>::is_empty")]
    sources: &'a [Source],
}

#[derive(Debug, Serialize)]
struct Conversation {
    id: ConversationId,
}

#[derive(Debug, Serialize)]
struct Failed<'a> {
    code: chat::ErrorCode,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct Details {
    reason: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Reasoning {
    effort: (),
    summary: (),
}

#[derive(Debug, Serialize)]
struct Text {
    format: Format,
}

#[derive(Debug, Serialize)]
struct Format {
    r#type: &'static str,
}

#[derive(Debug, Serialize)]
struct Usage {
    input_tokens: u64,
    input_tokens_details: Cached,
    output_tokens: u64,
    output_tokens_details: Thought,
    total_tokens: u64,
    /// Not OpenAI's, and not `cost`: as in Chat Completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    billed: Option<chat::Cost>,
}

#[derive(Debug, Default, Serialize)]
struct Cached {
    cached_tokens: u64,
}

#[derive(Debug, Default, Serialize)]
struct Thought {
    reasoning_tokens: u64,
}

impl From<Counts> for Usage {
    fn from(Counts { input, output, total, cost }: Counts) -> Self {
        Self {
            input_tokens: input,
            input_tokens_details: Cached::default(),
            output_tokens: output,
            output_tokens_details: Thought::default(),
            total_tokens: total,
            billed: cost,
        }
    }
}

impl<'a> Object<'a> {
    /// The response that a turn is, as it stands.
    pub(super) fn of(turn: &'a Turn, echo: &'a Echo) -> Self {
        let failed = |error: &'a TurnError| Failed { code: error.code, message: &error.message };
        Self {
            id: shape::id(super::PREFIX, turn.id),
            object: "response",
            created_at: shape::seconds(turn.created_at),
            completed_at: turn
                .completed_at
                .filter(|_| turn.status == TurnStatus::Completed)
                .map(shape::seconds),
            status: status(turn),
            background: echo.background,
            conversation: turn.conversation_id.map(|id| Conversation { id }),
            error: turn.error.as_ref().map(failed),
            incomplete_details: details(turn),
            instructions: echo.instructions.as_deref(),
            max_output_tokens: (),
            max_tool_calls: (),
            model: turn.assistant.as_str(),
            output: output(turn),
            parallel_tool_calls: true,
            previous_response_id: echo.previous_response_id.as_deref(),
            reasoning: Reasoning::default(),
            service_tier: "default",
            store: turn.conversation_id.is_some(),
            temperature: (),
            text: Text { format: Format { r#type: "text" } },
            tool_choice: "auto",
            tools: [],
            top_p: (),
            truncation: "disabled",
            usage: Counts::of(turn).map(Usage::from),
            user: echo.user.as_deref(),
            metadata: &turn.metadata,
            sources: &turn.sources,
        }
    }
}

/// OpenAI's word for how a turn stands. A reply that broke off has failed: it is not one that stopped short.
pub(super) fn status(turn: &Turn) -> &'static str {
    match turn.status {
        TurnStatus::Incomplete if turn.error.is_some() => "failed",
        status => status.as_str(),
    }
}

fn details(turn: &Turn) -> Option<Details> {
    (turn.status == TurnStatus::Incomplete && turn.error.is_none()).then(|| {
        let filtered = turn.finish_reason == Some(FinishReason::ContentFilter);
        Details { reason: if filtered { "content_filter" } else { "max_output_tokens" } }
    })
}

/// The reply as items: its words, then the calls of tools.
pub(super) fn output(turn: &Turn) -> Vec<Item> {
    let Some(message) = &turn.message else { return Vec::new() };
    let status = match turn.status {
        TurnStatus::Completed => "completed",
        TurnStatus::Queued | TurnStatus::InProgress => "in_progress",
        TurnStatus::Incomplete | TurnStatus::Failed | TurnStatus::Cancelled => "incomplete",
    };
    let text = message.content.text();
    let words = (!text.is_empty()).then(|| Item::Message {
        id: message.id.to_string(),
        status,
        role: "assistant",
        content: vec![Piece::output(text)],
    });
    let calls = Item::calls(&message.content, &message.id.uuid().simple().to_string(), status);
    words.into_iter().chain(calls).collect()
}

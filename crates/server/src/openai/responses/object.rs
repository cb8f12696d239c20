//! A turn as a response.

use chat::{ConversationId, FinishReason, Metadata, Source, Turn, TurnError, TurnStatus};
use schemars::JsonSchema;
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
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Response")]
pub(crate) struct Object<'a> {
    /// The turn's id with another prefix.
    #[schemars(extend("pattern" = "^resp_[0-9a-f]{32}$"))]
    id: String,
    #[schemars(extend("const" = "response"))]
    object: &'static str,
    /// When it was asked for, in seconds since 1970.
    created_at: i64,
    /// When it was whole, in seconds since 1970.
    completed_at: Option<i64>,
    /// How it stands. A reply that broke off has failed.
    #[schemars(extend("enum" = ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]))]
    status: &'static str,
    /// As it was asked for: shown to who asked.
    background: bool,
    /// The conversation that it stands in; null where nothing is kept.
    conversation: Option<Conversation>,
    /// Why it failed.
    error: Option<Failed<'a>>,
    /// Why it stopped short.
    incomplete_details: Option<Details>,
    /// As they were given: shown to who gave them.
    instructions: Option<&'a str>,
    max_output_tokens: (),
    max_tool_calls: (),
    /// The assistant that answered: a fallback has another name than the one that was asked.
    model: &'a str,
    /// The reply.
    output: Vec<Item>,
    parallel_tool_calls: bool,
    /// As it was given: shown to who gave it.
    previous_response_id: Option<&'a str>,
    reasoning: Reasoning,
    #[schemars(extend("const" = "default"))]
    service_tier: &'static str,
    /// Whether it is kept.
    store: bool,
    temperature: (),
    text: Text,
    #[schemars(extend("const" = "auto"))]
    tool_choice: &'static str,
    tools: [(); 0],
    top_p: (),
    #[schemars(extend("const" = "disabled"))]
    truncation: &'static str,
    /// Null where the provider reports no tokens.
    usage: Option<Usage>,
    /// As it was given: shown to who gave it.
    user: Option<&'a str>,
    metadata: &'a Metadata,
    /// What the reply rests on: not OpenAI's.
    #[serde(skip_serializing_if = "<[Source]>::is_empty")]
    sources: &'a [Source],
}

/// A conversation, by its id.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ResponseConversation")]
struct Conversation {
    id: ConversationId,
}

/// Why a response failed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ResponseError")]
struct Failed<'a> {
    code: chat::ErrorCode,
    message: &'a str,
}

/// Why a response stopped short.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ResponseIncompleteDetails")]
struct Details {
    #[schemars(extend("enum" = ["max_output_tokens", "content_filter"]))]
    reason: &'static str,
}

/// How the model reasons: not known here.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "ResponseReasoning")]
struct Reasoning {
    effort: (),
    summary: (),
}

/// In which form the reply is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ResponseText")]
struct Text {
    format: Format,
}

/// The form of the reply.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ResponseTextFormat")]
struct Format {
    #[schemars(extend("const" = "text"))]
    r#type: &'static str,
}

/// What a response used.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ResponseUsage")]
struct Usage {
    input_tokens: u64,
    input_tokens_details: Cached,
    output_tokens: u64,
    output_tokens_details: Thought,
    total_tokens: u64,
    /// Money, where the provider names it: not OpenAI's, and not called `cost`, as in Chat Completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "chat::Cost")]
    billed: Option<chat::Cost>,
}

/// Tokens that were read from a cache: not known here.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "ResponseInputTokensDetails")]
struct Cached {
    cached_tokens: u64,
}

/// Tokens that the model thought in: not known here.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "ResponseOutputTokensDetails")]
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

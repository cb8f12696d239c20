//! GPTunnel's JSON.
//!
//! Source: docs.gptunnel.ru/assistant/chat. `useWalletBalance`: docs.gptunnel.ru/balance. `spendTokenCount`: answers of 2024.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The body of a call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a> {
    /// Made by the client, 24 to 36 characters.
    pub(super) chat_id: &'a str,
    pub(super) assistant_code: &'a str,
    pub(super) message: &'a str,
    /// How many messages are remembered. Always sent: without it nothing is.
    pub(super) max_context: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) images: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) use_wallet_balance: Option<bool>,
}

/// An answer, or an event of a stream, whose form is not documented: every field may be missing or of another type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) id: Option<Box<RawValue>>,
    #[serde(rename = "chatId")]
    pub(super) chat_id: Option<Box<RawValue>>,
    #[serde(rename = "assistantId")]
    pub(super) assistant_id: Option<Box<RawValue>>,
    /// The text; in an error, the provider's words.
    pub(super) message: Option<Box<RawValue>>,
    pub(super) model: Option<Box<RawValue>>,
    pub(super) usage: Option<Box<RawValue>>,
    #[serde(rename = "spendTokenCount")]
    pub(super) spend_token_count: Option<Box<RawValue>>,
    pub(super) error: Option<Box<RawValue>>,
    /// An integer; not zero is a failure in GPTunnel's media API, which answers 200 to everything.
    pub(super) code: Option<Box<RawValue>>,
    pub(super) choices: Option<Box<RawValue>>,
    pub(super) delta: Option<Box<RawValue>>,
    pub(super) content: Option<Box<RawValue>>,
    pub(super) text: Option<Box<RawValue>>,
    #[serde(alias = "finishReason")]
    pub(super) finish_reason: Option<Box<RawValue>>,
}

/// An element of `choices`, as in OpenAI's chunks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) delta: Option<Box<RawValue>>,
    pub(super) message: Option<Box<RawValue>>,
    pub(super) finish_reason: Option<Box<RawValue>>,
}

/// An object with a text in it.
#[derive(Debug, Deserialize)]
pub(super) struct Content {
    pub(super) content: Option<Box<RawValue>>,
}

/// Tokens, and money in roubles.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<Box<RawValue>>,
    pub(super) completion_tokens: Option<Box<RawValue>>,
    pub(super) total_tokens: Option<Box<RawValue>>,
    pub(super) total_cost: Option<Box<RawValue>>,
}

/// The `error` of a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Error {
    pub(super) message: Option<Box<RawValue>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Box<RawValue>>,
    pub(super) code: Option<Box<RawValue>>,
}

//! What the answers of the dialect have in common.

use chat::{Cost, ErrorCode, FinishReason, Part, Timestamp, Turn, TurnError, TurnId, TurnStatus};
use http::{HeaderMap, HeaderName};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::insert;

const UPSTREAM_MODEL: HeaderName = HeaderName::from_static("x-upstream-model");

/// The id of a turn in the dialect: its own with another prefix.
pub(super) fn id(prefix: &str, turn: TurnId) -> String {
    [prefix, turn.uuid().simple().encode_lower(&mut [0; 32])].concat()
}

/// The turn that such an id names.
pub(super) fn turn_of(prefix: &str, id: &str) -> Option<TurnId> {
    format!("{}{}", TurnId::PREFIX, id.strip_prefix(prefix)?).parse().ok()
}

/// Seconds since 1970.
pub(super) fn seconds(time: Timestamp) -> i64 {
    time.millis().div_euclid(1000)
}

/// A longer name is not shown in a header: clients refuse answers whose head is too large.
const MODEL_BYTES_MAX: usize = 256;

/// Names the provider's own model, where it is known and fits.
pub(super) fn show_model(headers: &mut HeaderMap, model: Option<&str>) {
    if let Some(model) = model.filter(|model| model.len() <= MODEL_BYTES_MAX) {
        insert(headers, UPSTREAM_MODEL, model);
    }
}

/// Why a turn's text is not a whole reply; none when it is, or when the provider itself stopped short.
pub(super) fn broken(turn: &Turn) -> Option<TurnError> {
    match (turn.status, &turn.error) {
        (TurnStatus::Completed, _) | (TurnStatus::Incomplete, None) => None,
        (TurnStatus::Cancelled, _) => {
            let message = "the turn was cancelled before its reply was whole";
            Some(TurnError::new(ErrorCode::ConversationBusy, message))
        }
        (_, Some(error)) => Some(error.clone()),
        (_, None) => Some(TurnError::new(ErrorCode::Internal, "the turn failed")),
    }
}

/// Another assistant, or the provider itself, says something else than what was sent.
pub(super) fn taken_back() -> TurnError {
    let message =
        "the answer broke off, and what was begun in its place does not continue what was sent: ask again";
    TurnError::new(ErrorCode::ProviderError, message)
}

/// OpenAI's word for why a turn ended.
pub(super) fn finish_reason(turn: &Turn) -> &'static str {
    match turn.finish_reason {
        Some(FinishReason::Length) => "length",
        Some(FinishReason::ContentFilter) => "content_filter",
        Some(FinishReason::ToolCalls) => "tool_calls",
        Some(FinishReason::Stop) | None if tool_calls(turn).next().is_some() => "tool_calls",
        Some(FinishReason::Stop) | None => "stop",
    }
}

/// The tools that the reply calls: id, name and arguments.
pub(super) fn tool_calls(turn: &Turn) -> impl Iterator<Item = (&str, &str, &str)> {
    let parts = turn.message.as_ref().map_or(&[][..], |message| message.content.parts.as_slice());
    parts.iter().filter_map(|part| match part {
        Part::ToolCall { id, name, arguments } => Some((id.as_str(), name.as_str(), arguments.as_str())),
        _ => None,
    })
}

/// What a reply used: tokens read, written and in all, and money where the provider names it.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) total: u64,
    pub(super) cost: Option<Cost>,
}

impl Counts {
    /// None where the provider reports no tokens. Clients want all three numbers: one that is not reported follows from the others,
    /// or is 0.
    pub(super) fn of(turn: &Turn) -> Option<Self> {
        let usage = turn.usage.as_ref()?;
        let total = usage.tokens()?;
        let output = usage
            .output_tokens
            .unwrap_or_else(|| usage.input_tokens.map_or(0, |input| total.saturating_sub(input)));
        let input = usage
            .input_tokens
            .unwrap_or_else(|| usage.output_tokens.map_or(0, |output| total.saturating_sub(output)));
        Some(Self { input, output, total, cost: usage.cost.clone() })
    }
}

/// Usage as Chat Completions shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletionUsage")]
pub(crate) struct Usage {
    /// Tokens read.
    prompt_tokens: u64,
    /// Tokens written.
    completion_tokens: u64,
    total_tokens: u64,
    /// Money, where the provider names it: not OpenAI's. A `cost` is a bare number to clients that know one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Cost")]
    billed: Option<Cost>,
}

impl From<Counts> for Usage {
    fn from(Counts { input, output, total, cost }: Counts) -> Self {
        Self { prompt_tokens: input, completion_tokens: output, total_tokens: total, billed: cost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_shown_where_it_fits_a_header() {
        let shown = |model: &str| {
            let mut headers = HeaderMap::new();
            show_model(&mut headers, Some(model));
            headers.contains_key(UPSTREAM_MODEL)
        };
        assert!(shown(&"x".repeat(256)));
        assert!(!shown(&"x".repeat(257)));
        assert!(!shown("x\r\ny: z"));
    }
}

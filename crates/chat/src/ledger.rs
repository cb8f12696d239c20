//! The ledger: one row for every call that was made, whatever became of its turn.

use crate::{AssistantName, Cost, KeyId, ProviderName, TenantId, Timestamp, TurnId, Usage};
use schemars::JsonSchema;
use serde::Serialize;

/// One call that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerRow {
    /// The turn that it was made for.
    pub turn_id: TurnId,
    /// Which of the turn's calls: 0, 1, 2 … With the turn it is the row's identity, so that it is written once.
    pub number: u32,
    /// Whose turn.
    pub tenant: TenantId,
    /// The key that asked.
    pub key: KeyId,
    /// The assistant that was asked.
    pub assistant: AssistantName,
    /// Its provider.
    pub provider: ProviderName,
    /// When the call was made.
    pub at: Timestamp,
    /// What came of it: `completed`, `incomplete`, `cancelled`, `hedged` or an error code.
    pub outcome: String,
    /// Whether the provider answered, wholly or in part: only such rows count as turns in sums.
    pub answered: bool,
    /// What the provider reported; none where nothing reached us.
    pub usage: Option<Usage>,
}

impl LedgerRow {
    /// The outcome of a call that was running when its process ended.
    pub const INTERRUPTED: &'static str = "interrupted";
}

/// Which days to sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageRange {
    /// From the day of this time on.
    pub since: Option<Timestamp>,
    /// To the day of this time, it included.
    pub until: Option<Timestamp>,
}

/// A sum over the ledger: what one assistant did on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UsageSum {
    /// The day in UTC: `2026-11-21`.
    #[schemars(extend("format" = "date"))]
    pub day: String,
    /// Whose; shown to admins alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The assistant that was asked.
    pub assistant: AssistantName,
    /// Its provider.
    pub provider: ProviderName,
    /// How many turns the provider answered, wholly or in part.
    pub turns: u64,
    /// Tokens read, as far as reported.
    pub input_tokens: u64,
    /// Tokens written, as far as reported.
    pub output_tokens: u64,
    /// All tokens, as far as reported.
    pub total_tokens: u64,
    /// Money, one entry per currency.
    pub cost: Vec<Cost>,
}

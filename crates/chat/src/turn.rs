//! The turn: one request for a reply, from the user's message in to the assistant's message out.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{
    AssistantName, Content, ConversationId, Emulated, ErrorCode, MessageId, ProviderName, Source, Timestamp,
    TurnError, TurnId, Usage,
};

/// Free words about a turn or a conversation, at most 16 KiB as JSON.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// How far a turn has come, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TurnStatus {
    /// Accepted; waits for the turn that runs in its conversation.
    Queued,
    /// Runs.
    InProgress,
    /// The provider said, or its protocol implies, that the reply is whole.
    Completed,
    /// Text came, and then the upstream broke, stalled or was cut, or stopped short.
    Incomplete,
    /// No text came.
    Failed,
    /// The client stopped it.
    Cancelled,
}

impl TurnStatus {
    /// The status as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

/// Why the provider stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said all.
    Stop,
    /// It reached a limit of length: the reply is not whole.
    Length,
    /// Its content filter cut in: the reply is not whole.
    ContentFilter,
    /// It wants a tool to be run.
    ToolCalls,
}

/// What a call came to that did not give the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AttemptOutcome {
    /// It failed so.
    Failed(ErrorCode),
    /// Another call was quicker.
    Other(OtherOutcome),
}

/// The outcomes that are no errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherOutcome {
    /// The other call of a hedge gave the first text.
    Hedged,
}

impl AttemptOutcome {
    /// The other call of a hedge gave the first text.
    pub const HEDGED: Self = Self::Other(OtherOutcome::Hedged);

    /// The outcome as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed(code) => code.as_str(),
            Self::Other(OtherOutcome::Hedged) => "hedged",
        }
    }
}

/// A call that did not give the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// The assistant that was asked.
    pub assistant: AssistantName,
    /// Its provider.
    pub provider: ProviderName,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What the provider says that it used; part of what the turn cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Attempt {
    /// Milliseconds of a duration.
    #[must_use]
    pub fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }
}

/// How the provider names what this turn is at its side.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamIds {
    /// The call.
    pub request_id: Option<String>,
    /// The conversation.
    pub conversation_id: Option<String>,
    /// The reply.
    pub message_id: Option<String>,
}

impl UpstreamIds {
    /// Takes over what `later` names; keeps the rest.
    pub fn merge(&mut self, later: Self) {
        self.request_id = later.request_id.or_else(|| self.request_id.take());
        self.conversation_id = later.conversation_id.or_else(|| self.conversation_id.take());
        self.message_id = later.message_id.or_else(|| self.message_id.take());
    }
}

/// The reply of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnMessage {
    /// Its id: that of the message in the conversation.
    pub id: MessageId,
    /// What is said.
    pub content: Content,
    /// When the reply ended.
    pub created_at: Timestamp,
}

impl JsonSchema for TurnMessage {
    fn schema_name() -> Cow<'static, str> {
        "TurnMessage".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        /// The reply of a turn.
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "the shape of what is written below, for its description alone")]
        struct Shape {
            /// Its id: that of the message in the conversation.
            id: MessageId,
            /// Always `message`.
            #[schemars(extend("const" = "message"))]
            object: String,
            /// Always `assistant`.
            #[schemars(extend("const" = "assistant"))]
            role: String,
            /// All words: the text parts put together.
            text: String,
            /// What is said, in order.
            parts: Content,
            /// When the reply ended.
            created_at: Timestamp,
        }
        Shape::json_schema(generator)
    }
}

impl Serialize for TurnMessage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("TurnMessage", 6)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("object", "message")?;
        object.serialize_field("role", "assistant")?;
        object.serialize_field("text", &self.content.text())?;
        object.serialize_field("parts", &self.content)?;
        object.serialize_field("created_at", &self.created_at)?;
        object.end()
    }
}

/// For gateways that tell each other of a turn: what follows from the rest is passed over.
impl<'de> Deserialize<'de> for TurnMessage {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Kept {
            id: MessageId,
            parts: Content,
            created_at: Timestamp,
        }
        let Kept { id, parts, created_at } = Kept::deserialize(deserializer)?;
        Ok(Self { id, content: parts, created_at })
    }
}

/// A turn as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Turn {
    /// Its id.
    pub id: TurnId,
    /// Always `turn`.
    pub object: TurnObject,
    /// How far it has come.
    pub status: TurnStatus,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Where it stands; none when nothing is kept.
    pub conversation_id: Option<ConversationId>,
    /// The assistant that answered; until then the one that was asked.
    pub assistant: AssistantName,
    /// The provider that answered; until then the one that was asked.
    pub provider: ProviderName,
    /// The provider's model, where it says so.
    pub model: Option<String>,
    /// Why the provider stopped writing, where it says so.
    pub finish_reason: Option<FinishReason>,
    /// The reply; none until there is text.
    pub message: Option<TurnMessage>,
    /// What the reply rests on.
    pub sources: Vec<Source>,
    /// What the provider reports of the call that answered.
    pub usage: Option<Usage>,
    /// What the gateway did because the provider does not do it itself.
    pub emulated: Vec<Emulated>,
    /// The calls that did not give the answer, in order.
    pub attempts: Vec<Attempt>,
    /// The provider's own ids.
    pub upstream: UpstreamIds,
    /// The client's words about the turn.
    pub metadata: Metadata,
    /// Why it did not end well.
    pub error: Option<TurnError>,
}

/// The word `turn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TurnObject {
    /// It.
    #[default]
    #[serde(rename = "turn")]
    Turn,
}

impl Turn {
    /// A turn that has just been accepted.
    #[must_use]
    pub fn accepted(
        id: TurnId,
        status: TurnStatus,
        created_at: Timestamp,
        conversation_id: Option<ConversationId>,
        asked: (AssistantName, ProviderName),
    ) -> Self {
        let (assistant, provider) = asked;
        Self {
            id,
            object: TurnObject::Turn,
            status,
            created_at,
            completed_at: None,
            conversation_id,
            assistant,
            provider,
            model: None,
            finish_reason: None,
            message: None,
            sources: Vec::new(),
            usage: None,
            emulated: Vec::new(),
            attempts: Vec::new(),
            upstream: UpstreamIds::default(),
            metadata: Metadata::new(),
            error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_reads_back_as_it_was_written() {
        let asked = ("support".parse().unwrap(), "tunnel".parse().unwrap());
        let mut turn = Turn::accepted(TurnId::new(), TurnStatus::Incomplete, Timestamp::now(), None, asked);
        let content = Content {
            parts: vec![
                crate::Part::Text { text: "a".into() },
                crate::Part::Citation { source_ids: vec!["1".into()] },
                crate::Part::Text { text: "b".into() },
            ],
        };
        turn.message = Some(TurnMessage { id: MessageId::new(), content, created_at: turn.created_at });
        turn.error = Some(TurnError::new(ErrorCode::ProviderError, "broke"));
        turn.usage =
            Some(Usage { input_tokens: Some(1), cost: crate::Cost::parse("0.1", "RUB"), ..Usage::default() });
        let json = serde_json::to_string(&turn).unwrap();
        assert_eq!(serde_json::from_str::<Turn>(&json).unwrap(), turn);
    }

    #[test]
    fn outcomes_are_codes_or_words() {
        let json = serde_json::to_string(&[
            AttemptOutcome::Failed(ErrorCode::ProviderRateLimit),
            AttemptOutcome::HEDGED,
        ]);
        assert_eq!(json.unwrap(), r#"["provider_rate_limit","hedged"]"#);
        let read: Vec<AttemptOutcome> = serde_json::from_str(r#"["hedged","idle_timeout"]"#).unwrap();
        assert_eq!(read, [AttemptOutcome::HEDGED, AttemptOutcome::Failed(ErrorCode::IdleTimeout)]);
    }
}

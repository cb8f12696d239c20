//! Messages: who said what.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::{ConversationId, MessageId, Source, Timestamp, TurnId};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The end user.
    User,
    /// The assistant.
    Assistant,
    /// Instructions to the assistant.
    System,
    /// A person on the assistant's side.
    Operator,
}

impl Role {
    /// The role as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::Operator => "operator",
        }
    }
}

/// How a message came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// Whole.
    Completed,
    /// A reply that broke off.
    Incomplete,
    /// A reply that was stopped.
    Cancelled,
    /// A user's message whose turn failed: shown, but not given to providers.
    Failed,
}

impl MessageStatus {
    /// The status as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Words.
    Text {
        /// Them.
        text: String,
    },
    /// An image, by its link.
    Image {
        /// Passed on, never fetched.
        url: String,
    },
    /// At this place the text rests on these sources.
    Citation {
        /// Ids of the message's sources.
        source_ids: Vec<String>,
    },
    /// The assistant wants a tool of the client's to be run; only `openai` providers give this.
    ToolCall {
        /// The provider's id of the call; the tool's answer names it.
        id: String,
        /// The tool's name.
        name: String,
        /// Its arguments, as the JSON text that the provider wrote.
        arguments: String,
    },
}

/// What a message says: its parts in order. The text is the text parts put together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Content {
    /// The parts in order.
    pub parts: Vec<Part>,
}

impl Content {
    /// Words alone; no part at all for no words.
    #[must_use]
    pub fn text_only(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { parts: if text.is_empty() { Vec::new() } else { vec![Part::Text { text }] } }
    }

    /// All words, in order; borrowed where there is one run of them.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        let mut runs = self.parts.iter().filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        });
        match (runs.next(), runs.next()) {
            (None, _) => Cow::Borrowed(""),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => Cow::Owned([first, second].into_iter().chain(runs).collect()),
        }
    }

    /// The links of its images, in order.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Image { url } => Some(url.as_str()),
            _ => None,
        })
    }

    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text { text } if text.is_empty()))
    }
}

/// Where a message that was put in has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// The provider has it now.
    Upstream,
    /// The provider is told with the next turn.
    NextTurn,
    /// It is kept here, and no provider is told.
    Stored,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Where it stands.
    pub conversation_id: ConversationId,
    /// The turn that it came with; none when it was put in or fetched from upstream.
    pub turn_id: Option<TurnId>,
    /// Who speaks.
    pub role: Role,
    /// The speaker's name; the role's own where none was given.
    pub author: String,
    /// What is said.
    pub content: Content,
    /// What it rests on.
    pub sources: Vec<Source>,
    /// How it came out.
    pub status: MessageStatus,
    /// When it was accepted (a reply: when it ended).
    pub created_at: Timestamp,
    /// Its place in the conversation: grows, with gaps. Not shown.
    pub position: i64,
}

impl JsonSchema for Message {
    fn schema_name() -> Cow<'static, str> {
        "Message".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        /// A message of a conversation.
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "the shape of what is written below, for its description alone")]
        struct Shape {
            /// Its id.
            id: MessageId,
            /// Always `message`.
            #[schemars(extend("const" = "message"))]
            object: String,
            /// Where it stands.
            conversation_id: ConversationId,
            /// The turn that it came with; null when it was put in or fetched from upstream.
            turn_id: Option<TurnId>,
            /// Who speaks.
            role: Role,
            /// The speaker's name; the role's own where none was given.
            author: String,
            /// All words: the text parts put together.
            text: String,
            /// What is said, in order.
            parts: Content,
            /// What it rests on.
            sources: Vec<Source>,
            /// How it came out.
            status: MessageStatus,
            /// When it was accepted (a reply: when it ended).
            created_at: Timestamp,
        }
        Shape::json_schema(generator)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Message", 11)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("object", "message")?;
        object.serialize_field("conversation_id", &self.conversation_id)?;
        object.serialize_field("turn_id", &self.turn_id)?;
        object.serialize_field("role", &self.role)?;
        object.serialize_field("author", &self.author)?;
        object.serialize_field("text", &self.content.text())?;
        object.serialize_field("parts", &self.content)?;
        object.serialize_field("sources", &self.sources)?;
        object.serialize_field("status", &self.status)?;
        object.serialize_field("created_at", &self.created_at)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_text_parts_put_together() {
        let content = Content {
            parts: vec![
                Part::Text { text: "a".into() },
                Part::Citation { source_ids: vec!["1".into()] },
                Part::Text { text: "b".into() },
            ],
        };
        assert_eq!(content.text(), "ab");
        assert_eq!(Content::text_only("x").text(), "x");
        assert!(Content::text_only("").is_empty());
    }
}

//! Conversations: sequences of messages that the gateway keeps.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{AssistantName, ConversationId, Metadata, ProviderName, Timestamp, UserId};

/// A conversation as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Always `conversation`.
    #[schemars(extend("const" = Conversation::OBJECT))]
    pub object: &'static str,
    /// The assistant that its next turn asks.
    pub assistant: AssistantName,
    /// That assistant's provider; as it was when the conversation last changed.
    pub provider: ProviderName,
    /// The end user whose it is.
    pub user: Option<UserId>,
    /// A title that the client gave.
    pub title: Option<String>,
    /// The client's words about it.
    pub metadata: Metadata,
    /// How many messages there are.
    pub message_count: u64,
    /// The beginning of the last message's text, at most 200 characters; null while there is none.
    pub preview: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The conversation's id at the provider, where it is known.
    pub upstream_conversation_id: Option<String>,
}

impl Conversation {
    /// The word in `object`.
    pub const OBJECT: &'static str = "conversation";
    /// The longest preview, in characters.
    pub const PREVIEW_CHARS_MAX: usize = 200;

    /// The preview of a text.
    #[must_use]
    pub fn preview_of(text: &str) -> String {
        text.chars().take(Self::PREVIEW_CHARS_MAX).collect()
    }
}

/// A change to a conversation: `None` leaves, `Some(None)` clears.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConversationChange {
    /// The title.
    pub title: Option<Option<String>>,
    /// The metadata, whole.
    pub metadata: Option<Option<Metadata>>,
}

/// Which conversations to list. Every field narrows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConversationFilter {
    /// Those of this assistant.
    pub assistant: Option<AssistantName>,
    /// Those of these assistants: what the caller's key may see.
    pub assistants: Option<Vec<AssistantName>>,
    /// Those of this user.
    pub user: Option<UserId>,
    /// Last changed at this time or later.
    pub since: Option<Timestamp>,
    /// Last changed at this time or earlier.
    pub until: Option<Timestamp>,
    /// Words that all stand in the title or in messages, whatever their case; the last one may be the beginning of a word.
    pub words: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// How many at most: 1 to 100.
    pub limit: u32,
    /// Where the page before ended: the store's own words, checked when they come back.
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The page's items.
    pub items: Vec<T>,
    /// Where the next page begins; none when this is the last.
    pub next_cursor: Option<String>,
}

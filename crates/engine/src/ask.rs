//! What a caller asks for, checked for form by whoever read it.

use std::sync::Arc;

use chat::{AssistantName, Content, ConversationId, Idempotency, Lease, Metadata, Role, UserId, WhenBusy};
use serde_json::value::RawValue;

/// What is said in a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// The user's message.
    Message(Content),
    /// A whole transcript: roles system, user or assistant, the last from the user. Never with a conversation's id.
    Transcript(Vec<(Role, Content)>),
}

/// A client's own body, for providers that take it as it is.
#[derive(Debug, Clone)]
pub struct Extension {
    /// It: a JSON object, as it was written.
    pub body: Arc<str>,
    /// A field in it that only such a provider can honour: no other one is asked then.
    pub needs: Option<String>,
}

/// A turn to run.
#[derive(Debug)]
pub struct Ask {
    /// Whom to ask; the conversation's own assistant when left out.
    pub assistant: Option<AssistantName>,
    /// The conversation to continue; a new one when left out.
    pub conversation_id: Option<ConversationId>,
    /// A new conversation is the turn's own: it gets the turn's UUID, so that it can be told later.
    pub own_conversation: bool,
    /// What is said.
    pub prompt: Prompt,
    /// The end user.
    pub user: Option<UserId>,
    /// The caller reads piece by piece.
    pub stream: bool,
    /// Whether anything is kept.
    pub store: bool,
    /// In place of the assistant's own number.
    pub context_messages: Option<u32>,
    /// Search filters, as they came.
    pub search_filters: Option<Arc<RawValue>>,
    /// Words about the turn.
    pub metadata: Metadata,
    /// In place of the configuration's.
    pub when_busy: Option<WhenBusy>,
    /// So that the request can be repeated: the key, and a hash of the route and the body without `stream`.
    pub idempotency: Option<Idempotency>,
    /// What the OpenAI dialect passes through.
    pub extension: Option<Extension>,
    /// Told to the provider for this turn alone, before all else; not kept in the conversation.
    pub instructions: Option<String>,
    /// What the key has set aside for the turn; held to its end.
    pub lease: Option<Box<dyn Lease>>,
}

/// A conversation to make, or to adopt from upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct NewConversationAsk {
    /// Its assistant.
    pub assistant: AssistantName,
    /// Its user.
    pub user: Option<UserId>,
    /// Its title.
    pub title: Option<String>,
    /// Words about it.
    pub metadata: Metadata,
    /// The provider's conversation to take over with its history.
    pub upstream_conversation_id: Option<String>,
}

/// A message to put in without asking for a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct PutMessage {
    /// Who speaks.
    pub role: Role,
    /// The speaker's name; the role's when left out.
    pub author: Option<String>,
    /// What is said.
    pub text: String,
}

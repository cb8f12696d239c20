//! Conversations: what is more than a look into the store.

use chat::{
    AssistantName, Caller, Conversation, ConversationChange, ConversationFilter, ConversationId, Delivery,
    Idempotency, Message, MessageId, Page, PageRequest, Timestamp, UserId,
};
use serde::Serialize;

use crate::{Engine, NewConversationAsk, PutMessage, Refused};

/// A conversation as the provider itself lists it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamConversationView {
    /// The provider's id of it.
    pub upstream_conversation_id: String,
    /// The beginning of its text.
    pub preview: Option<String>,
    /// How many messages there are.
    pub message_count: Option<u64>,
    /// When it was begun.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// The conversation of this tenant that holds it already.
    pub conversation_id: Option<ConversationId>,
}

fn unwritten<T>() -> Result<T, Refused> {
    Err(Refused::new(chat::ErrorCode::ConversationNotFound, "there is no such conversation"))
}

impl Engine {
    /// Makes a conversation, or adopts one from upstream with its history.
    ///
    /// # Errors
    /// No such assistant; not permitted; the upstream one is not there or held by a conversation already.
    pub async fn create_conversation(
        &self,
        caller: &Caller,
        ask: NewConversationAsk,
        idempotency: Option<Idempotency>,
    ) -> Result<Conversation, Refused> {
        let _ = (caller, ask, idempotency);
        unwritten()
    }

    /// A conversation.
    ///
    /// # Errors
    /// None such for this caller.
    pub async fn conversation(&self, caller: &Caller, id: ConversationId) -> Result<Conversation, Refused> {
        let _ = (caller, id);
        unwritten()
    }

    /// Conversations that this caller sees, last changed first. The filter's `assistants` and, for a browser's token, `user` are
    /// set here.
    ///
    /// # Errors
    /// The cursor is none.
    pub async fn conversations(
        &self,
        caller: &Caller,
        filter: ConversationFilter,
        page: PageRequest,
    ) -> Result<Page<Conversation>, Refused> {
        let _ = (caller, filter, page);
        unwritten()
    }

    /// Changes title or metadata.
    ///
    /// # Errors
    /// None such for this caller.
    pub async fn change_conversation(
        &self,
        caller: &Caller,
        id: ConversationId,
        change: ConversationChange,
    ) -> Result<Conversation, Refused> {
        let _ = (caller, id, change);
        unwritten()
    }

    /// Erases a conversation; a turn that runs in it is cancelled first.
    ///
    /// # Errors
    /// None such for this caller.
    pub async fn delete_conversation(&self, caller: &Caller, id: ConversationId) -> Result<(), Refused> {
        let _ = (caller, id);
        unwritten()
    }

    /// Erases all of a user's conversations that this caller sees; says how many.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn delete_conversations_of(&self, caller: &Caller, user: &UserId) -> Result<u64, Refused> {
        let _ = (caller, user);
        unwritten()
    }

    /// Messages of a conversation.
    ///
    /// # Errors
    /// None such for this caller; the cursor is none.
    pub async fn messages(
        &self,
        caller: &Caller,
        id: ConversationId,
        descending: bool,
        page: PageRequest,
    ) -> Result<Page<Message>, Refused> {
        let _ = (caller, id, descending, page);
        unwritten()
    }

    /// Puts a message into the history without asking for a reply, and into the provider's where it takes that.
    ///
    /// # Errors
    /// None such for this caller; not permitted.
    pub async fn put_message(
        &self,
        caller: &Caller,
        id: ConversationId,
        message: PutMessage,
        idempotency: Option<Idempotency>,
    ) -> Result<(Message, Delivery), Refused> {
        let _ = (caller, id, message, idempotency);
        unwritten()
    }

    /// Copies a conversation, up to and with a message.
    ///
    /// # Errors
    /// None such for this caller; no such message in it.
    pub async fn fork(
        &self,
        caller: &Caller,
        id: ConversationId,
        up_to: Option<MessageId>,
        idempotency: Option<Idempotency>,
    ) -> Result<Conversation, Refused> {
        let _ = (caller, id, up_to, idempotency);
        unwritten()
    }

    /// Fetches what was said upstream outside the gateway; says how many messages were added.
    ///
    /// # Errors
    /// None such for this caller; the provider has no history (`unsupported`).
    pub async fn sync(&self, caller: &Caller, id: ConversationId) -> Result<u64, Refused> {
        let _ = (caller, id);
        unwritten()
    }

    /// What the provider itself lists for an assistant, without what another tenant holds.
    ///
    /// # Errors
    /// No such assistant; not permitted; the provider has no list (`unsupported`).
    pub async fn upstream_conversations(
        &self,
        caller: &Caller,
        assistant: &AssistantName,
        since: Option<Timestamp>,
        page: PageRequest,
    ) -> Result<Page<UpstreamConversationView>, Refused> {
        let _ = (caller, assistant, since, page);
        unwritten()
    }
}

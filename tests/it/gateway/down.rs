//! A store that does not answer.

use async_trait::async_trait;
use chat::{
    Acceptance, Accepted, AssistantName, Checkpoint, Conversation, ConversationChange, ConversationFilter,
    ConversationId, ConversationStore, Fork, Idempotency, Message, NewConversation, NewMessage, NewTurn,
    Page, PageRequest, ProviderName, StoreError, StoredThread, StoredTurn, TenantId, ThreadSeed,
    ThreadUpdate, Timestamp, TurnEnd, TurnId, TurnNews, UsageRange, UsageSum, UserId,
};

/// Always unavailable.
#[derive(Debug)]
pub struct Down;

fn down<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("switched off".into()))
}

#[async_trait]
impl ConversationStore for Down {
    async fn create_conversation(
        &self,
        _: &TenantId,
        _: NewConversation,
        _: Option<Idempotency>,
    ) -> Result<Conversation, StoreError> {
        down()
    }

    async fn conversation(&self, _: &TenantId, _: ConversationId) -> Result<Conversation, StoreError> {
        down()
    }

    async fn conversations(
        &self,
        _: &TenantId,
        _: ConversationFilter,
        _: PageRequest,
    ) -> Result<Page<Conversation>, StoreError> {
        down()
    }

    async fn change_conversation(
        &self,
        _: &TenantId,
        _: ConversationId,
        _: ConversationChange,
        _: Timestamp,
    ) -> Result<Conversation, StoreError> {
        down()
    }

    async fn delete_conversation(&self, _: &TenantId, _: ConversationId) -> Result<(), StoreError> {
        down()
    }

    async fn conversations_of_user(
        &self,
        _: &TenantId,
        _: &UserId,
    ) -> Result<Vec<(ConversationId, AssistantName)>, StoreError> {
        down()
    }

    async fn running_turns(&self, _: &TenantId, _: ConversationId) -> Result<Vec<TurnId>, StoreError> {
        down()
    }

    async fn messages(
        &self,
        _: &TenantId,
        _: ConversationId,
        _: bool,
        _: PageRequest,
    ) -> Result<Page<Message>, StoreError> {
        down()
    }

    async fn put_message(
        &self,
        _: &TenantId,
        _: ConversationId,
        _: NewMessage,
        _: Option<Idempotency>,
    ) -> Result<Message, StoreError> {
        down()
    }

    async fn put_upstream_messages(
        &self,
        _: &TenantId,
        _: ConversationId,
        _: ThreadSeed,
        _: Vec<NewMessage>,
    ) -> Result<u64, StoreError> {
        down()
    }

    async fn fork(&self, _: &TenantId, _: Fork, _: Option<Idempotency>) -> Result<Conversation, StoreError> {
        down()
    }

    async fn own_thread(&self, _: &TenantId, _: &ProviderName, _: &str, _: &str) -> Result<(), StoreError> {
        down()
    }

    async fn conversation_of_thread(
        &self,
        _: &TenantId,
        _: &ProviderName,
        _: &str,
        _: &str,
    ) -> Result<Option<ConversationId>, StoreError> {
        down()
    }

    async fn thread(
        &self,
        _: &TenantId,
        _: ConversationId,
        _: ThreadSeed,
    ) -> Result<StoredThread, StoreError> {
        down()
    }

    async fn reach_thread(
        &self,
        _: &TenantId,
        _: ConversationId,
        _: ThreadSeed,
        _: ThreadUpdate,
    ) -> Result<(), StoreError> {
        down()
    }

    async fn repeat_of(&self, _: &TenantId, _: &Idempotency) -> Result<Option<(TurnId, bool)>, StoreError> {
        down()
    }

    async fn accept_turn(&self, _: &TenantId, _: NewTurn) -> Result<Acceptance, StoreError> {
        down()
    }

    async fn begin_turn(
        &self,
        _: &TenantId,
        _: TurnId,
        _: &str,
        _: Option<ThreadSeed>,
        _: u32,
    ) -> Result<Accepted, StoreError> {
        down()
    }

    async fn checkpoint(&self, _: &TenantId, _: TurnId, _: &str, _: Checkpoint) -> Result<(), StoreError> {
        down()
    }

    async fn end_turn(&self, _: &TenantId, _: TurnEnd) -> Result<(), StoreError> {
        down()
    }

    async fn turn(&self, _: &TenantId, _: TurnId) -> Result<StoredTurn, StoreError> {
        down()
    }

    async fn turn_news(&self, _: &TenantId, _: TurnId, _: u64) -> Result<TurnNews, StoreError> {
        down()
    }

    async fn wish_stop(&self, _: &TenantId, _: TurnId) -> Result<(), StoreError> {
        down()
    }

    async fn note_unstored(
        &self,
        _: &TenantId,
        _: TurnId,
        _: Idempotency,
    ) -> Result<Option<(TurnId, bool)>, StoreError> {
        down()
    }

    async fn free_unstored(&self, _: &TenantId, _: TurnId, _: &str) -> Result<(), StoreError> {
        down()
    }

    async fn usage(&self, _: &TenantId, _: UsageRange) -> Result<Vec<UsageSum>, StoreError> {
        down()
    }
}

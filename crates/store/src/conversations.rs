//! The tenants' face of the store: each call is one piece of work for the database.

use async_trait::async_trait;

use chat::{
    Acceptance, Accepted, AssistantName, Checkpoint, Conversation, ConversationChange, ConversationFilter,
    ConversationId, ConversationStore, Fork, Idempotency, Message, NewConversation, NewMessage, NewTurn,
    Page, PageRequest, ProviderName, StoreError, StoredThread, StoredTurn, TenantId, ThreadSeed,
    ThreadUpdate, Timestamp, TurnEnd, TurnId, TurnNews, UsageRange, UsageSum, UserId,
};

use crate::end::Ended;
use crate::work::Run;
use crate::{
    Store, accept, checkpoint, conversation, end, erase, fork, idempotency, ledger, list, thread, turn,
    upstream,
};

#[async_trait]
impl ConversationStore for Store {
    async fn create_conversation(
        &self,
        tenant: &TenantId,
        new: NewConversation,
        idempotency: Option<Idempotency>,
    ) -> Result<Conversation, StoreError> {
        self.backend
            .write((tenant.clone(), new, idempotency), |conn, (tenant, new, key)| {
                Box::pin(conversation::create(conn, tenant, new, key.as_ref()))
            })
            .await
    }

    async fn conversation(&self, tenant: &TenantId, id: ConversationId) -> Result<Conversation, StoreError> {
        self.backend
            .read((tenant.clone(), id), |conn, (tenant, id)| {
                Box::pin(async { conversation::find(conn, tenant, *id).await.map(|kept| kept.conversation) })
            })
            .await
    }

    async fn conversations(
        &self,
        tenant: &TenantId,
        filter: ConversationFilter,
        page: PageRequest,
    ) -> Result<Page<Conversation>, StoreError> {
        let list: Run<_, _> =
            |conn, (tenant, filter, page)| Box::pin(list::conversations(conn, tenant, filter, page));
        if filter.words.is_some() {
            return self.backend.search((tenant.clone(), filter, page), list).await;
        }
        self.backend.read((tenant.clone(), filter, page), list).await
    }

    async fn change_conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        change: ConversationChange,
        now: Timestamp,
    ) -> Result<Conversation, StoreError> {
        self.backend
            .write((tenant.clone(), id, change, now), |conn, (tenant, id, change, now)| {
                Box::pin(conversation::change(conn, tenant, *id, change, *now))
            })
            .await
    }

    async fn delete_conversation(&self, tenant: &TenantId, id: ConversationId) -> Result<(), StoreError> {
        let remains = self
            .backend
            .write((tenant.clone(), id), |conn, (tenant, id)| Box::pin(erase::of_tenant(conn, tenant, *id)))
            .await?;
        self.erase(remains, erase::PATIENCE).await
    }

    async fn conversations_of_user(
        &self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<Vec<(ConversationId, AssistantName)>, StoreError> {
        self.backend
            .read((tenant.clone(), user.clone()), |conn, (tenant, user)| {
                Box::pin(conversation::of_user(conn, tenant, user))
            })
            .await
    }

    async fn running_turns(&self, tenant: &TenantId, id: ConversationId) -> Result<Vec<TurnId>, StoreError> {
        self.backend
            .read((tenant.clone(), id), |conn, (tenant, id)| {
                Box::pin(conversation::running(conn, tenant, *id))
            })
            .await
    }

    async fn messages(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        descending: bool,
        page: PageRequest,
    ) -> Result<Page<Message>, StoreError> {
        self.backend
            .read((tenant.clone(), id, descending, page), |conn, (tenant, id, descending, page)| {
                Box::pin(list::messages(conn, tenant, *id, *descending, page))
            })
            .await
    }

    async fn put_message(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        message: NewMessage,
        idempotency: Option<Idempotency>,
    ) -> Result<Message, StoreError> {
        self.backend
            .write((tenant.clone(), id, message, idempotency), |conn, (tenant, id, message, key)| {
                Box::pin(conversation::put_message(conn, tenant, *id, message, key.as_ref()))
            })
            .await
    }

    async fn put_upstream_messages(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        thread: ThreadSeed,
        messages: Vec<NewMessage>,
    ) -> Result<u64, StoreError> {
        self.backend
            .write((tenant.clone(), id, thread, messages), |conn, (tenant, id, thread, messages)| {
                Box::pin(upstream::put(conn, tenant, *id, thread, messages))
            })
            .await
    }

    async fn fork(
        &self,
        tenant: &TenantId,
        fork: Fork,
        idempotency: Option<Idempotency>,
    ) -> Result<Conversation, StoreError> {
        self.backend
            .write((tenant.clone(), fork, idempotency), |conn, (tenant, fork, key)| {
                Box::pin(fork::fork(conn, tenant, fork, key.as_ref()))
            })
            .await
    }

    async fn own_thread(
        &self,
        tenant: &TenantId,
        provider: &ProviderName,
        upstream_id: &str,
        thread: &str,
    ) -> Result<(), StoreError> {
        let input = (tenant.clone(), provider.clone(), upstream_id.to_owned(), thread.to_owned());
        self.backend
            .write(input, |conn, (tenant, provider, upstream_id, thread)| {
                Box::pin(thread::own(conn, tenant, provider, upstream_id, thread))
            })
            .await
    }

    async fn conversation_of_thread(
        &self,
        tenant: &TenantId,
        provider: &ProviderName,
        upstream_id: &str,
        thread: &str,
    ) -> Result<Option<ConversationId>, StoreError> {
        let input = (tenant.clone(), provider.clone(), upstream_id.to_owned(), thread.to_owned());
        self.backend
            .read(input, |conn, (tenant, provider, upstream_id, thread)| {
                Box::pin(thread::holder(conn, tenant, provider, upstream_id, thread))
            })
            .await
    }

    async fn thread(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        seed: ThreadSeed,
    ) -> Result<StoredThread, StoreError> {
        self.backend
            .write((tenant.clone(), id, seed), |conn, (tenant, id, seed)| {
                Box::pin(thread::outside_turns(conn, tenant, *id, seed))
            })
            .await
    }

    async fn reach_thread(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        seed: ThreadSeed,
        update: ThreadUpdate,
    ) -> Result<(), StoreError> {
        self.backend
            .write((tenant.clone(), id, seed, update), |conn, (tenant, id, seed, update)| {
                Box::pin(thread::reach(conn, tenant, *id, seed, update))
            })
            .await
    }

    async fn repeat_of(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<(TurnId, bool)>, StoreError> {
        self.backend
            .read((tenant.clone(), idempotency.clone()), |conn, (tenant, key)| {
                Box::pin(idempotency::repeat_of(conn, tenant, key))
            })
            .await
    }

    async fn accept_turn(&self, tenant: &TenantId, new: NewTurn) -> Result<Acceptance, StoreError> {
        self.backend
            .write((tenant.clone(), new), |conn, (tenant, new)| Box::pin(accept::accept(conn, tenant, new)))
            .await
    }

    async fn begin_turn(
        &self,
        tenant: &TenantId,
        id: TurnId,
        owner: &str,
        thread: Option<ThreadSeed>,
        context_messages: u32,
    ) -> Result<Accepted, StoreError> {
        let input = (tenant.clone(), id, owner.to_owned(), thread, context_messages);
        self.backend
            .write(input, |conn, (tenant, id, owner, thread, context)| {
                Box::pin(accept::begin(conn, tenant, *id, owner, (thread.as_ref(), *context)))
            })
            .await
    }

    async fn checkpoint(
        &self,
        tenant: &TenantId,
        id: TurnId,
        owner: &str,
        checkpoint: Checkpoint,
    ) -> Result<(), StoreError> {
        self.backend
            .write((tenant.clone(), id, owner.to_owned(), checkpoint), |conn, (tenant, id, owner, kept)| {
                Box::pin(checkpoint::checkpoint(conn, tenant, *id, owner, kept))
            })
            .await
    }

    async fn end_turn(&self, tenant: &TenantId, end: TurnEnd) -> Result<(), StoreError> {
        let ended = self
            .backend
            .write((tenant.clone(), end), |conn, (tenant, end)| Box::pin(end::end(conn, tenant, end)))
            .await?;
        match ended {
            Ended::Recorded => Ok(()),
            Ended::Gone => Err(StoreError::NoTurn),
        }
    }

    async fn turn(&self, tenant: &TenantId, id: TurnId) -> Result<StoredTurn, StoreError> {
        self.backend
            .read((tenant.clone(), id), |conn, (tenant, id)| Box::pin(turn::find(conn, tenant, *id)))
            .await
    }

    async fn turn_news(&self, tenant: &TenantId, id: TurnId, after: u64) -> Result<TurnNews, StoreError> {
        self.backend
            .read((tenant.clone(), id, after), |conn, (tenant, id, after)| {
                Box::pin(turn::news(conn, tenant, *id, *after))
            })
            .await
    }

    async fn wish_stop(&self, tenant: &TenantId, id: TurnId) -> Result<(), StoreError> {
        self.backend
            .write((tenant.clone(), id), |conn, (tenant, id)| Box::pin(turn::wish_stop(conn, tenant, *id)))
            .await
    }

    async fn note_unstored(
        &self,
        tenant: &TenantId,
        id: TurnId,
        idempotency: Idempotency,
    ) -> Result<Option<(TurnId, bool)>, StoreError> {
        self.backend
            .write((tenant.clone(), id, idempotency), |conn, (tenant, id, key)| {
                Box::pin(idempotency::note_unstored(conn, tenant, *id, key))
            })
            .await
    }

    async fn free_unstored(&self, tenant: &TenantId, id: TurnId, key: &str) -> Result<(), StoreError> {
        self.backend
            .write((tenant.clone(), id, key.to_owned()), |conn, (tenant, id, key)| {
                Box::pin(idempotency::free_unstored(conn, tenant, *id, key))
            })
            .await
    }

    async fn usage(&self, tenant: &TenantId, range: UsageRange) -> Result<Vec<UsageSum>, StoreError> {
        self.backend
            .read((tenant.clone(), range), |conn, (tenant, range)| {
                Box::pin(ledger::usage(conn, Some(tenant), *range))
            })
            .await
    }
}

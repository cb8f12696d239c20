//! Conversations: what is more than a look into the store.

use std::time::Duration;

use chat::{
    AssistantName, Caller, Content, Conversation, ConversationChange, ConversationFilter, ConversationId,
    Delivery, ErrorCode, Failure, Fork, Idempotency, Message, MessageId, MessageStatus, NewConversation,
    NewMessage, Offer, Page, PageRequest, Permission, ProviderError, Role, StoreError, Timestamp, UserId,
};
use std::sync::Arc;

use crate::accept::of_user;
use crate::catalog::Assistant;
use crate::describe::describe;
use crate::refused::{lacks, no_assistant, not_allowed};
use crate::running::Stop;
use crate::thread;
use crate::{Engine, NewConversationAsk, PutMessage, Refused, follow};

/// How long erasing waits for the end of a turn that it has cancelled.
const CANCEL_WAIT_MAX: Duration = Duration::from_secs(5);

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
        let assistant = self.named(caller, &ask.assistant)?;
        let user = match (&caller.user, ask.user) {
            (Some(own), Some(other)) if *own != other => {
                return Err(Refused::invalid("user", "this token speaks for another user"));
            }
            (Some(own), _) => Some(own.clone()),
            (None, named) => named,
        };
        let mut new = NewConversation {
            id: ConversationId::new(),
            assistant: assistant.name.clone(),
            provider: assistant.provider.name.clone(),
            user,
            title: ask.title,
            metadata: ask.metadata,
            created_at: Timestamp::now(),
            messages: Vec::new(),
            thread: None,
        };
        if let Some(upstream) = ask.upstream_conversation_id {
            if !caller.may.has(Permission::Adopt) {
                return Err(lacks(Permission::Adopt));
            }
            let mut seed = thread::seed(&assistant)
                .filter(|_| has_history(&assistant))
                .ok_or_else(|| no_history(&assistant, "upstream_conversation_id"))?;
            new.messages = self.upstream_history(&assistant, &upstream).await?;
            seed.fresh_id = Some(upstream);
            new.thread = Some(seed);
        }
        Ok(self.0.store.create_conversation(&caller.tenant, new, idempotency).await?)
    }

    /// A conversation.
    ///
    /// # Errors
    /// None such for this caller.
    pub async fn conversation(&self, caller: &Caller, id: ConversationId) -> Result<Conversation, Refused> {
        let conversation = of_user(caller, self.0.store.conversation(&caller.tenant, id).await?)?;
        if caller.assistants.allows(&conversation.assistant) {
            Ok(conversation)
        } else {
            Err(StoreError::NoConversation.into())
        }
    }

    /// Conversations that this caller sees, last changed first. The filter's `assistants` and, for a browser's token, `user` are
    /// set here.
    ///
    /// # Errors
    /// The cursor is none.
    pub async fn conversations(
        &self,
        caller: &Caller,
        mut filter: ConversationFilter,
        page: PageRequest,
    ) -> Result<Page<Conversation>, Refused> {
        filter.assistants = caller.assistants.bound().map(<[AssistantName]>::to_vec);
        if let Some(own) = &caller.user {
            if filter.user.as_ref().is_some_and(|user| user != own) {
                return Ok(Page { items: Vec::new(), next_cursor: None });
            }
            filter.user = Some(own.clone());
        }
        Ok(self.0.store.conversations(&caller.tenant, filter, page).await?)
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
        self.conversation(caller, id).await?;
        Ok(self.0.store.change_conversation(&caller.tenant, id, change, Timestamp::now()).await?)
    }

    /// Erases a conversation; a turn that runs in it is cancelled first.
    ///
    /// # Errors
    /// None such for this caller.
    pub async fn delete_conversation(&self, caller: &Caller, id: ConversationId) -> Result<(), Refused> {
        self.conversation(caller, id).await?;
        self.erase(caller, id).await
    }

    /// Erases all of a user's conversations that this caller sees; says how many.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn delete_conversations_of(&self, caller: &Caller, user: &UserId) -> Result<u64, Refused> {
        if caller.user.as_ref().is_some_and(|own| own != user) {
            return Ok(0);
        }
        let mut erased = 0;
        for (id, assistant) in self.0.store.conversations_of_user(&caller.tenant, user).await? {
            if !caller.assistants.allows(&assistant) {
                continue;
            }
            match self.erase(caller, id).await {
                Ok(()) => erased += 1,
                Err(refused) if refused.error.code == ErrorCode::ConversationNotFound => {}
                Err(refused) => return Err(refused),
            }
        }
        Ok(erased)
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
        self.conversation(caller, id).await?;
        Ok(self.0.store.messages(&caller.tenant, id, descending, page).await?)
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
        let conversation = self.conversation(caller, id).await?;
        let restricted = matches!(message.role, Role::Operator | Role::System);
        if restricted && (caller.user.is_some() || !caller.may.has(Permission::Operator)) {
            return Err(lacks(Permission::Operator).about("role"));
        }
        let new = NewMessage {
            id: MessageId::new(),
            role: message.role,
            author: message.author.unwrap_or_else(|| message.role.as_str().to_owned()),
            content: Content::text_only(message.text),
            sources: Vec::new(),
            status: MessageStatus::Completed,
            created_at: Timestamp::now(),
            upstream_message_id: None,
        };
        let own_id = new.id;
        let kept = self.0.store.put_message(&caller.tenant, id, new, idempotency).await?;
        let catalog = self.0.catalog.load_full();
        let Some(assistant) = catalog.assistant(&conversation.assistant) else {
            return Ok((kept, Delivery::Stored));
        };
        if self.is_injected(caller, assistant, &kept, kept.id == own_id).await? {
            return Ok((kept, Delivery::Upstream));
        }
        let told = assistant.context_messages > 0;
        Ok((kept, if told { Delivery::NextTurn } else { Delivery::Stored }))
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
        self.conversation(caller, id).await?;
        let fork = Fork { id: ConversationId::new(), from: id, up_to, created_at: Timestamp::now() };
        Ok(self.0.store.fork(&caller.tenant, fork, idempotency).await?)
    }

    /// Fetches what was said upstream outside the gateway; says how many messages were added.
    ///
    /// # Errors
    /// None such for this caller; the provider has no history (`unsupported`).
    pub async fn sync(&self, caller: &Caller, id: ConversationId) -> Result<u64, Refused> {
        let conversation = self.conversation(caller, id).await?;
        let assistant = self.named(caller, &conversation.assistant)?;
        let mut seed = thread::seed(&assistant)
            .filter(|_| has_history(&assistant))
            .ok_or_else(|| no_history(&assistant, "conversation_id"))?;
        let Some(upstream) = conversation.upstream_conversation_id else { return Ok(0) };
        let all = self.upstream_history(&assistant, &upstream).await?;
        let known = self.all_messages(caller, id).await?;
        seed.fresh_id = Some(upstream);
        let new = crate::sync::unknown(&known, all);
        Ok(self.0.store.put_upstream_messages(&caller.tenant, id, seed, new).await?)
    }

    async fn erase(&self, caller: &Caller, id: ConversationId) -> Result<(), Refused> {
        for turn in self.0.store.running_turns(&caller.tenant, id).await? {
            let running = match self.0.registry.find(turn).await {
                Some(running) => running,
                None => match follow::find(&self.0, &caller.tenant, turn).await {
                    Ok(running) => running,
                    Err(StoreError::NoTurn) => continue,
                    Err(error) => return Err(error.into()),
                },
            };
            running.stop(Stop::Cancel);
            // A turn whose end cannot be recorded in time is erased all the same: its task finds that out.
            let _ = tokio::time::timeout(CANCEL_WAIT_MAX, running.settled.cancelled()).await;
        }
        Ok(self.0.store.delete_conversation(&caller.tenant, id).await?)
    }

    /// An assistant that the caller names.
    pub(crate) fn named(&self, caller: &Caller, name: &AssistantName) -> Result<Arc<Assistant>, Refused> {
        let catalog = self.0.catalog.load();
        let assistant = catalog.assistant(name).ok_or_else(|| no_assistant(name))?;
        if caller.assistants.allows(name) { Ok(Arc::clone(assistant)) } else { Err(not_allowed(name)) }
    }

    /// Gives an operator's message to a provider that takes such, unless a turn runs: then it stands after that turn, and is told
    /// with the next one. Says whether the provider has it.
    async fn is_injected(
        &self,
        caller: &Caller,
        assistant: &Assistant,
        message: &Message,
        is_new: bool,
    ) -> Result<bool, Refused> {
        let provider = &assistant.provider.provider;
        if message.role != Role::Operator || provider.capabilities().inject != Offer::Native {
            return Ok(false);
        }
        let Some(seed) = thread::seed(assistant) else { return Ok(false) };
        let thread = match self.0.store.thread(&caller.tenant, message.conversation_id, seed.clone()).await {
            Ok(thread) => thread,
            Err(StoreError::Busy { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let Some(id) = thread.id.clone().filter(|_| is_new) else {
            return Ok(thread.reached >= message.position);
        };
        let injection = chat::Injection {
            upstream_id: assistant.upstream_id.clone(),
            thread: chat::Thread { id: id.clone(), fresh: thread.reached == 0 },
            author: message.author.clone(),
            text: message.content.text().into_owned(),
        };
        if let Err(error) = provider.inject(injection).await {
            tracing::warn!(provider.name = %assistant.provider.name, error = %error, "a message could not be put in upstream");
            return Ok(false);
        }
        // The thread reaches so far only if it lacks nothing before: else the next turn quotes what it lacks, this one included.
        let page = PageRequest { limit: 2, cursor: None };
        let last = self.0.store.messages(&caller.tenant, message.conversation_id, true, page).await?;
        let before = last.items.iter().find(|other| other.position < message.position);
        if before.is_none_or(|before| before.position <= thread.reached) {
            let update = chat::ThreadUpdate::Reached { id, reached: message.position, told: thread.told };
            self.0.store.reach_thread(&caller.tenant, message.conversation_id, seed, update).await?;
        }
        Ok(true)
    }

    async fn all_messages(&self, caller: &Caller, id: ConversationId) -> Result<Vec<Message>, Refused> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let page =
                self.0.store.messages(&caller.tenant, id, false, PageRequest { limit: 100, cursor }).await?;
            all.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    async fn upstream_history(
        &self,
        assistant: &Assistant,
        upstream: &str,
    ) -> Result<Vec<NewMessage>, Refused> {
        let history = assistant.provider.provider.history(&assistant.upstream_id, upstream).await;
        let history = history.map_err(|error| upstream_refused(&error, assistant))?;
        let now = Timestamp::now();
        let message = |message: chat::UpstreamMessage| NewMessage {
            id: MessageId::new(),
            role: message.role,
            author: message.author.unwrap_or_else(|| message.role.as_str().to_owned()),
            content: Content::text_only(message.text),
            sources: Vec::new(),
            status: MessageStatus::Completed,
            created_at: message.created_at.unwrap_or(now),
            upstream_message_id: message.id,
        };
        Ok(history.into_iter().map(message).collect())
    }
}

/// What a caller sees when the provider does not give its history.
pub(crate) fn upstream_refused(error: &ProviderError, assistant: &Assistant) -> Refused {
    match error.failure {
        Failure::NotFound => {
            Refused::new(ErrorCode::ConversationNotFound, "the provider has no such conversation")
                .about("upstream_conversation_id")
        }
        Failure::Unsupported => no_history(assistant, "assistant"),
        _ => describe(error, assistant).into(),
    }
}

fn has_history(assistant: &Assistant) -> bool {
    assistant.provider.provider.capabilities().upstream_history == Offer::Native
}

pub(crate) fn no_history(assistant: &Assistant, field: &str) -> Refused {
    let sentence =
        format!("the provider of the assistant `{}` shows no conversations of its own", assistant.name);
    Refused::new(ErrorCode::Unsupported, sentence).about(field)
}

//! What the gateway asks of a store.
//!
//! [`ConversationStore`] is what tenants reach: the tenant is a parameter of every call, so that a query without it cannot be
//! written. [`Maintenance`] is what only the gateway itself does: keys, settling after a crash, retention, the sums for admins.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    AssistantName, Content, Conversation, ConversationChange, ConversationFilter, ConversationId, KeyId,
    LedgerRow, LogSlice, Message, MessageId, MessageStatus, Metadata, Page, PageRequest, Permissions,
    ProviderName, Role, Source, TenantId, Timestamp, Turn, TurnId, TurnStatus, UsageRange, UsageSum, UserId,
};

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such conversation, or it is not this tenant's.
    #[error("no such conversation")]
    NoConversation,
    /// There is no such turn, or it is not this tenant's.
    #[error("no such turn")]
    NoTurn,
    /// There is no such message in the conversation.
    #[error("no such message")]
    NoMessage,
    /// There is no such key.
    #[error("no such key")]
    NoKey,
    /// The cursor is not one that this store gave out.
    #[error("not a cursor of this list")]
    Cursor,
    /// A turn runs in the conversation (or as many wait as may).
    #[error("a turn runs in the conversation")]
    Busy {
        /// The turn that runs.
        running: TurnId,
    },
    /// The conversation belongs to another user.
    #[error("the conversation belongs to another user")]
    OtherUser,
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used with another request")]
    Conflict,
    /// Another owner has taken the turn over: nothing was written.
    #[error("the turn has another owner now")]
    Fenced,
    /// The store does not answer, is full or is locked. Nothing was written.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What searches look in is not up to date, or has to be made anew: the rest of the store is not meant. Nothing was written.
    #[error("the search's index is unavailable")]
    NoIndex(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store was asked and did not say in time what came of it: perhaps it was written, or is yet to be.
    #[error("the store did not say whether it was written")]
    InDoubt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What the store holds cannot be read.
    #[error("the store holds something that cannot be read")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a client sent to be able to repeat a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, 1 to 255 printable ASCII characters.
    pub key: String,
    /// A hash of the route and the body, without `stream`.
    pub fingerprint: [u8; 32],
    /// Until when the record is kept.
    pub expires_at: Timestamp,
}

/// A conversation to make.
#[derive(Debug, Clone, PartialEq)]
pub struct NewConversation {
    /// Its id.
    pub id: ConversationId,
    /// The assistant.
    pub assistant: AssistantName,
    /// Its provider.
    pub provider: ProviderName,
    /// Its user.
    pub user: Option<UserId>,
    /// Its title.
    pub title: Option<String>,
    /// Words about it.
    pub metadata: Metadata,
    /// Now.
    pub created_at: Timestamp,
    /// Messages that it begins with: a transcript, or what was adopted from upstream.
    pub messages: Vec<NewMessage>,
    /// The provider's thread that it was adopted from; it reaches as far as the messages.
    pub thread: Option<ThreadSeed>,
}

/// A message to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// Its id.
    pub id: MessageId,
    /// Who speaks.
    pub role: Role,
    /// The speaker's name.
    pub author: String,
    /// What is said.
    pub content: Content,
    /// What it rests on.
    pub sources: Vec<Source>,
    /// How it came out.
    pub status: MessageStatus,
    /// When.
    pub created_at: Timestamp,
    /// The provider's id of it, so that it is not fetched twice.
    pub upstream_message_id: Option<String>,
}

/// What another turn in a busy conversation gets.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum WhenBusy {
    /// A refusal.
    #[default]
    Reject,
    /// A place in the queue.
    Queue,
    /// The running one is cancelled.
    Interrupt,
}

/// A provider's thread that an assistant's next turn begins, or that was adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadSeed {
    /// The assistant.
    pub assistant: AssistantName,
    /// What it points at; a thread holds for this alone.
    pub upstream_id: String,
    /// The id for a new thread, where the gateway makes it ([`crate::Provider::new_thread`]), or the adopted one.
    pub fresh_id: Option<String>,
}

/// A provider's thread as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredThread {
    /// The provider's id; none when the provider makes it and has not yet.
    pub id: Option<String>,
    /// The position of the last message that it knows; nothing yet when 0 and `id` was made by the gateway.
    pub reached: i64,
    /// The position before which the system text was last told, and its hash; none when it was not.
    pub told: Option<(i64, u64)>,
}

/// Where a turn stands.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnTarget {
    /// In a conversation that is made with it.
    New(Box<NewConversation>),
    /// In this one. The conversation moves to the turn's assistant.
    Existing(ConversationId),
}

/// A turn to accept.
#[derive(Debug, Clone)]
pub struct NewTurn {
    /// Its id.
    pub id: TurnId,
    /// Where it stands.
    pub target: TurnTarget,
    /// The assistant asked.
    pub assistant: AssistantName,
    /// Its provider.
    pub provider: ProviderName,
    /// The end user: fixes the conversation's, or must be the same.
    pub user: Option<UserId>,
    /// The key that asks.
    pub key: KeyId,
    /// The user's message.
    pub message: NewMessage,
    /// The id that the reply will have.
    pub reply_id: MessageId,
    /// Words about the turn.
    pub metadata: Metadata,
    /// What to do when the conversation is busy.
    pub when_busy: WhenBusy,
    /// How many turns may wait in the conversation.
    pub queue_max: u32,
    /// So that the request can be repeated.
    pub idempotency: Option<Idempotency>,
    /// The provider's thread to use or begin; none when the provider keeps none.
    pub thread: Option<ThreadSeed>,
    /// How many earlier messages to give back.
    pub context_messages: u32,
    /// What else the engine needs to begin the turn later: opaque to the store.
    pub request: String,
    /// The gateway process that runs the turn.
    pub owner: String,
    /// Now.
    pub created_at: Timestamp,
}

/// What came of asking for a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Acceptance {
    /// It is durable.
    Accepted(Box<Accepted>),
    /// The idempotency key was used for the same request: this turn.
    Repeat {
        /// The turn that the first request made.
        turn_id: TurnId,
        /// Whether that turn is kept in the store.
        stored: bool,
    },
}

/// A turn that is durable, or that begins after it has waited.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Where it stands.
    pub conversation: Conversation,
    /// The turn that it waits for; none when it runs now.
    pub waits_for: Option<TurnId>,
    /// The position of the user's message; the reply's is one more.
    pub position: i64,
    /// The provider's thread, in doubt from now on until the turn's end says otherwise.
    pub thread: Option<StoredThread>,
    /// The last messages before the user's that providers are given, oldest first, at most `context_messages` of them.
    pub history: Vec<Message>,
}

/// What is kept of a running turn, at least once a second.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// The events since the last checkpoint that is known to be kept.
    pub slice: LogSlice,
    /// The number of the event before the slice. What another checkpoint kept behind it, without its writer being told, is in this
    /// slice again, and gives way to it.
    pub after_seq: u64,
    /// The highest event number that may be given out before the next checkpoint.
    pub reserved_seq: u64,
    /// The number of the last event that the slice holds.
    pub last_seq: u64,
    /// Calls that have ended since the last checkpoint.
    pub ledger: Vec<LedgerRow>,
    /// The call that runs now, as the row it becomes if nobody can say more.
    pub in_flight: Vec<LedgerRow>,
    /// The calls of the turn that gave no answer so far, in order: as JSON.
    pub attempts: String,
    /// What is known of the upstream's ids, model and usage so far: as JSON.
    pub upstream: String,
}

/// How far the provider's thread reaches after a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThreadUpdate {
    /// As before the turn: the provider certainly did nothing.
    Untouched,
    /// It knows the turn, and may have a new id.
    Reached {
        /// The provider's id.
        id: String,
        /// The position of the last message that it knows.
        reached: i64,
        /// When the system text was last told.
        told: Option<(i64, u64)>,
    },
    /// Nobody knows: the next turn begins a new one.
    InDoubt,
}

/// The end of a turn, written once.
#[derive(Debug, Clone)]
pub struct TurnEnd {
    /// The turn as it ended; its message, if any, becomes the conversation's.
    pub turn: Turn,
    /// The turn's whole event log; its text stands here only where it is not the reply's alone (after a replacement).
    pub log: LogSlice,
    /// Whether the log's text is the reply's text, so that it is not kept twice.
    pub log_text_is_reply: bool,
    /// The thread of the assistant asked.
    pub thread: ThreadUpdate,
    /// Calls that are not in the ledger yet.
    pub ledger: Vec<LedgerRow>,
    /// The idempotency key may be used again: the turn certainly did nothing.
    pub free_idempotency: bool,
    /// The gateway process that ran it.
    pub owner: String,
}

/// A turn as kept.
#[derive(Debug, Clone)]
pub struct StoredTurn {
    /// The turn as it stands: with the text of the last checkpoint while it runs.
    pub turn: Turn,
    /// The assistant and provider that were asked.
    pub asked: (AssistantName, ProviderName),
    /// Whether it had to wait: its first event says so.
    pub queued: bool,
    /// The slices of its event log, in order.
    pub log: Vec<LogSlice>,
    /// The highest event number that may have been given out.
    pub reserved_seq: u64,
    /// The position of the user's message.
    pub position: i64,
    /// The id that its reply has, or will have.
    pub reply_id: MessageId,
    /// The gateway process that runs it.
    pub owner: String,
    /// The end user of its conversation.
    pub user: Option<UserId>,
}

/// A turn that was running when its process ended.
#[derive(Debug, Clone)]
pub struct Unsettled {
    /// Whose.
    pub tenant: TenantId,
    /// The turn.
    pub stored: StoredTurn,
    /// The key that asked.
    pub key: KeyId,
    /// Calls that were running, as the last checkpoint knew them.
    pub in_flight: Vec<LedgerRow>,
}

/// What came of a turn that runs, since a reader last looked.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnNews {
    /// How it stands.
    pub status: TurnStatus,
    /// The slices that hold events after the one asked for, in order, each with the number of its last event. The first may begin
    /// before.
    pub slices: Vec<(u64, LogSlice)>,
    /// The highest event number that may have been given out.
    pub reserved_seq: u64,
}

/// What a gateway process finds out when it says that it lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roll {
    /// Turns of its own that somebody elsewhere wants stopped.
    pub stop: Vec<TurnId>,
    /// All other processes that say that they live.
    pub others: Vec<Peer>,
}

/// Another gateway process on the same store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name, as in the rows of its turns.
    pub owner: String,
    /// How often it has said that it lives. Whoever sees this number stand still while the store answers knows that the process
    /// is gone, without trusting anybody's clock.
    pub beats: u64,
}

/// A conversation to copy.
#[derive(Debug, Clone)]
pub struct Fork {
    /// The new conversation's id.
    pub id: ConversationId,
    /// The conversation to copy.
    pub from: ConversationId,
    /// The last message to take along; all when none.
    pub up_to: Option<MessageId>,
    /// Now.
    pub created_at: Timestamp,
}

/// Conversations, turns and usage of tenants.
///
/// Every call that writes is atomic, and durable when it returns. Every call is bounded in time: a store that does not answer
/// is [`StoreError::Unavailable`], or [`StoreError::InDoubt`] where it may have written.
#[async_trait]
pub trait ConversationStore: Send + Sync + fmt::Debug + 'static {
    /// Makes a conversation; gives back the one that the idempotency key already made.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]; [`StoreError::NoConversation`] when any conversation of any tenant holds the adopted thread.
    async fn create_conversation(
        &self,
        tenant: &TenantId,
        new: NewConversation,
        idempotency: Option<Idempotency>,
    ) -> Result<Conversation, StoreError>;

    /// A conversation.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`].
    async fn conversation(&self, tenant: &TenantId, id: ConversationId) -> Result<Conversation, StoreError>;

    /// Conversations, last changed first. Paging neither skips nor repeats while conversations are added.
    ///
    /// # Errors
    /// [`StoreError::Cursor`].
    async fn conversations(
        &self,
        tenant: &TenantId,
        filter: ConversationFilter,
        page: PageRequest,
    ) -> Result<Page<Conversation>, StoreError>;

    /// Changes a conversation. Counts as a change: it moves to the front of the list.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`].
    async fn change_conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        change: ConversationChange,
        now: Timestamp,
    ) -> Result<Conversation, StoreError>;

    /// Erases a conversation with its messages, turns and idempotency records; the ledger keeps its sums.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`].
    async fn delete_conversation(&self, tenant: &TenantId, id: ConversationId) -> Result<(), StoreError>;

    /// The ids of all conversations of a user, and which turns run in them.
    ///
    /// # Errors
    /// None of its own.
    async fn conversations_of_user(
        &self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<Vec<(ConversationId, AssistantName)>, StoreError>;

    /// The turns that run or wait in a conversation, in order.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`].
    async fn running_turns(&self, tenant: &TenantId, id: ConversationId) -> Result<Vec<TurnId>, StoreError>;

    /// Messages in order, or newest first.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`], [`StoreError::Cursor`].
    async fn messages(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        descending: bool,
        page: PageRequest,
    ) -> Result<Page<Message>, StoreError>;

    /// Puts a message in: after the turn that runs, if one does.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`], [`StoreError::Conflict`].
    async fn put_message(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        message: NewMessage,
        idempotency: Option<Idempotency>,
    ) -> Result<Message, StoreError>;

    /// Puts in what was said upstream, in order, leaving out messages whose upstream id is there already, and lets the thread
    /// reach to the last. Says how many were added.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`]; [`StoreError::Busy`] while a turn runs.
    async fn put_upstream_messages(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        thread: ThreadSeed,
        messages: Vec<NewMessage>,
    ) -> Result<u64, StoreError>;

    /// Copies a conversation. The copy has no thread at any provider.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`], [`StoreError::NoMessage`], [`StoreError::Conflict`].
    async fn fork(
        &self,
        tenant: &TenantId,
        fork: Fork,
        idempotency: Option<Idempotency>,
    ) -> Result<Conversation, StoreError>;

    /// Takes a note that a turn of this tenant made a provider's thread, whether a conversation holds it or not (a fallback's, that of
    /// a turn that is not kept): nobody else is ever shown it or may adopt it, even after the conversation is erased. The first
    /// note stands.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn own_thread(
        &self,
        tenant: &TenantId,
        provider: &ProviderName,
        upstream_id: &str,
        thread: &str,
    ) -> Result<(), StoreError>;

    /// The conversation of this tenant that holds a provider's thread, or whether it is another tenant's.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`] when another tenant's conversation holds it, or another tenant's turn made it.
    async fn conversation_of_thread(
        &self,
        tenant: &TenantId,
        provider: &ProviderName,
        upstream_id: &str,
        thread: &str,
    ) -> Result<Option<ConversationId>, StoreError>;

    /// An assistant's thread in a conversation; makes it with the seed's id where there is none (or it is in doubt). Tells
    /// whether a turn runs in the conversation: then nothing is made.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`]; [`StoreError::Busy`].
    async fn thread(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        seed: ThreadSeed,
    ) -> Result<StoredThread, StoreError>;

    /// Lets a thread reach to a message that the provider was given outside a turn.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`].
    async fn reach_thread(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        seed: ThreadSeed,
        update: ThreadUpdate,
    ) -> Result<(), StoreError>;

    /// The turn that the same request made before, if it did, and whether it is kept: a look, which accepts nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    async fn repeat_of(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<(TurnId, bool)>, StoreError>;

    /// Accepts a turn: the user's message, the turn, its thread and its idempotency record, all or nothing.
    ///
    /// # Errors
    /// [`StoreError::NoConversation`], [`StoreError::Busy`], [`StoreError::OtherUser`], [`StoreError::Conflict`].
    async fn accept_turn(&self, tenant: &TenantId, new: NewTurn) -> Result<Acceptance, StoreError>;

    /// Begins a turn that has waited, if none before it still runs or waits: what it is given is read now. The second time it
    /// begins anew: whoever asks again was not told the first time.
    ///
    /// # Errors
    /// [`StoreError::NoTurn`] when it has ended, or never waited; [`StoreError::Fenced`]; [`StoreError::Busy`] when it is not its
    /// turn yet.
    async fn begin_turn(
        &self,
        tenant: &TenantId,
        id: TurnId,
        owner: &str,
        thread: Option<ThreadSeed>,
        context_messages: u32,
    ) -> Result<Accepted, StoreError>;

    /// Keeps what has come of a running turn.
    ///
    /// # Errors
    /// [`StoreError::NoTurn`] when it was erased; [`StoreError::Fenced`].
    async fn checkpoint(
        &self,
        tenant: &TenantId,
        id: TurnId,
        owner: &str,
        checkpoint: Checkpoint,
    ) -> Result<(), StoreError>;

    /// Records the end of a turn. The second time nothing happens.
    ///
    /// # Errors
    /// [`StoreError::NoTurn`] when it was erased (its ledger rows are written all the same); [`StoreError::Fenced`] when it is
    /// another owner's, ended or not.
    async fn end_turn(&self, tenant: &TenantId, end: TurnEnd) -> Result<(), StoreError>;

    /// A turn with its event log.
    ///
    /// # Errors
    /// [`StoreError::NoTurn`].
    async fn turn(&self, tenant: &TenantId, id: TurnId) -> Result<StoredTurn, StoreError>;

    /// What came of a running turn after the event numbered `after`: for those who follow a turn of another process. The log of one
    /// that has ended is read with [`Self::turn`].
    ///
    /// # Errors
    /// [`StoreError::NoTurn`].
    async fn turn_news(&self, tenant: &TenantId, id: TurnId, after: u64) -> Result<TurnNews, StoreError>;

    /// Wants a turn stopped: the process that runs it finds out with its next [`Maintenance::renew`]. Changes nothing for one that
    /// has ended.
    ///
    /// # Errors
    /// [`StoreError::NoTurn`].
    async fn wish_stop(&self, tenant: &TenantId, id: TurnId) -> Result<(), StoreError>;

    /// Takes a note of an idempotency key whose turn is not kept. Gives back the turn (and whether it is kept) that the same
    /// request made before; none when the note is new.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    async fn note_unstored(
        &self,
        tenant: &TenantId,
        id: TurnId,
        idempotency: Idempotency,
    ) -> Result<Option<(TurnId, bool)>, StoreError>;

    /// Frees the idempotency key of a turn that is not kept, if it is still this turn's.
    ///
    /// # Errors
    /// None of its own.
    async fn free_unstored(&self, tenant: &TenantId, id: TurnId, key: &str) -> Result<(), StoreError>;

    /// Sums of this tenant's ledger, newest day first.
    ///
    /// # Errors
    /// None of its own.
    async fn usage(&self, tenant: &TenantId, range: UsageRange) -> Result<Vec<UsageSum>, StoreError>;
}

/// A key in the store. Its secret is not there: only a hash of it.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// What was asked for.
    pub key: NewKey,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key to make.
#[derive(Debug, Clone, PartialEq)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// Its tenant.
    pub tenant: TenantId,
    /// The assistants that it may use; none: all.
    pub assistants: Option<Vec<AssistantName>>,
    /// What else it may do.
    pub may: Permissions,
    /// Whether the admin routes are open to it.
    pub admin: bool,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Its limits, as JSON: the server's own words.
    pub limits: String,
}

/// How the store is doing: for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStatus {
    /// Writes that wait for the next commit.
    pub queued_writes: usize,
}

/// What only the gateway itself asks of a store.
#[async_trait]
pub trait Maintenance: Send + Sync + fmt::Debug + 'static {
    /// Whether the store answers: reads and could write.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn ping(&self) -> Result<(), StoreError>;

    /// How it is doing.
    fn status(&self) -> StoreStatus;

    /// Keeps a new key.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn create_key(&self, key: NewKey, now: Timestamp) -> Result<KeyRecord, StoreError>;

    /// All keys, revoked ones too, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError>;

    /// Revokes a key; a second time changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NoKey`].
    async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<KeyRecord, StoreError>;

    /// The key with this hash, revoked ones too.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError>;

    /// The key with this id, revoked ones too.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn key_by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError>;

    /// A secret of this gateway (and all that share the store), made at the first call: it signs browsers' tokens.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn secret(&self, name: &str) -> Result<[u8; 32], StoreError>;

    /// What a key has spent since a day (its sums): for budgets.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn spent(&self, key: KeyId, since_day: &str) -> Result<UsageSumOfKey, StoreError>;

    /// Whether other gateway processes may run turns on this store as well. Else [`Self::join`], [`Self::renew`] and [`Self::leave`]
    /// do nothing, and [`Self::take_over`] takes all turns of others.
    fn is_shared(&self) -> bool;

    /// Enters this process among those that run turns: before it accepts its first. Gives its fencing token, which is higher than
    /// every one given before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn join(&self, owner: &str) -> Result<u64, StoreError>;

    /// Says that this process lives, over a connection that waits for no other work.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when others took it for dead: its turns are theirs, and it must join under another name.
    async fn renew(&self, owner: &str) -> Result<Roll, StoreError>;

    /// Makes the open turns of processes that are gone this one's: of those of `lapsed` that have still said nothing since, and of
    /// all that have left or were taken for dead before. Atomic: of several that try, one gets them. Says how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn take_over(&self, owner: &str, lapsed: Vec<Peer>) -> Result<u64, StoreError>;

    /// The turns that run or wait: of this process, or of all.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn open_turns(&self, owner: Option<&str>) -> Result<Vec<(TenantId, TurnId)>, StoreError>;

    /// What is known of a turn that somebody left running; none when it has ended or is gone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn unsettled(&self, tenant: &TenantId, id: TurnId) -> Result<Option<Unsettled>, StoreError>;

    /// Takes this process off the list: what it has left running is anybody's at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn leave(&self, owner: &str) -> Result<(), StoreError>;

    /// Writes ledger rows of turns that are not kept.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn record(&self, rows: Arc<[LedgerRow]>) -> Result<(), StoreError>;

    /// Erases at most `limit` conversations that have not changed since `before`, and expired idempotency records. Says how
    /// many conversations went.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn retain(&self, before: Option<Timestamp>, now: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Sums of everybody's ledger, newest day first, with tenants.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn usage_of_all(&self, range: UsageRange) -> Result<Vec<UsageSum>, StoreError>;

    /// Waits until all accepted writes are durable, at most so long, and closes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the time was not enough.
    async fn close(&self, within: Duration) -> Result<(), StoreError>;
}

/// What a key has spent in a span of days.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageSumOfKey {
    /// All tokens, as far as reported.
    pub tokens: u64,
    /// Money, one entry per currency.
    pub cost: Vec<crate::Cost>,
}

//! A store whose calls go wrong where a test wants it: before they are done or after, once or for good.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chat::{
    Acceptance, Accepted, AssistantName, Checkpoint, Conversation, ConversationChange, ConversationFilter,
    ConversationId, ConversationStore, Fork, Idempotency, Message, NewConversation, NewMessage, NewTurn,
    Page, PageRequest, ProviderName, StoreError, StoredThread, StoredTurn, TenantId, ThreadSeed,
    ThreadUpdate, Timestamp, TurnEnd, TurnId, TurnNews, UsageRange, UsageSum, UserId,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// When a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing was written.
    Before,
    /// It was written, and nobody is told.
    After,
}

/// How it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// This call alone: the caller is told that it failed, or that nobody knows.
    Once,
    /// This call alone: what it is to write can never be written.
    Refused,
    /// The process ends here: this call and all after it never come back.
    Crash,
    /// The code has a mistake: it panics.
    Panic,
}

/// The n-th call of an operation, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    pub operation: &'static str,
    pub number: usize,
    pub when: When,
    pub wrong: Wrong,
}

#[derive(Debug)]
pub struct Faulty {
    store: Arc<store::Store>,
    points: Vec<Point>,
    counts: Mutex<HashMap<&'static str, usize>>,
    /// Cancelled when the process "has ended".
    pub crashed: CancellationToken,
    reached: CancellationToken,
    armed: AtomicBool,
    /// How many checkpoints there were, those that went wrong included.
    pub checkpoints: watch::Sender<usize>,
}

impl Faulty {
    pub fn new(store: Arc<store::Store>, points: &[Point]) -> Self {
        Self {
            store,
            points: points.to_vec(),
            counts: Mutex::default(),
            crashed: CancellationToken::new(),
            reached: CancellationToken::new(),
            armed: AtomicBool::new(true),
            checkpoints: watch::Sender::new(0),
        }
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        inner: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.crashed.is_cancelled() {
            return std::future::pending().await;
        }
        let number = {
            let mut counts = self.counts.lock().unwrap();
            let count = counts.entry(operation).or_default();
            *count += 1;
            *count
        };
        let armed = self.armed.load(Ordering::SeqCst);
        let here = |point: &&Point| point.operation == operation && point.number == number;
        let Some(point) = self.points.iter().filter(|_| armed).find(here) else {
            let result = inner.await;
            self.note(operation);
            return result;
        };
        if point.when == When::After {
            // What it came to is lost on the way back.
            let _ = inner.await;
        }
        self.reached.cancel();
        self.note(operation);
        match (point.wrong, point.when) {
            (Wrong::Crash, _) => {
                self.crashed.cancel();
                std::future::pending().await
            }
            (Wrong::Panic, _) => panic!("a mistake, as the test wants it"),
            (Wrong::Refused, _) => Err(StoreError::Damaged("a refusal".into())),
            (Wrong::Once, When::Before) => Err(StoreError::Unavailable("a fault".into())),
            (Wrong::Once, When::After) => Err(StoreError::InDoubt("a fault".into())),
        }
    }
}

impl Faulty {
    /// From now on nothing goes wrong. Says whether anything has.
    pub fn disarm(&self) -> bool {
        self.armed.store(false, Ordering::SeqCst);
        self.reached.is_cancelled()
    }

    fn note(&self, operation: &str) {
        if operation == "checkpoint" {
            self.checkpoints.send_modify(|count| *count += 1);
        }
    }
}

/// Writes each method as a call of the inner store under its own name.
macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        #[async_trait]
        impl ConversationStore for Faulty {
            $(
                async fn $name(&self, tenant: &TenantId, $($argument: $type),*) -> Result<$result, StoreError> {
                    self.call(stringify!($name), self.store.$name(tenant, $($argument),*)).await
                }
            )*
        }
    };
}

pass_on! {
    create_conversation(new: NewConversation, idempotency: Option<Idempotency>) -> Conversation;
    conversation(id: ConversationId) -> Conversation;
    conversations(filter: ConversationFilter, page: PageRequest) -> Page<Conversation>;
    change_conversation(id: ConversationId, change: ConversationChange, now: Timestamp) -> Conversation;
    delete_conversation(id: ConversationId) -> ();
    conversations_of_user(user: &UserId) -> Vec<(ConversationId, AssistantName)>;
    running_turns(id: ConversationId) -> Vec<TurnId>;
    messages(id: ConversationId, descending: bool, page: PageRequest) -> Page<Message>;
    put_message(id: ConversationId, message: NewMessage, idempotency: Option<Idempotency>) -> Message;
    put_upstream_messages(id: ConversationId, thread: ThreadSeed, messages: Vec<NewMessage>) -> u64;
    fork(fork: Fork, idempotency: Option<Idempotency>) -> Conversation;
    own_thread(provider: &ProviderName, upstream_id: &str, thread: &str) -> ();
    conversation_of_thread(provider: &ProviderName, upstream_id: &str, thread: &str) -> Option<ConversationId>;
    thread(id: ConversationId, seed: ThreadSeed) -> StoredThread;
    reach_thread(id: ConversationId, seed: ThreadSeed, update: ThreadUpdate) -> ();
    repeat_of(idempotency: &Idempotency) -> Option<(TurnId, bool)>;
    accept_turn(new: NewTurn) -> Acceptance;
    begin_turn(id: TurnId, owner: &str, thread: Option<ThreadSeed>, context_messages: u32) -> Accepted;
    checkpoint(id: TurnId, owner: &str, checkpoint: Checkpoint) -> ();
    end_turn(end: TurnEnd) -> ();
    turn(id: TurnId) -> StoredTurn;
    turn_news(id: TurnId, after: u64) -> TurnNews;
    wish_stop(id: TurnId) -> ();
    note_unstored(id: TurnId, idempotency: Idempotency) -> Option<(TurnId, bool)>;
    free_unstored(id: TurnId, key: &str) -> ();
    usage(range: UsageRange) -> Vec<UsageSum>;
}

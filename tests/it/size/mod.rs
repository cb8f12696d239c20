//! Large stores: every question is answered by an index, and what a page costs doesn't grow with the store or with the page's depth.
//!
//! PostgreSQL explains each statement as it runs (`auto_explain`), SQLite is asked for the plans of the statements that were run.

mod fill;
mod overhear;
mod postgres;
mod sqlite;

use std::time::Duration;

use chat::{
    ConversationFilter, ConversationId, ConversationStore, Idempotency, KeyId, Maintenance, PageRequest,
    TenantId, Timestamp, TurnId, UsageRange,
};
use store::Store;

/// What is looked for in a large store.
pub struct Known {
    pub tenant: TenantId,
    /// One with a tenth of all messages.
    pub deep: ConversationId,
    pub key: KeyId,
    pub turn: TurnId,
}

/// Tables that grow with use.
pub const LARGE: [&str; 6] = ["conversations", "messages", "turns", "ledger", "idempotency", "turn_slices"];

/// Every question that may be asked of a large store, by name.
pub const QUESTIONS: [&str; 15] = [
    "conversations, first page",
    "conversations, deep page",
    "conversations of a user",
    "conversations of an assistant",
    "messages, first page",
    "messages, deep page",
    "messages, newest first",
    "search, a rare word",
    "search, a word that is everywhere",
    "idempotency",
    "unsettled turns",
    "a turn",
    "usage",
    "what a key has spent",
    "retention",
];

fn page(limit: u32, cursor: Option<&str>) -> PageRequest {
    PageRequest { limit, cursor: cursor.map(str::to_owned) }
}

/// A cursor some pages down the list: a tenth of the tenant's conversations, but no more pages than a test has time for.
pub async fn cursor_of_conversations(store: &Store, known: &Known) -> Option<String> {
    let mut cursor = None;
    for _ in 0..30 {
        let list = store
            .conversations(&known.tenant, ConversationFilter::default(), page(100, cursor.as_deref()))
            .await
            .unwrap();
        cursor = Some(list.next_cursor?);
    }
    cursor
}

pub async fn cursor_of_messages(store: &Store, known: &Known) -> Option<String> {
    let mut cursor = None;
    for _ in 0..30 {
        let list =
            store.messages(&known.tenant, known.deep, false, page(100, cursor.as_deref())).await.unwrap();
        cursor = Some(list.next_cursor?);
    }
    cursor
}

/// Asks one of [`QUESTIONS`].
pub async fn ask(store: &Store, known: &Known, question: &str, cursor: Option<&str>) {
    let filter = ConversationFilter::default();
    let (tenant, one) = (&known.tenant, page(20, None));
    let list = async |filter: ConversationFilter, page: PageRequest| {
        store.conversations(tenant, filter, page).await.unwrap()
    };
    let messages = async |descending: bool, page: PageRequest| {
        let found = store.messages(tenant, known.deep, descending, page).await.unwrap();
        assert_eq!(found.items.len(), 20);
    };
    match question {
        "conversations, first page" => assert!(!list(filter, one).await.items.is_empty()),
        "conversations, deep page" => assert!(!list(filter, page(20, cursor)).await.items.is_empty()),
        "conversations of a user" => {
            let user = Some("user-1".parse().unwrap());
            assert!(!list(ConversationFilter { user, ..filter }, one).await.items.is_empty());
        }
        "conversations of an assistant" => {
            let assistant = Some("docs".parse().unwrap());
            assert!(!list(ConversationFilter { assistant, ..filter }, one).await.items.is_empty());
        }
        "messages, first page" => messages(false, one).await,
        "messages, deep page" => messages(false, page(20, cursor)).await,
        "messages, newest first" => messages(true, one).await,
        "search, a rare word" => {
            let words = Some("needle".to_owned());
            assert_eq!(list(ConversationFilter { words, ..filter }, one).await.items.len(), 2);
        }
        "search, a word that is everywhere" => {
            let words = Some("hay".to_owned());
            assert!(!list(ConversationFilter { words, ..filter }, one).await.items.is_empty());
        }
        "idempotency" => {
            let expires_at = Timestamp::now().plus(Duration::from_secs(60));
            let asked = Idempotency { key: "key-77".to_owned(), fingerprint: [7; 32], expires_at };
            // It is another request's: that was found.
            assert!(store.repeat_of(tenant, &asked).await.is_err());
        }
        "unsettled turns" => assert_eq!(store.open_turns(Some("a-dead-one")).await.unwrap().len(), 1),
        "a turn" => drop(store.turn(tenant, known.turn).await),
        "usage" => drop(store.usage(tenant, UsageRange { since: None, until: None }).await.unwrap()),
        "what a key has spent" => drop(store.spent(known.key, "2026-01-01").await.unwrap()),
        "retention" => {
            // Only looked for: what is old enough is none.
            let before = Some(Timestamp::from_millis(1_000));
            assert_eq!(store.retain(before, Timestamp::from_millis(1_000), 100).await.unwrap(), 0);
        }
        unknown => panic!("{unknown}"),
    }
}

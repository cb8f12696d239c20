//! What the simulated providers remember.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many conversations are kept; the oldest are forgotten first.
const CONVERSATIONS_MAX: usize = 50_000;

/// How many messages of a conversation are kept; the oldest are forgotten first.
const MESSAGES_MAX: usize = 400;

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Assistant,
}

/// A message as it enters an answer.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub(crate) role: Role,
    pub(crate) text: Arc<str>,
}

/// A message as a history lists it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) role: Role,
    pub(crate) text: Arc<str>,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// A conversation as a list shows it.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) id: String,
    /// The first thing that the user said.
    pub(crate) preview: Arc<str>,
    pub(crate) messages: usize,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
}

/// Whose conversation: a provider, what it files it under (nothing, or an assistant), and its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) provider: &'static str,
    pub(crate) scope: String,
    pub(crate) id: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    files: HashMap<Key, File>,
    /// In the order in which they were begun.
    order: VecDeque<Key>,
}

#[derive(Debug)]
struct File {
    messages: VecDeque<Message>,
    preview: Arc<str>,
    total: usize,
    created_ms: u64,
    updated_ms: u64,
}

impl Conversations {
    /// The last `last` messages, oldest first. Nothing if there is no such conversation.
    pub(crate) fn recall(&self, key: &Key, last: usize) -> Option<Vec<Remembered>> {
        let shelf = self.shelf();
        let messages = &shelf.files.get(key)?.messages;
        let skipped = messages.len().saturating_sub(last);
        let remember = |message: &Message| Remembered { role: message.role, text: Arc::clone(&message.text) };
        Some(messages.iter().skip(skipped).map(remember).collect())
    }

    /// Adds messages; begins the conversation if there is none.
    pub(crate) fn append(&self, key: Key, messages: impl IntoIterator<Item = Message>) {
        let mut messages = messages.into_iter().peekable();
        let Some(first) = messages.peek() else { return };
        let (preview, at_ms) = (Arc::clone(&first.text), first.at_ms);
        let mut shelf = self.shelf();
        if !shelf.files.contains_key(&key) {
            if shelf.order.len() >= CONVERSATIONS_MAX
                && let Some(oldest) = shelf.order.pop_front()
            {
                shelf.files.remove(&oldest);
            }
            let file =
                File { messages: VecDeque::new(), preview, total: 0, created_ms: at_ms, updated_ms: at_ms };
            shelf.order.push_back(key.clone());
            shelf.files.insert(key.clone(), file);
        }
        let Some(file) = shelf.files.get_mut(&key) else { return };
        for message in messages {
            file.updated_ms = message.at_ms;
            file.total += 1;
            file.messages.push_back(message);
            if file.messages.len() > MESSAGES_MAX {
                file.messages.pop_front();
            }
        }
    }

    /// A conversation with its messages.
    pub(crate) fn read(&self, key: &Key) -> Option<(Summary, Vec<Message>)> {
        let shelf = self.shelf();
        let file = shelf.files.get(key)?;
        Some((file.summary(key), file.messages.iter().cloned().collect()))
    }

    /// Every conversation of a scope, the one changed last first.
    pub(crate) fn list(&self, provider: &str, scope: &str) -> Vec<Summary> {
        let shelf = self.shelf();
        let mine = |key: &&Key| key.provider == provider && key.scope == scope;
        let mut found: Vec<_> = (shelf.order.iter().filter(mine))
            .filter_map(|key| Some(shelf.files.get(key)?.summary(key)))
            .collect();
        // The order of their beginning decides between equals, as the sort is stable.
        found.reverse();
        found.sort_by_key(|summary| std::cmp::Reverse(summary.updated_ms));
        found
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // A panic elsewhere cannot have left a conversation half written.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn summary(&self, key: &Key) -> Summary {
        Summary {
            id: key.id.clone(),
            preview: Arc::clone(&self.preview),
            messages: self.total,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
        }
    }
}

//! The provider's thread of the assistant that a turn asks: what it knows already, and what it will know after the turn.

use std::hash::{DefaultHasher, Hash, Hasher};

use chat::{Effect, Memory, ProviderError, StoredThread, Thread, ThreadSeed, ThreadUpdate, TurnStatus};

use crate::call::Facts;
use crate::catalog::Assistant;

/// The thread of an assistant whose provider keeps threads.
pub(crate) fn seed(assistant: &Assistant) -> Option<ThreadSeed> {
    let keeps = matches!(assistant.provider.provider.memory(), Memory::Thread { .. });
    keeps.then(|| ThreadSeed {
        assistant: assistant.name.clone(),
        upstream_id: assistant.upstream_id.clone(),
        fresh_id: assistant.provider.provider.new_thread(),
    })
}

/// The thread that the asked assistant's provider keeps, if it keeps one.
#[derive(Debug)]
pub(crate) struct AskedThread {
    memory: Memory,
    stored: StoredThread,
    /// Where the turn's user message stands.
    position: i64,
    system: Option<u64>,
    tell_system: bool,
    fate: ThreadUpdate,
}

impl AskedThread {
    /// `stored` is what the store keeps of it: none for a turn that is not kept, or where the provider keeps no threads.
    pub(crate) fn new(
        assistant: &Assistant,
        context_messages: u32,
        stored: Option<StoredThread>,
        position: i64,
    ) -> Self {
        let memory = assistant.provider.provider.memory();
        let stored = stored.unwrap_or_else(|| StoredThread {
            id: assistant.provider.provider.new_thread(),
            reached: 0,
            told: None,
        });
        let system = assistant.system.as_deref().map(|text| {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        });
        let tell_system = match (memory, stored.told) {
            (Memory::Replay, _) | (_, None) => true,
            (_, Some((_, told))) if Some(told) != system => true,
            // What was said longer ago than the provider was told to remember, it has forgotten.
            (Memory::Thread { windowed: true }, Some((at, _))) => {
                position.saturating_sub(at) >= i64::from(context_messages)
            }
            (Memory::Thread { windowed: false }, Some(_)) => stored.id.is_none(),
        };
        Self { memory, stored, position, system, tell_system, fate: ThreadUpdate::Untouched }
    }

    /// The thread to use, the position that it knows everything up to, and whether to tell it the system text.
    pub(crate) fn for_call(&self) -> (Option<Thread>, i64, bool) {
        match self.memory {
            Memory::Replay => (None, 0, true),
            Memory::Thread { .. } => {
                let fresh = self.stored.reached == 0;
                let thread = self.stored.id.clone().map(|id| Thread { id, fresh });
                let reached = if thread.is_some() { self.stored.reached } else { 0 };
                (thread, reached, self.tell_system)
            }
        }
    }

    /// The provider answered to the end: it knows the turn.
    pub(crate) fn answered(&mut self, facts: &Facts) {
        let id = facts.thread.clone().or_else(|| self.stored.id.clone());
        let told =
            if self.tell_system { self.system.map(|hash| (self.position, hash)) } else { self.stored.told };
        self.fate = match id {
            Some(id) => ThreadUpdate::Reached { id, reached: self.position.saturating_add(1), told },
            None => ThreadUpdate::InDoubt,
        };
    }

    /// The provider failed: perhaps it knows the turn, perhaps not.
    pub(crate) fn failed(&mut self, error: &ProviderError) {
        if error.failure.effect() == Effect::Possible {
            self.in_doubt();
        }
    }

    /// Nobody knows what the provider knows: the next turn begins a new thread.
    pub(crate) fn in_doubt(&mut self) {
        self.fate = ThreadUpdate::InDoubt;
    }

    /// What the store is to keep.
    pub(crate) fn update(&mut self, status: TurnStatus) -> ThreadUpdate {
        let fate = std::mem::replace(&mut self.fate, ThreadUpdate::Untouched);
        match self.memory {
            Memory::Replay => ThreadUpdate::Untouched,
            // A cancelled turn that was never asked leaves the thread as it was.
            Memory::Thread { .. } if status == TurnStatus::Failed || status.is_end() => fate,
            Memory::Thread { .. } => ThreadUpdate::InDoubt,
        }
    }
}

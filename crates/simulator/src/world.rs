//! What all calls of a running simulator share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::chance::{hash, mix};
use crate::conversations::{Conversations, Key, Message, Remembered, Role};
use crate::faults::Plan;
use crate::holds::Holds;
use crate::journal::now_ms;
use crate::{Journal, Options, Pace};

/// How many ids are counted for `-times-N` and `flaky-P`; beyond it all counts begin anew.
const COUNTED_IDS_MAX: usize = 10_000;

/// The simulated world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) pace: Pace,
    pub(crate) journal: Journal,
    pub(crate) conversations: Conversations,
    pub(crate) holds: Holds,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    calls: Mutex<HashMap<(&'static str, String), u64>>,
}

impl World {
    /// A world in which nothing has happened.
    pub(crate) fn new(options: Options) -> Self {
        Self {
            seed: options.seed,
            pace: options.pace,
            journal: options.journal,
            conversations: Conversations::default(),
            holds: Holds::default(),
            counts: Counts::default(),
        }
    }

    /// A number for a new id: never the same twice, and the same sequence for the same seed.
    pub(crate) fn fresh(&self) -> u64 {
        mix(mix(self.seed) ^ self.counts.made.fetch_add(1, Ordering::Relaxed))
    }

    /// What `id` means for this call of it. Nothing if there is no such assistant.
    pub(crate) fn plan(&self, provider: &'static str, assistants: &[&str], id: &str) -> Option<Plan> {
        let mut plan = Plan::parse(provider, assistants, id)?;
        if plan.times.is_some() || plan.flaky.is_some() {
            let mut calls = self.counts.calls.lock().unwrap_or_else(PoisonError::into_inner);
            if calls.len() >= COUNTED_IDS_MAX {
                calls.clear();
            }
            let count = calls.entry((provider, id.to_owned())).or_insert(0);
            let call = *count;
            *count += 1;
            drop(calls);
            plan.settle(call, hash(self.seed, &[provider, id, &call.to_string()]));
        }
        Some(plan)
    }

    /// What is remembered under `key` and wanted by the plan; nothing if there is no such conversation.
    pub(crate) fn recall(&self, plan: &Plan, key: &Key, last: usize) -> Option<Vec<Remembered>> {
        let last = if plan.has("no-memory") { 0 } else { last };
        self.conversations.recall(key, last)
    }

    /// Remembers a message and its answer, and returns the answer's id.
    ///
    /// At once, and not when the answer has been read: whether a provider forgets a turn that broke off is written
    /// nowhere [U], and to keep it is the case that a retry must beware of.
    pub(crate) fn remember(&self, key: Key, message: &str, answer: &str) -> String {
        let at_ms = now_ms();
        let said = |role, text: &str| Message {
            id: format!("msg_{:016x}", self.fresh()),
            role,
            text: text.into(),
            at_ms,
        };
        let messages = [said(Role::User, message), said(Role::Assistant, answer)];
        let id = messages[1].id.clone();
        self.conversations.append(key, messages);
        id
    }

    /// Remembers a message that gets no answer.
    pub(crate) fn put_in(&self, key: Key, role: Role, text: &str) {
        let message =
            Message { id: format!("msg_{:016x}", self.fresh()), role, text: text.into(), at_ms: now_ms() };
        self.conversations.append(key, [message]);
    }
}

//! What a turn asks each of its assistants: the same question, in what each of them lacks of the conversation.

use std::sync::Arc;

use chat::{Content, HistoryMessage, LedgerRow, Message, Metadata, Request, Role, Thread, Timestamp, UserId};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::catalog::Assistant;
use crate::turn::Job;

/// What every call of the turn is given, beside what depends on the assistant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) history: Arc<Vec<(i64, HistoryMessage)>>,
    pub(crate) message: Content,
    pub(crate) user: Option<UserId>,
    pub(crate) context_messages: Option<u32>,
    pub(crate) search_filters: Option<Arc<RawValue>>,
    pub(crate) metadata: Metadata,
    pub(crate) stream: bool,
    pub(crate) extension: Option<Arc<str>>,
    pub(crate) instructions: Option<String>,
}

impl Job {
    pub(crate) fn row(
        &self,
        assistant: &Assistant,
        at: Timestamp,
        outcome: String,
        usage: Option<chat::Usage>,
        answered: bool,
    ) -> LedgerRow {
        LedgerRow {
            turn_id: self.running.id,
            number: 0,
            tenant: self.caller.tenant.clone(),
            key: self.caller.key,
            assistant: assistant.name.clone(),
            provider: assistant.provider.name.clone(),
            at,
            outcome,
            answered,
            usage,
        }
    }

    /// What this assistant's provider is asked.
    pub(crate) fn request(
        &self,
        question: Question,
        assistant: &Assistant,
        is_asked: bool,
        observer: Arc<dyn chat::AttemptObserver>,
    ) -> Request {
        let context_messages = question.context_messages.unwrap_or(assistant.context_messages);
        let (thread, reached, tell_system) = if is_asked {
            self.thread.for_call()
        } else {
            // Another assistant's thread, if there is one, lacks this conversation's last turns: it answers in a new one.
            (assistant.provider.provider.new_thread().map(|id| Thread { id, fresh: true }), 0, true)
        };
        let lacking: Vec<_> = question.history.iter().filter(|(position, _)| *position > reached).collect();
        let skipped = lacking.len().saturating_sub(context_messages as usize);
        let told = lacking.into_iter().skip(skipped).map(|(_, message)| message.clone());
        let instructions = question.instructions.iter().map(|text| HistoryMessage {
            role: Role::System,
            author: Role::System.as_str().to_owned(),
            content: Content::text_only(text),
        });
        let within_total = self.deadline.min(Instant::now() + assistant.provider.clocks.total);
        Request {
            turn_id: self.running.id,
            upstream_id: assistant.upstream_id.clone(),
            system: assistant.system.clone().filter(|_| tell_system),
            history: instructions.chain(told).collect(),
            message: question.message,
            user: question.user,
            thread,
            context_messages,
            search_filters: question.search_filters,
            metadata: question.metadata,
            stream: question.stream,
            extension: question.extension,
            observer,
            deadline: within_total.into_std(),
        }
    }
}

/// What an earlier message is to a provider.
pub(crate) fn told(message: Message) -> (i64, HistoryMessage) {
    let told = HistoryMessage { role: message.role, author: message.author, content: message.content };
    (message.position, told)
}

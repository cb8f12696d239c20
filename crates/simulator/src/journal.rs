//! What the simulator was asked and how each answer ended, for tests that look at the other side of a gateway.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;

/// How many calls are kept; the oldest are forgotten first, the totals go on.
pub const CALLS_MAX: usize = 4_096;

/// A request body longer than this, in bytes, is not kept.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// Every call in order, shared by all clones. Give one to [`Options`](crate::Options) and keep another.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    book: Mutex<Book>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Book {
    /// Calls are numbered from 1; the number of the first one kept is `first`.
    calls: VecDeque<Call>,
    first: u64,
    totals: BTreeMap<&'static str, Totals>,
}

/// One call, as the provider saw it.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Place in the order of arrival, from 1. It is not reused when the journal is cleared.
    pub number: u64,
    /// `gptunnel`, `mygptassistants`, `unleash`, `gigachat`, `openai`, or `simulator` for the target of a redirect.
    pub provider: &'static str,
    /// HTTP method.
    pub method: String,
    /// Path and query, as received.
    pub path: String,
    /// The assistant, bot, chatbot or model asked for; none if the request names none.
    pub upstream_id: Option<String>,
    /// In what form a key came, never the key.
    pub authorization: Scheme,
    /// `content-type`, `accept`, `user-agent`, `unleash-account`, `idempotency-key`, `traceparent` and `x-…`
    /// headers; of `x-api-key` only that it was there.
    pub headers: BTreeMap<String, String>,
    /// The request's JSON; `null` if there was none, if it was not JSON, or if it was longer than 64 KiB.
    pub body: Arc<Value>,
    /// When the whole request had arrived, in milliseconds since 1970.
    pub received_ms: u64,
    /// The status answered; none while there is none, and for ever if the connection went before it.
    pub status: Option<u16>,
    /// How the answer ended.
    pub outcome: Outcome,
    /// What the answer says it cost: only GPTunnel and the OpenAI-compatible server say so.
    pub usage: Option<Usage>,
}

/// The form in which a key came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// No `Authorization` header.
    None,
    /// The key alone.
    Bare,
    /// `Bearer` and the key.
    Bearer,
    /// Something else.
    Other,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not ended.
    Open,
    /// All of it was handed to the connection, whatever its status.
    Whole,
    /// A fault broke it off.
    Cut,
    /// The client closed the connection before the end (or the simulator was shut down).
    ClientLeft,
}

/// What a call was billed. Money is in RUB, as in the answer itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Messages remembered and read again for this answer.
    pub context_messages: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Cost of the tokens read; 0 where the provider states no money.
    pub prompt_cost: f64,
    /// Cost of the tokens written; 0 where the provider states no money.
    pub completion_cost: f64,
    /// Both together; 0 where the provider states no money.
    pub total_cost: f64,
}

/// Sums over all calls of a provider, those forgotten included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Calls received.
    pub calls: u64,
    /// Answers sent whole.
    pub whole: u64,
    /// Answers broken off by a fault.
    pub cut: u64,
    /// Answers that the client did not wait for.
    pub client_left: u64,
    /// Tokens read and written.
    pub tokens: u64,
    /// Cost in RUB.
    pub cost: f64,
}

impl Journal {
    /// The calls still kept, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.book().calls.iter().cloned().collect()
    }

    /// The calls still kept that asked for `upstream_id`, oldest first.
    #[must_use]
    pub fn calls_for(&self, upstream_id: &str) -> Vec<Call> {
        let wanted = |call: &&Call| call.upstream_id.as_deref() == Some(upstream_id);
        self.book().calls.iter().filter(wanted).cloned().collect()
    }

    /// The sums per provider.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<&'static str, Totals> {
        self.book().totals.clone()
    }

    /// Forgets the calls; the numbers and the sums go on.
    pub fn clear(&self) {
        let mut book = self.book();
        book.first += book.calls.len() as u64;
        book.calls.clear();
    }

    /// Waits until `enough` holds for the calls that asked for `upstream_id`, and returns them.
    pub async fn wait_for(&self, upstream_id: &str, enough: impl Fn(&[Call]) -> bool) -> Vec<Call> {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // Registered before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            let calls = self.calls_for(upstream_id);
            if enough(&calls) {
                return calls;
            }
            changed.await;
        }
    }

    /// Waits until at least `count` calls for `upstream_id` have come and none of them is open, and returns them.
    pub async fn settled(&self, upstream_id: &str, count: usize) -> Vec<Call> {
        let ended =
            |calls: &[Call]| calls.len() >= count && calls.iter().all(|call| call.outcome != Outcome::Open);
        self.wait_for(upstream_id, ended).await
    }

    /// Writes a call down; `number` and the end are filled in here.
    pub(crate) fn open(&self, mut call: Call) -> Entry {
        let mut book = self.book();
        if book.calls.len() >= CALLS_MAX {
            book.calls.pop_front();
            book.first += 1;
        }
        call.number = book.first + book.calls.len() as u64 + 1;
        let entry = Entry {
            journal: self.clone(),
            number: call.number,
            provider: call.provider,
            usage: None,
            ended: false,
        };
        book.totals.entry(call.provider).or_default().calls += 1;
        book.calls.push_back(call);
        drop(book);
        self.shared.changed.notify_waiters();
        entry
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic elsewhere leaves no half-written call: each change is one assignment.
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open call. Dropped without an end, it says that the client left.
#[derive(Debug)]
pub(crate) struct Entry {
    journal: Journal,
    number: u64,
    provider: &'static str,
    usage: Option<Usage>,
    ended: bool,
}

impl Entry {
    /// Writes down what the answer begins with.
    pub(crate) fn answered(&mut self, status: u16, usage: Option<Usage>) {
        self.usage = usage;
        self.change(|call| {
            call.status = Some(status);
            call.usage = usage;
        });
    }

    /// Writes down how it ended; the first end counts.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let usage = self.usage;
        {
            let mut book = self.journal.book();
            let totals = book.totals.entry(self.provider).or_default();
            match outcome {
                Outcome::Open => {}
                Outcome::Whole => totals.whole += 1,
                Outcome::Cut => totals.cut += 1,
                Outcome::ClientLeft => totals.client_left += 1,
            }
            if let Some(usage) = usage {
                totals.tokens += usage.prompt_tokens + usage.completion_tokens;
                totals.cost += usage.total_cost;
            }
        }
        self.change(|call| call.outcome = outcome);
    }

    fn change(&self, change: impl FnOnce(&mut Call)) {
        let mut book = self.journal.book();
        let place = self.number.checked_sub(book.first + 1).and_then(|place| usize::try_from(place).ok());
        // None: the call was forgotten meanwhile.
        if let Some(call) = place.and_then(|place| book.calls.get_mut(place)) {
            change(call);
        }
        drop(book);
        self.journal.shared.changed.notify_waiters();
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end(Outcome::ClientLeft);
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
impl Call {
    fn for_test() -> Self {
        Self {
            number: 0,
            provider: "gptunnel",
            method: "POST".to_owned(),
            path: "/".to_owned(),
            upstream_id: Some("a".to_owned()),
            authorization: Scheme::Bare,
            headers: BTreeMap::new(),
            body: Arc::new(Value::Null),
            received_ms: 0,
            status: None,
            outcome: Outcome::Open,
            usage: None,
        }
    }
}

#[cfg(test)]
impl Journal {
    /// An entry for what is not about the journal.
    pub(crate) fn open_for_test(&self) -> Entry {
        self.open(Call::for_test())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_calls_and_all_sums() {
        let journal = Journal::default();
        let mut first = journal.open(Call::for_test());
        for _ in 0..CALLS_MAX {
            journal.open(Call::for_test()).end(Outcome::Whole);
        }
        first.end(Outcome::Cut);
        let calls = journal.calls();
        assert_eq!((calls.len(), calls[0].number), (CALLS_MAX, 2));
        let totals = journal.totals()["gptunnel"];
        assert_eq!((totals.calls, totals.whole, totals.cut), (CALLS_MAX as u64 + 1, CALLS_MAX as u64, 1));
        journal.clear();
        drop(journal.open(Call::for_test()));
        let calls = journal.calls();
        assert_eq!(calls[0].number, CALLS_MAX as u64 + 2);
        assert_eq!(calls[0].outcome, Outcome::ClientLeft);
    }
}

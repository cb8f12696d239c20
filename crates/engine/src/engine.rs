//! The engine: what the server asks.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chat::{
    AssistantName, Caller, ConversationStore, Maintenance, Page, Turn, TurnId, UsageRange, UsageSum, WhenBusy,
};
use tokio_util::task::TaskTracker;

use crate::tasks::Tasks;
use crate::{Ask, AssistantView, Catalog, ProviderView, Reader, Refused};

/// What happens to a turn whose client has left in mid-stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDisconnect {
    /// It is finished and kept.
    #[default]
    Continue,
    /// It is cancelled once nobody reads it any more.
    Cancel,
}

/// How turns are run. Can be changed while the engine runs: a turn keeps what it began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// See [`OnDisconnect`].
    pub on_disconnect: OnDisconnect,
    /// What a second turn in a conversation gets.
    pub when_busy: WhenBusy,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// A reply's text beyond so many bytes is cut.
    pub reply_bytes_max: usize,
    /// The most turns that may run at once; one more is `overloaded`.
    pub turns_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on_disconnect: OnDisconnect::Continue,
            when_busy: WhenBusy::Reject,
            idempotency_window: Duration::from_secs(24 * 3600),
            reply_bytes_max: 8 * 1024 * 1024,
            turns_max: 20_000,
        }
    }
}

/// Runs turns. Cheap to clone; all clones are one engine.
#[derive(Debug, Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) catalog: ArcSwap<Catalog>,
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) store: Arc<dyn ConversationStore>,
    pub(crate) maintenance: Arc<dyn Maintenance>,
    pub(crate) tasks: Tasks,
}

impl Engine {
    /// An engine over this store. [`Self::settle`] must have been called before the first turn is accepted.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        settings: Settings,
        store: Arc<dyn ConversationStore>,
        maintenance: Arc<dyn Maintenance>,
        tracker: TaskTracker,
    ) -> Self {
        Self(Arc::new(Inner {
            catalog: ArcSwap::new(catalog),
            settings: ArcSwap::from_pointee(settings),
            store,
            maintenance,
            tasks: Tasks::new(tracker),
        }))
    }

    /// Settles the turns that were running when the process before this one ended: each becomes `incomplete` or `failed` with the
    /// text that had been kept. Says how many there were.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn settle(&self) -> Result<usize, Refused> {
        let _ = &self.0.tasks;
        Ok(0)
    }

    /// Accepts a turn, or finds the one that the same request made before, and reads it from its beginning.
    ///
    /// # Errors
    /// The turn is not accepted: nothing was kept, no provider was asked.
    pub async fn chat(&self, caller: &Caller, ask: Ask) -> Result<Reader, Refused> {
        let _ = (caller, ask);
        Err(Refused::new(chat::ErrorCode::Internal, "not written yet"))
    }

    /// A turn as it stands: with the text so far.
    ///
    /// # Errors
    /// No such turn for this caller.
    pub async fn turn(&self, caller: &Caller, id: TurnId) -> Result<Arc<Turn>, Refused> {
        let _ = (caller, id);
        Err(Refused::new(chat::ErrorCode::TurnNotFound, "there is no such turn"))
    }

    /// Reads a turn's events after the one numbered `after` (0: from the start); none when `after` is the last one of an ended
    /// turn.
    ///
    /// # Errors
    /// No such turn for this caller, or it has not reached `after`.
    pub async fn events(&self, caller: &Caller, id: TurnId, after: u64) -> Result<Option<Reader>, Refused> {
        let _ = (caller, id, after);
        Err(Refused::new(chat::ErrorCode::TurnNotFound, "there is no such turn"))
    }

    /// Stops a running turn and keeps what came; resolves once the end is recorded. One that has ended is left as it is.
    ///
    /// # Errors
    /// No such turn for this caller.
    pub async fn cancel(&self, caller: &Caller, id: TurnId) -> Result<Arc<Turn>, Refused> {
        let _ = (caller, id);
        Err(Refused::new(chat::ErrorCode::TurnNotFound, "there is no such turn"))
    }

    /// The assistants that this caller may use.
    #[must_use]
    pub fn assistants(&self, caller: &Caller) -> Vec<AssistantView> {
        let catalog = self.0.catalog.load();
        let allowed = catalog.assistants().filter(|assistant| caller.assistants.allows(&assistant.name));
        allowed.map(|assistant| AssistantView::from(assistant.as_ref())).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// No such assistant, or not for this caller.
    pub fn assistant(&self, caller: &Caller, name: &AssistantName) -> Result<AssistantView, Refused> {
        let _ = (caller, name);
        Err(Refused::new(chat::ErrorCode::AssistantNotFound, "there is no such assistant"))
    }

    /// All providers, for admins.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderView> {
        Vec::new()
    }

    /// Sums of this tenant's usage.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn usage(&self, caller: &Caller, range: UsageRange) -> Result<Vec<UsageSum>, Refused> {
        Ok(self.0.store.usage(&caller.tenant, range).await?)
    }

    /// Sums of everybody's usage, for admins.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn usage_of_all(&self, range: UsageRange) -> Result<Vec<UsageSum>, Refused> {
        Ok(self.0.maintenance.usage_of_all(range).await?)
    }

    /// Whether turns can be taken: the store answers, and the engine is not draining.
    ///
    /// # Errors
    /// Why not.
    pub async fn ready(&self) -> Result<(), Refused> {
        Ok(self.0.maintenance.ping().await?)
    }

    /// New turns ask this catalog; running ones keep theirs.
    pub fn set_catalog(&self, catalog: Arc<Catalog>) {
        self.0.catalog.store(catalog);
    }

    /// New turns are run so; running ones go on as they began.
    pub fn set_settings(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.load_full()
    }

    /// How many turns run now.
    #[must_use]
    pub fn running(&self) -> usize {
        0
    }

    /// From now on `ready` says no; turns are still taken.
    pub fn announce_drain(&self) {}

    /// From now on new turns are refused as `draining`; readers may still come.
    pub fn refuse_turns(&self) {}

    /// Waits for the running turns at most so long, ends the rest `incomplete` (their readers are told), and waits for the store.
    pub async fn finish(&self, within: Duration) {
        let _ = within;
    }
}

/// A page without items, as long as nothing is written.
#[expect(dead_code, reason = "to be written")]
fn empty<T>() -> Page<T> {
    Page { items: Vec::new(), next_cursor: None }
}

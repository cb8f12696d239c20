//! The engine: what the server asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use chat::{
    AssistantName, Caller, ConversationStore, ErrorCode, Idempotency, LiveTurns, Maintenance, UsageRange,
    UsageSum, WhenBusy,
};
use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::follow::Followed;
use crate::membership::Membership;
use crate::observe::{Propagation, TraceHeaders};
use crate::registry::Registry;
use crate::running::Stop;
use crate::tasks::Tasks;
use crate::unstored::Unstored;
use crate::{Ask, AssistantView, Catalog, ProviderView, Reader, Refused, accept};

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
    /// How often this process says that it lives, where several share a store: one that says nothing for five times as long is
    /// taken for dead. The same for all. Read once.
    pub beat: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on_disconnect: OnDisconnect::Continue,
            when_busy: WhenBusy::Reject,
            idempotency_window: Duration::from_secs(24 * 3600),
            reply_bytes_max: 8 * 1024 * 1024,
            turns_max: 20_000,
            beat: Duration::from_secs(1),
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
    pub(crate) registry: Arc<Registry>,
    pub(crate) unstored: Unstored,
    /// This process among those on the same store.
    pub(crate) membership: Membership,
    /// Turns that run elsewhere and are read here.
    pub(crate) followed: Followed,
    /// What gateways tell each other of running turns; none for one that is alone.
    pub(crate) live: OnceLock<Arc<dyn LiveTurns>>,
    /// Cancelled when the store is about to be closed: nothing is tried again after it.
    pub(crate) closed: CancellationToken,
    /// How traces go on at providers.
    pub(crate) propagation: Propagation,
    drain_announced: AtomicBool,
    turns_refused: AtomicBool,
    leaving: AtomicBool,
}

impl Inner {
    pub(crate) fn refuses_turns(&self) -> bool {
        self.turns_refused.load(Ordering::SeqCst)
    }

    /// Whether the turns that run have been told to stop: one that begins only now is too late.
    pub(crate) fn leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }
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
        let inner = Arc::new(Inner {
            catalog: ArcSwap::new(catalog),
            settings: ArcSwap::from_pointee(settings),
            store,
            maintenance,
            tasks: Tasks::new(tracker),
            registry: Arc::new(Registry::default()),
            unstored: Unstored::default(),
            membership: Membership::new(),
            followed: Followed::default(),
            live: OnceLock::new(),
            closed: CancellationToken::new(),
            propagation: Propagation::default(),
            drain_announced: AtomicBool::new(false),
            turns_refused: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        });
        inner.tasks.spawn(crate::unstored::write_until_closed(Arc::clone(&inner)));
        Self(inner)
    }

    /// The turn that the same request made before, running or ended, read from its beginning. To be asked before anything is set
    /// aside for a new turn: a repeat needs no place, no budget and no open breaker.
    ///
    /// # Errors
    /// The key was used with another request; the turn was not to be kept and has ended.
    pub async fn repeat(
        &self,
        caller: &Caller,
        idempotency: &Idempotency,
    ) -> Result<Option<Reader>, Refused> {
        match self.0.store.repeat_of(&caller.tenant, idempotency).await? {
            Some((id, stored)) => accept::repeat(&self.0, caller, id, stored).await.map(Some),
            None => Ok(None),
        }
    }

    /// Accepts a turn, or finds the one that the same request made before, and reads it from its beginning.
    ///
    /// # Errors
    /// The turn is not accepted: nothing was kept, no provider was asked.
    pub async fn chat(&self, caller: &Caller, ask: Ask) -> Result<Reader, Refused> {
        // A task of its own from here on: a client that leaves between the commit and the first event leaves a turn that runs.
        let (answer, accepted) = oneshot::channel();
        // Within the request's span: the turn belongs to its trace, and what the log says of the turn to the request.
        let run = accept::run(Arc::clone(&self.0), caller.clone(), ask, answer);
        self.0.tasks.spawn_in_two(run.boxed());
        accepted
            .await
            .unwrap_or_else(|_| Err(Refused::new(ErrorCode::Internal, "something went wrong inside")))
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
        let catalog = self.0.catalog.load();
        let known = catalog.assistant(name).filter(|assistant| caller.assistants.allows(&assistant.name));
        known
            .map(|assistant| AssistantView::from(assistant.as_ref()))
            .ok_or_else(|| crate::refused::no_assistant(name))
    }

    /// All providers, for admins.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderView> {
        let catalog = self.0.catalog.load();
        let view = |entry: &Arc<crate::ProviderEntry>| ProviderView {
            name: entry.name.clone(),
            object: "provider",
            kind: entry.kind,
            status: entry.provider.status(),
        };
        catalog.providers().iter().map(view).collect()
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
        if self.0.drain_announced.load(Ordering::Acquire) {
            return Err(draining());
        }
        Ok(self.0.maintenance.ping().await?)
    }

    /// From now on calls of providers carry the headers by which traces go on there. The first one told stands.
    pub fn set_trace_headers(&self, headers: TraceHeaders) {
        self.0.propagation.set(headers);
    }

    /// From now on other gateways are told what comes of turns here, and turns that run there are read as it comes. The first one told
    /// stands; to be called before the first turn is accepted.
    pub fn set_live(&self, live: Arc<dyn LiveTurns>) {
        if self.0.live.set(Arc::clone(&live)).is_ok() {
            self.0.tasks.spawn(crate::publish::hear_stops(Arc::clone(&self.0), live));
        }
    }

    /// New turns ask this catalog; running ones keep theirs.
    pub fn set_catalog(&self, catalog: Arc<Catalog>) {
        self.0.catalog.store(catalog);
    }

    /// The catalog in force.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.0.catalog.load_full()
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
        self.0.registry.len()
    }

    /// How many turns of other processes are read here now.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.0.followed.len()
    }

    /// From now on `ready` says no; turns are still taken.
    pub fn announce_drain(&self) {
        self.0.drain_announced.store(true, Ordering::Release);
    }

    /// From now on new turns are refused as `draining`; readers may still come.
    pub fn refuse_turns(&self) {
        self.0.turns_refused.store(true, Ordering::SeqCst);
    }

    /// Waits for the running turns at most so long, ends the rest `incomplete` (their readers are told), and waits until the
    /// store has all of it. Refuses turns from now on.
    pub async fn finish(&self, within: Duration) {
        /// How long the ends of turns that were cut off may take to be recorded.
        const RECORDING_MAX: Duration = Duration::from_secs(10);
        self.refuse_turns();
        // The end of the wait is no error: what still runs is told to stop below. Turns that run elsewhere are only waited for.
        let all = async { tokio::join!(self.all_settled(), self.0.followed.all_settled()) };
        let _ = tokio::time::timeout(within, all).await;
        self.0.leaving.store(true, Ordering::SeqCst);
        for running in self.0.registry.all() {
            running.stop(Stop::Drain);
        }
        if tokio::time::timeout(RECORDING_MAX, self.all_settled()).await.is_err() {
            tracing::error!(
                turns = self.running(),
                "turns could not be settled in time: they are settled at the next start"
            );
        }
        self.0.closed.cancel();
        crate::unstored::write(&self.0).await;
        if self.0.maintenance.is_shared()
            && let Err(error) = self.0.maintenance.leave(&self.0.membership.owner()).await
        {
            tracing::warn!(%error, "the store was not told that this process leaves: others find out");
        }
    }

    /// Waits for the turns that have a place, those that are just being accepted included.
    async fn all_settled(&self) {
        for id in self.0.registry.ids() {
            if let Some(running) = self.0.registry.find(id).await {
                running.settled.cancelled().await;
            }
        }
    }
}

pub(crate) fn draining() -> Refused {
    let mut refused = Refused::new(
        ErrorCode::Draining,
        "the gateway is shutting down: try again, at another instance if there is one",
    );
    refused.error.retry_after = Some(1);
    refused
}

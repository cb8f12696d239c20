//! What the tests of several parts share: a provider that plays what it is told, and an engine over a store of its own.

pub mod postgres;
pub mod provider;
pub mod proxy;
pub mod redis;

use std::sync::Arc;
use std::time::Duration;

use chat::{
    AllowedAssistants, Caller, Content, ConversationId, ConversationStore, Event, Idempotency, KeyId,
    Maintenance, Metadata, Permission, Permissions, Reply, TenantId, Timestamp, Turn,
};
use engine::{Ask, Assistant, Catalog, Clocks, Engine, Prompt, ProviderEntry, Read, Reader, Settings};
use tokio_util::task::TaskTracker;

pub use provider::{Act, Gate, Play, Scripted, text};

/// An engine with assistants `a`, `b`, `c` (fallbacks as told), each with a scripted provider of its own, over a SQLite file.
pub struct Kit {
    pub engine: Engine,
    pub store: Arc<store::Store>,
    pub providers: Vec<Arc<Scripted>>,
    pub folder: tempfile::TempDir,
    options: Options,
}

#[derive(Clone)]
pub struct Options {
    /// The fallbacks of `a`.
    pub fallback: Vec<&'static str>,
    pub settings: Settings,
    pub clocks: Clocks,
    /// The system text of every assistant.
    pub system: Option<String>,
    pub context_messages: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fallback: Vec::new(),
            settings: Settings::default(),
            clocks: Clocks {
                first_text: Duration::from_secs(600),
                total: Duration::from_secs(900),
                hedge_after: None,
            },
            system: None,
            context_messages: 20,
        }
    }
}

impl Kit {
    pub async fn new() -> Self {
        Self::with(Options::default(), [Scripted::replay(), Scripted::replay(), Scripted::replay()]).await
    }

    pub async fn with_fallback(fallback: &[&'static str]) -> Self {
        let options = Options { fallback: fallback.to_vec(), ..Options::default() };
        Self::with(options, [Scripted::replay(), Scripted::replay(), Scripted::replay()]).await
    }

    pub async fn with(options: Options, providers: [Scripted; 3]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let providers: Vec<_> = providers.into_iter().map(Arc::new).collect();
        Self::over(folder, options, providers).await
    }

    /// Over a store that goes through `wrap`.
    pub async fn wrapped(
        options: Options,
        providers: [Scripted; 3],
        wrap: impl FnOnce(Arc<store::Store>) -> Arc<dyn ConversationStore>,
    ) -> Self {
        let providers = providers.into_iter().map(Arc::new).collect();
        Self::build(tempfile::tempdir().unwrap(), options, providers, wrap).await
    }

    async fn over(folder: tempfile::TempDir, options: Options, providers: Vec<Arc<Scripted>>) -> Self {
        Self::build(folder, options, providers, |store| store).await
    }

    async fn build(
        folder: tempfile::TempDir,
        options: Options,
        providers: Vec<Arc<Scripted>>,
        wrap: impl FnOnce(Arc<store::Store>) -> Arc<dyn ConversationStore>,
    ) -> Self {
        let tracker = TaskTracker::new();
        let url = format!("sqlite:{}", folder.path().join("test.db").display());
        let store = store::open(&store::Config::new(url), &tracker).await.unwrap();
        let catalog = catalog(&options, &providers);
        let engine = Engine::new(
            Arc::new(catalog),
            options.settings.clone(),
            wrap(Arc::clone(&store)),
            Arc::clone(&store) as Arc<dyn Maintenance>,
            tracker,
        );
        engine.settle().await.unwrap();
        Self { engine, store, providers, folder, options }
    }

    /// Another process over the same store, as if this one had been killed: what runs here is never told.
    pub async fn killed_and_restarted(self) -> Self {
        let Self { engine, store, providers, folder, options, .. } = self;
        // What the dead process would still write is fenced off by leaking it in the state that it is in.
        std::mem::forget((engine, store));
        let providers = providers.iter().map(|provider| Arc::new(provider.again())).collect();
        Self::over(folder, options, providers).await
    }

    pub fn a(&self) -> &Scripted {
        &self.providers[0]
    }

    pub fn b(&self) -> &Scripted {
        &self.providers[1]
    }

    pub fn c(&self) -> &Scripted {
        &self.providers[2]
    }

    /// Asks and reads to the end.
    pub async fn turn(&self, ask: Ask) -> Arc<Turn> {
        self.engine.chat(&caller("t"), ask).await.unwrap().end().await
    }

    /// Asks `a` in this conversation (or a new one) and reads to the end.
    pub async fn say(&self, text: &str, conversation: Option<ConversationId>) -> Arc<Turn> {
        self.turn(Ask { conversation_id: conversation, ..ask("a", text) }).await
    }
}

/// Assistants `a`, `b`, `c`, each with the provider of its place.
pub fn catalog(options: &Options, providers: &[Arc<Scripted>]) -> Catalog {
    let names = ["a", "b", "c"];
    let entries: Vec<_> = names
        .iter()
        .zip(providers)
        .map(|(name, provider)| {
            Arc::new(ProviderEntry {
                name: format!("provider-{name}").parse().unwrap(),
                kind: "scripted",
                provider: Arc::clone(provider) as Arc<dyn chat::Provider>,
                clocks: options.clocks,
            })
        })
        .collect();
    let assistants = names.iter().zip(&entries).map(|(name, entry)| Assistant {
        name: name.parse().unwrap(),
        provider: Arc::clone(entry),
        upstream_id: format!("upstream-{name}"),
        description: String::new(),
        fallback: if *name == "a" {
            options.fallback.iter().map(|name| name.parse().unwrap()).collect()
        } else {
            Vec::new()
        },
        system: options.system.clone(),
        context_messages: options.context_messages,
        meters: engine::Meters::default(),
    });
    Catalog::new(entries.clone(), assistants.collect()).unwrap()
}

pub fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

/// A caller of this tenant who may do everything.
pub fn caller(name: &str) -> Caller {
    Caller {
        tenant: tenant(name),
        key: KeyId::of_hash(&[7; 32]),
        key_name: "test".into(),
        assistants: AllowedAssistants::All,
        may: Permission::ALL.iter().copied().collect::<Permissions>(),
        admin: false,
        user: None,
    }
}

/// A question for an assistant.
pub fn ask(assistant: &str, text: &str) -> Ask {
    Ask {
        assistant: Some(assistant.parse().unwrap()),
        conversation_id: None,
        own_conversation: false,
        prompt: Prompt::Message(Content::text_only(text)),
        user: None,
        stream: true,
        store: true,
        context_messages: None,
        search_filters: None,
        metadata: Metadata::new(),
        when_busy: None,
        idempotency: None,
        extension: None,
        instructions: None,
        lease: None,
    }
}

/// An idempotency key for a request with this body.
pub fn idempotency(key: &str, body: u8) -> Option<Idempotency> {
    let expires_at = Timestamp::now().plus(Duration::from_secs(3600));
    Some(Idempotency { key: key.to_owned(), fingerprint: [body; 32], expires_at })
}

/// Reads the next event; none after the end.
pub async fn next(reader: &mut Reader) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    reader.read(|seq, event| events.push((seq, event.to_owned()))).await;
    events
}

/// Reads until `enough`, and gives all that was read.
pub async fn read_until(reader: &mut Reader, enough: impl Fn(&[(u64, Event)]) -> bool) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    while !enough(&events) {
        let read = reader.read(|seq, event| events.push((seq, event.to_owned()))).await;
        if read == Read::Ended {
            break;
        }
    }
    events
}

/// Reads to the end.
pub async fn read_all(reader: &mut Reader) -> Vec<(u64, Event)> {
    read_until(reader, |events| events.last().is_some_and(|(_, event)| matches!(event, Event::Ended(_))))
        .await
}

/// Folds a whole stream, and checks the law that every stream keeps.
pub fn fold(events: &[(u64, Event)]) -> Reply {
    let mut reply = Reply::default();
    let mut last = 0;
    for (seq, event) in events {
        assert!(*seq > last, "numbers grow: {seq} after {last}");
        last = *seq;
        reply.take(event.clone()).unwrap();
    }
    assert!(reply.ended.is_some(), "a stream has an end");
    reply
}

/// The kinds of these events: `started`, `delta` …
pub fn kinds(events: &[(u64, Event)]) -> Vec<String> {
    let kind = |event: &Event| match event {
        Event::Started(_) => "started".to_owned(),
        Event::Progress(progress) => progress.step.clone(),
        Event::Sources(_) => "sources".to_owned(),
        Event::Delta(text) => format!("+{text}"),
        Event::Citation(_) => "citation".to_owned(),
        Event::Replaced(text) => format!("={text}"),
        Event::Ended(turn) => turn.status.as_str().to_owned(),
    };
    events.iter().map(|(_, event)| kind(event)).collect()
}

//! What the store's tests stand on: an empty store, and the things to put into it.

use std::sync::Arc;
use std::time::Duration;

use chat::{
    Acceptance, Accepted, AssistantName, Content, ConversationId, ConversationStore, Cost, EventLog,
    Idempotency, KeyId, LedgerRow, Maintenance, Message, MessageId, MessageStatus, Metadata, NewConversation,
    NewMessage, NewTurn, PageRequest, ProviderName, Role, Source, StoreError, TenantId, ThreadSeed,
    ThreadUpdate, Timestamp, Turn, TurnEnd, TurnId, TurnMessage, TurnStatus, TurnTarget, Usage, UserId,
    WhenBusy,
};
use sqlx::{AssertSqlSafe, Connection, Executor};
use store::{Config, Store};
use tokio_util::task::TaskTracker;

/// An empty store of its own.
pub(crate) struct Bed {
    pub(crate) store: Arc<Store>,
    pub(crate) config: Config,
    pub(crate) tracker: TaskTracker,
    pub(crate) tenant: TenantId,
    pub(crate) other: TenantId,
    pub(crate) folder: Option<tempfile::TempDir>,
    pub(crate) database: Option<(String, String)>,
}

impl Bed {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(format!("sqlite:{}", folder.path().join("deep/store.db").display()));
        Self::open(config, Some(folder), None).await
    }

    /// With a database of its own on the server that the environment names; none when it names none.
    pub(crate) async fn postgres() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "a test has no configuration to read the server from")]
        let Ok(server) = std::env::var("SWITCHBOARD_TEST_POSTGRES") else {
            eprintln!("skipped: SWITCHBOARD_TEST_POSTGRES names no server");
            return None;
        };
        let name = format!("switchboard_{}", uuid::Uuid::now_v7().simple());
        administer(&server, format!("CREATE DATABASE {name}")).await;
        let (place, query) = server.split_once('?').unwrap_or((&server, ""));
        let (root, _) =
            place.rsplit_once('/').filter(|(root, _)| !root.ends_with('/')).unwrap_or((place, ""));
        let url = format!("{root}/{name}?{query}");
        Some(Self::open(Config::new(url), None, Some((server.clone(), name))).await)
    }

    pub(crate) async fn open(
        config: Config,
        folder: Option<tempfile::TempDir>,
        database: Option<(String, String)>,
    ) -> Self {
        let tracker = TaskTracker::new();
        let store = store::open(&config, &tracker).await.unwrap();
        let (tenant, other) = ("acme".parse().unwrap(), "other".parse().unwrap());
        Self { store, config, tracker, tenant, other, folder, database }
    }

    pub(crate) async fn finish(&self) {
        self.store.close(Duration::from_secs(10)).await.unwrap();
        if let Some((server, name)) = &self.database {
            administer(server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    pub(crate) async fn conversation(&self, at: i64) -> ConversationId {
        let new = new_conversation(at);
        self.store.create_conversation(&self.tenant, new, None).await.unwrap().id
    }

    pub(crate) async fn accept(&self, new: NewTurn) -> Result<Accepted, StoreError> {
        self.store.accept_turn(&self.tenant, new).await.map(accepted)
    }

    /// A whole turn in a conversation: what the user says, and what is answered.
    pub(crate) async fn exchange(&self, id: ConversationId, said: &str, answer: &str, at: i64) -> TurnId {
        let new = turn_in(id, said, at);
        let turn = new.id;
        let end = end_of(&new, id, answer, at + 1);
        self.accept(new).await.unwrap();
        self.store.end_turn(&self.tenant, end).await.unwrap();
        turn
    }

    pub(crate) async fn messages(&self, id: ConversationId) -> Vec<Message> {
        let page = PageRequest { limit: 100, cursor: None };
        self.store.messages(&self.tenant, id, false, page).await.unwrap().items
    }

    pub(crate) async fn texts(&self, id: ConversationId) -> Vec<String> {
        self.messages(id).await.iter().map(|message| message.content.text().into_owned()).collect()
    }
}

/// Does something on the server itself. Databases are copied from one template, one at a time: a collision is tried again.
async fn administer(server: &str, sql: String) {
    let mut connection = sqlx::PgConnection::connect(server).await.unwrap();
    connection.execute("SELECT pg_advisory_lock(731)").await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

pub(crate) fn assistant(name: &str) -> AssistantName {
    name.parse().unwrap()
}

pub(crate) fn provider() -> ProviderName {
    "tunnel".parse().unwrap()
}

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub(crate) fn new_conversation(millis: i64) -> NewConversation {
    NewConversation {
        id: ConversationId::new(),
        assistant: assistant("support"),
        provider: provider(),
        user: None,
        title: None,
        metadata: Metadata::new(),
        created_at: at(millis),
        messages: Vec::new(),
        thread: None,
    }
}

pub(crate) fn says(role: Role, text: &str, millis: i64) -> NewMessage {
    NewMessage {
        id: MessageId::new(),
        role,
        author: role.as_str().into(),
        content: Content::text_only(text),
        sources: Vec::new(),
        status: MessageStatus::Completed,
        created_at: at(millis),
        upstream_message_id: None,
    }
}

pub(crate) fn turn_in(id: ConversationId, said: &str, millis: i64) -> NewTurn {
    turn(TurnTarget::Existing(id), said, millis)
}

pub(crate) fn turn(target: TurnTarget, said: &str, millis: i64) -> NewTurn {
    NewTurn {
        id: TurnId::new(),
        target,
        assistant: assistant("support"),
        provider: provider(),
        user: None,
        key: KeyId::new(),
        message: says(Role::User, said, millis),
        reply_id: MessageId::new(),
        metadata: Metadata::new(),
        when_busy: WhenBusy::Reject,
        queue_max: 2,
        idempotency: None,
        thread: None,
        context_messages: 20,
        request: "{}".into(),
        owner: "one".into(),
        created_at: at(millis),
    }
}

/// The end of a turn with this answer; failed where there is none.
pub(crate) fn end_of(new: &NewTurn, id: ConversationId, answer: &str, millis: i64) -> TurnEnd {
    let asked = (new.assistant.clone(), new.provider.clone());
    let started = Arc::new(Turn::accepted(new.id, TurnStatus::InProgress, new.created_at, Some(id), asked));
    let mut log = EventLog::started(Arc::clone(&started));
    log.delta(answer);
    let mut turn = started.as_ref().clone();
    turn.status = if answer.is_empty() { TurnStatus::Failed } else { TurnStatus::Completed };
    turn.completed_at = Some(at(millis));
    turn.metadata = new.metadata.clone();
    if !answer.is_empty() {
        let content = log.content();
        turn.message = Some(TurnMessage { id: new.reply_id, content, created_at: at(millis) });
    }
    TurnEnd {
        log: log.slice_ended(),
        log_text_is_reply: true,
        thread: ThreadUpdate::Untouched,
        ledger: Vec::new(),
        free_idempotency: false,
        owner: new.owner.clone(),
        turn,
    }
}

pub(crate) fn accepted(acceptance: Acceptance) -> Accepted {
    match acceptance {
        Acceptance::Accepted(accepted) => *accepted,
        repeat @ Acceptance::Repeat { .. } => panic!("{repeat:?}"),
    }
}

pub(crate) fn idempotency(key: &str, body: u8) -> Option<Idempotency> {
    let expires_at = Timestamp::now().plus(Duration::from_secs(3600));
    Some(Idempotency { key: key.into(), fingerprint: [body; 32], expires_at })
}

pub(crate) fn seed(fresh: Option<&str>) -> ThreadSeed {
    ThreadSeed {
        assistant: assistant("support"),
        upstream_id: "bot-1".into(),
        fresh_id: fresh.map(Into::into),
    }
}

pub(crate) fn source(id: &str) -> Source {
    Source { id: id.into(), title: Some("Title".into()), ..Source::default() }
}

pub(crate) fn row(turn_id: TurnId, number: u32, tenant: &TenantId, key: KeyId) -> LedgerRow {
    LedgerRow {
        turn_id,
        number,
        tenant: tenant.clone(),
        key,
        assistant: assistant("support"),
        provider: provider(),
        at: at(0),
        outcome: "completed".into(),
        answered: true,
        usage: Some(Usage {
            input_tokens: Some(10),
            output_tokens: Some(2),
            total_tokens: Some(12),
            cost: Cost::parse("0.1", "RUB"),
        }),
    }
}

pub(crate) fn page(limit: u32) -> PageRequest {
    PageRequest { limit, cursor: None }
}

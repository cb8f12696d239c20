//! Two gateways in one process on a database of their own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use chat::{
    ConversationStore, KeyId, KeyRecord, LedgerRow, Maintenance, NewKey, Peer, Piece, Roll, StoreError,
    StoreStatus, TenantId, Timestamp, TurnId, Unsettled, UsageRange, UsageSum, UsageSumOfKey,
};
use engine::{Ask, Engine, Reader, Settings};
use tokio_util::task::TaskTracker;

use crate::kit::{Act, Gate, Options, Scripted, ask, caller, catalog, read_until};
use crate::smoke::program::PATIENCE;
use crate::store::bed::Bed as Database;

/// Beats so often that a test does not wait for long, and so rarely that a busy machine takes nobody for dead.
const BEAT: Duration = Duration::from_millis(300);

/// Two gateways and the database that they share.
pub struct Bed {
    pub one: Replica,
    pub two: Replica,
    pub database: Database,
}

/// A gateway.
pub struct Replica {
    pub engine: Engine,
    pub store: Arc<store::Store>,
    pub providers: Vec<Arc<Scripted>>,
    /// Keeps it from saying that it lives: as if it were paused, or cut off.
    pub silent: Arc<AtomicBool>,
    /// How often it said so, or tried to.
    pub beats: Arc<AtomicUsize>,
    pub cluster: OnceLock<cluster::Cluster>,
}

impl Bed {
    /// None where there is no server.
    pub async fn new() -> Option<Self> {
        let database = Database::postgres().await?;
        let one = Replica::on(&database.config).await;
        let two = Replica::on(&database.config).await;
        Some(Self { one, two, database })
    }

    /// With this Redis as well.
    pub async fn with_redis(address: &str) -> Option<Self> {
        let bed = Self::new().await?;
        let config = crate::cluster_limits::config(address);
        for replica in [&bed.one, &bed.two] {
            replica.joins(&config).await;
        }
        Some(bed)
    }

    pub async fn finish(self) {
        for replica in [&self.one, &self.two] {
            replica.silent.store(false, Ordering::SeqCst);
            replica.leave().await;
        }
        self.database.finish().await;
    }
}

impl Replica {
    pub async fn on(config: &store::Config) -> Self {
        let tracker = TaskTracker::new();
        let store = store::open(config, &tracker).await.unwrap();
        let providers: Vec<_> = (0..3).map(|_| Arc::new(Scripted::replay())).collect();
        let silent = Arc::new(AtomicBool::new(false));
        let beats = Arc::new(AtomicUsize::new(0));
        let maintenance =
            Silenced { store: Arc::clone(&store), silent: Arc::clone(&silent), beats: Arc::clone(&beats) };
        let engine = Engine::new(
            Arc::new(catalog(&Options::default(), &providers)),
            Settings { beat: BEAT, ..Settings::default() },
            Arc::clone(&store) as Arc<dyn ConversationStore>,
            Arc::new(maintenance),
            tracker,
        );
        engine.settle().await.unwrap();
        Self { engine, store, providers, silent, beats, cluster: OnceLock::new() }
    }

    async fn joins(&self, config: &cluster::Config) {
        let cluster = cluster::open(config, &TaskTracker::new()).unwrap();
        let mut changes = cluster.changes();
        tokio::time::timeout(PATIENCE, changes.wait_for(|up| *up)).await.expect("it answers").unwrap();
        self.engine.set_live(cluster.running());
        assert!(self.cluster.set(cluster).is_ok());
    }

    pub async fn leave(&self) {
        self.engine.finish(Duration::ZERO).await;
        self.store.close(Duration::from_secs(10)).await.unwrap();
    }

    /// Waits until it has beaten so often again: more often than it takes to seem dead.
    pub async fn beat_on(&self) {
        let until = self.beats.load(Ordering::SeqCst) + 10;
        while self.beats.load(Ordering::SeqCst) < until {
            tokio::task::yield_now().await;
        }
    }

    pub fn a(&self) -> &Scripted {
        &self.providers[0]
    }

    pub fn calls(&self) -> usize {
        self.providers.iter().map(|provider| provider.calls()).sum()
    }

    pub async fn chat(&self, ask: Ask) -> Reader {
        self.engine.chat(&caller("t"), ask).await.unwrap()
    }

    /// A turn that has said `one `, says `two ` when the first gate opens, and ends when the second does.
    pub async fn running(&self) -> (Reader, [Gate; 2]) {
        let gates = [Gate::new(), Gate::new()];
        let piece = |text: &str| Act::Give(Piece::Text(text.to_owned()));
        self.a().plays(vec![
            piece("one "),
            Act::Wait(gates[0].clone()),
            piece("two "),
            Act::Wait(gates[1].clone()),
            piece("three"),
            Act::Give(Piece::End(None)),
        ]);
        let mut reader = self.chat(ask("a", "count")).await;
        let begun = read_until(&mut reader, |events| events.len() >= 2).await;
        assert_eq!(begun.len(), 2, "the start and a piece");
        (self.engine.events(&caller("t"), reader.turn_id(), 0).await.unwrap().unwrap(), gates)
    }
}

/// Waits until the store has this much of a turn's text.
pub async fn kept(store: &store::Store, id: TurnId, text: &str) {
    let waiting = async {
        loop {
            let turn = store.turn(&"t".parse().unwrap(), id).await.unwrap().turn;
            if turn.message.is_some_and(|message| message.content.text() == text) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it is kept");
}

/// The store of a gateway that can be kept from saying that it lives.
#[derive(Debug)]
struct Silenced {
    store: Arc<store::Store>,
    silent: Arc<AtomicBool>,
    beats: Arc<AtomicUsize>,
}

#[async_trait]
impl Maintenance for Silenced {
    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    fn status(&self) -> StoreStatus {
        self.store.status()
    }

    async fn create_key(&self, key: NewKey, now: Timestamp) -> Result<KeyRecord, StoreError> {
        self.store.create_key(key, now).await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.store.keys().await
    }

    async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<KeyRecord, StoreError> {
        self.store.revoke_key(id, now).await
    }

    async fn key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        self.store.key_by_hash(hash).await
    }

    async fn key_by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.store.key_by_id(id).await
    }

    async fn secret(&self, name: &str) -> Result<[u8; 32], StoreError> {
        self.store.secret(name).await
    }

    async fn spent(&self, key: KeyId, since_day: &str) -> Result<UsageSumOfKey, StoreError> {
        self.store.spent(key, since_day).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    async fn join(&self, owner: &str) -> Result<u64, StoreError> {
        self.store.join(owner).await
    }

    async fn renew(&self, owner: &str) -> Result<Roll, StoreError> {
        self.beats.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("silenced".into()));
        }
        self.store.renew(owner).await
    }

    async fn take_over(&self, owner: &str, lapsed: Vec<Peer>) -> Result<u64, StoreError> {
        self.store.take_over(owner, lapsed).await
    }

    async fn open_turns(&self, owner: Option<&str>) -> Result<Vec<(TenantId, TurnId)>, StoreError> {
        self.store.open_turns(owner).await
    }

    async fn unsettled(&self, tenant: &TenantId, id: TurnId) -> Result<Option<Unsettled>, StoreError> {
        self.store.unsettled(tenant, id).await
    }

    async fn leave(&self, owner: &str) -> Result<(), StoreError> {
        self.store.leave(owner).await
    }

    async fn record(&self, rows: Arc<[LedgerRow]>) -> Result<(), StoreError> {
        self.store.record(rows).await
    }

    async fn retain(&self, before: Option<Timestamp>, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.store.retain(before, now, limit).await
    }

    async fn usage_of_all(&self, range: UsageRange) -> Result<Vec<UsageSum>, StoreError> {
        self.store.usage_of_all(range).await
    }

    async fn close(&self, within: Duration) -> Result<(), StoreError> {
        self.store.close(within).await
    }
}

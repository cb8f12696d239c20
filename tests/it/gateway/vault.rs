//! Keys in memory, with a switch that takes the store away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chat::{
    KeyId, KeyRecord, LedgerRow, Maintenance, NewKey, Peer, Roll, StoreError, StoreStatus, TenantId,
    Timestamp, TurnId, Unsettled, UsageRange, UsageSum, UsageSumOfKey,
};
use server::{Limits, hash_secret};

/// Keys in memory.
#[derive(Debug, Default)]
pub struct Vault {
    keys: Mutex<Vec<KeyRecord>>,
    spent: Mutex<UsageSumOfKey>,
    pub down: AtomicBool,
    pub look_ups: AtomicUsize,
}

impl Vault {
    /// Keeps a key with this secret.
    pub async fn add(&self, secret: &str, change: impl FnOnce(&mut NewKey)) -> KeyId {
        let mut key = NewKey {
            name: "kept".to_owned(),
            hash: hash_secret(secret),
            tenant: "tests".parse().unwrap(),
            assistants: None,
            may: chat::Permissions::default(),
            admin: false,
            expires_at: None,
            limits: serde_json::to_string(&Limits::default()).unwrap(),
        };
        change(&mut key);
        self.create_key(key, Timestamp::now()).await.unwrap().id
    }

    /// What every key has spent, as the ledger says.
    pub fn set_spent(&self, tokens: u64) {
        self.spent.lock().unwrap().tokens = tokens;
    }

    fn up(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("switched off".into()));
        }
        Ok(())
    }

    fn find(&self, is: impl Fn(&KeyRecord) -> bool) -> Result<Option<KeyRecord>, StoreError> {
        self.look_ups.fetch_add(1, Ordering::SeqCst);
        self.up()?;
        Ok(self.keys.lock().unwrap().iter().find(|key| is(key)).cloned())
    }
}

#[async_trait]
impl Maintenance for Vault {
    async fn ping(&self) -> Result<(), StoreError> {
        self.up()
    }

    fn status(&self) -> StoreStatus {
        StoreStatus::default()
    }

    async fn create_key(&self, key: NewKey, now: Timestamp) -> Result<KeyRecord, StoreError> {
        self.up()?;
        let record = KeyRecord { id: KeyId::new(), key, created_at: now, revoked_at: None };
        self.keys.lock().unwrap().insert(0, record.clone());
        Ok(record)
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.up()?;
        Ok(self.keys.lock().unwrap().clone())
    }

    async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<KeyRecord, StoreError> {
        self.up()?;
        let mut keys = self.keys.lock().unwrap();
        let key = keys.iter_mut().find(|key| key.id == id).ok_or(StoreError::NoKey)?;
        key.revoked_at.get_or_insert(now);
        Ok(key.clone())
    }

    async fn key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        self.find(|record| record.key.hash == *hash)
    }

    async fn key_by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.find(|record| record.id == id)
    }

    async fn secret(&self, _: &str) -> Result<[u8; 32], StoreError> {
        self.up().map(|()| [7; 32])
    }

    async fn spent(&self, _: KeyId, _: &str) -> Result<UsageSumOfKey, StoreError> {
        self.up()?;
        Ok(self.spent.lock().unwrap().clone())
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn join(&self, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn renew(&self, _: &str) -> Result<Roll, StoreError> {
        Ok(Roll::default())
    }

    async fn take_over(&self, _: &str, _: Vec<Peer>) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn open_turns(&self, _: Option<&str>) -> Result<Vec<(TenantId, TurnId)>, StoreError> {
        Ok(Vec::new())
    }

    async fn unsettled(&self, _: &TenantId, _: TurnId) -> Result<Option<Unsettled>, StoreError> {
        Ok(None)
    }

    async fn leave(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn record(&self, _: Arc<[LedgerRow]>) -> Result<(), StoreError> {
        self.up()
    }

    async fn retain(&self, _: Option<Timestamp>, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn usage_of_all(&self, _: UsageRange) -> Result<Vec<UsageSum>, StoreError> {
        self.up().map(|()| Vec::new())
    }

    async fn close(&self, _: Duration) -> Result<(), StoreError> {
        Ok(())
    }
}

//! The gateway's own face of the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use chat::{
    KeyId, KeyRecord, LedgerRow, Maintenance, NewKey, Peer, Roll, StoreError, StoreStatus, TenantId,
    Timestamp, TurnId, Unsettled, UsageRange, UsageSum, UsageSumOfKey,
};

use crate::conn::Conn;
use crate::erase::{self, Remains};
use crate::error::unavailable;
use crate::{Store, idempotency, key, ledger, processes, turn};

/// How often an index that cannot forget is asked again, and after how long.
const AGAIN: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

impl Store {
    /// Erases in steps what is left of a conversation that nobody can reach any more, for so long.
    pub(crate) async fn erase(
        &self,
        mut remains: Option<Remains>,
        patience: Duration,
    ) -> Result<(), StoreError> {
        let (begun, mut refused) = (Instant::now(), 0_u32);
        while let Some(some) = remains.filter(|_| begun.elapsed() < patience) {
            let left = patience.saturating_sub(begun.elapsed());
            let before = match self.backend.forget(some.places(), left).await {
                Ok(before) => before,
                Err(_) if refused < AGAIN && begun.elapsed() < patience => {
                    // It may be made anew just now.
                    refused = refused.saturating_add(1);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => {
                    // Nobody can reach it meanwhile: it is erased with the next retention.
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "an erased conversation is still in the search's index"
                    );
                    return Ok(());
                }
            };
            remains = self
                .backend
                .write((some, before), |conn, (remains, before)| {
                    Box::pin(erase::step(conn, *remains, *before))
                })
                .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Maintenance for Store {
    async fn ping(&self) -> Result<(), StoreError> {
        self.backend.write((), |conn, ()| Box::pin(pulse(conn))).await?;
        self.backend.read((), |conn, ()| Box::pin(async { conn.sql("SELECT 1").run().await })).await?;
        Ok(())
    }

    fn status(&self) -> StoreStatus {
        StoreStatus { queued_writes: self.backend.queued() }
    }

    async fn create_key(&self, key: NewKey, now: Timestamp) -> Result<KeyRecord, StoreError> {
        self.backend
            .write((KeyId::new(), key, now), |conn, (id, key, now)| {
                Box::pin(key::create(conn, *id, key, *now))
            })
            .await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.backend.read((), |conn, ()| Box::pin(key::all(conn))).await
    }

    async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<KeyRecord, StoreError> {
        self.backend.write((id, now), |conn, (id, now)| Box::pin(key::revoke(conn, *id, *now))).await
    }

    async fn key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        self.backend.read(*hash, |conn, hash| Box::pin(key::by_hash(conn, hash))).await
    }

    async fn key_by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.backend.read(id, |conn, id| Box::pin(key::by_id(conn, *id))).await
    }

    async fn secret(&self, name: &str) -> Result<[u8; 32], StoreError> {
        self.backend
            .write((name.to_owned(), rand::random::<[u8; 32]>()), |conn, (name, fresh)| {
                Box::pin(key::secret(conn, name, fresh))
            })
            .await
    }

    async fn spent(&self, key: KeyId, since_day: &str) -> Result<UsageSumOfKey, StoreError> {
        self.backend
            .read((key, since_day.to_owned()), |conn, (key, since)| {
                Box::pin(ledger::spent(conn, *key, since))
            })
            .await
    }

    fn is_shared(&self) -> bool {
        self.backend.is_shared()
    }

    async fn join(&self, owner: &str) -> Result<u64, StoreError> {
        self.backend.write(owner.to_owned(), |conn, owner| Box::pin(processes::join(conn, owner))).await
    }

    async fn renew(&self, owner: &str) -> Result<Roll, StoreError> {
        self.backend.renew(owner).await
    }

    async fn take_over(&self, owner: &str, lapsed: Vec<Peer>) -> Result<u64, StoreError> {
        self.backend
            .write((owner.to_owned(), lapsed), |conn, (owner, lapsed)| {
                Box::pin(processes::take_over(conn, owner, lapsed))
            })
            .await
    }

    async fn open_turns(&self, owner: Option<&str>) -> Result<Vec<(TenantId, TurnId)>, StoreError> {
        self.backend
            .read(owner.map(str::to_owned), |conn, owner| {
                Box::pin(processes::open_turns(conn, owner.as_deref()))
            })
            .await
    }

    async fn unsettled(&self, tenant: &TenantId, id: TurnId) -> Result<Option<Unsettled>, StoreError> {
        self.backend
            .read((tenant.clone(), id), |conn, (tenant, id)| Box::pin(turn::unsettled(conn, tenant, *id)))
            .await
    }

    async fn leave(&self, owner: &str) -> Result<(), StoreError> {
        self.backend.write(owner.to_owned(), |conn, owner| Box::pin(processes::leave(conn, owner))).await
    }

    async fn record(&self, rows: Arc<[LedgerRow]>) -> Result<(), StoreError> {
        self.backend.write(rows, |conn, rows| Box::pin(ledger::write(conn, rows))).await
    }

    async fn retain(&self, before: Option<Timestamp>, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.backend.write(now, |conn, now| Box::pin(idempotency::expire(conn, *now))).await?;
        for remains in self.backend.read((), |conn, ()| Box::pin(erase::remains(conn))).await? {
            self.erase(Some(remains), Duration::MAX).await?;
        }
        let Some(before) = before else { return Ok(0) };
        let old = self
            .backend
            .read((before, limit), |conn, (before, limit)| Box::pin(erase::old(conn, *before, *limit)))
            .await?;
        let mut erased = 0_u64;
        for seq in old {
            let gone = self
                .backend
                .write((seq, before), |conn, (seq, before)| Box::pin(erase::unchanged(conn, *seq, *before)))
                .await?;
            if let Some(remains) = gone {
                erased = erased.saturating_add(1);
                self.erase(remains, Duration::MAX).await?;
            }
        }
        Ok(erased)
    }

    async fn usage_of_all(&self, range: UsageRange) -> Result<Vec<UsageSum>, StoreError> {
        self.backend.read(range, |conn, range| Box::pin(ledger::usage(conn, None, *range))).await
    }

    async fn close(&self, within: Duration) -> Result<(), StoreError> {
        self.backend.close(within).await
    }
}

/// Sees whether writing works. A SQLite file is really written, since only that shows a full disk; a PostgreSQL server says
/// whether it takes writes.
async fn pulse(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    if conn.is_postgres() {
        let mut row = conn
            .sql("SELECT CASE WHEN pg_is_in_recovery() THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END")
            .one()
            .await?;
        return if row.flag()? { Err(unavailable("the server is a replica")) } else { Ok(()) };
    }
    conn.sql("UPDATE pulse SET at = $1 WHERE one = 1").bind(Timestamp::now().millis()).run().await?;
    Ok(())
}

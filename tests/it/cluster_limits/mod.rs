//! Limits of keys that several gateways count as one, on a real Redis: what is counted, and what happens without it.

mod gateways;
mod outage;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use chat::{KeyId, Pot, Room, SharedLimits, Span, Spent, Timestamp, Unit};
use cluster::{Cluster, Config};
use tokio_util::task::TaskTracker;

use crate::gateway::Vault;
use crate::smoke::program::PATIENCE;

/// One gateway's part in a cluster, without the gateway.
pub struct Member {
    pub cluster: Cluster,
    pub limits: Arc<dyn SharedLimits>,
    pub ledger: Arc<Vault>,
}

/// A configuration for tests: keys of their own, and patience with a busy machine.
pub fn config(address: &str) -> Config {
    Config {
        prefix: format!("test-{}:", uuid::Uuid::now_v7().simple()),
        // Tests that are about slowness set their own.
        deadline: Duration::from_secs(10),
        retry: Duration::from_millis(20),
        retry_max: Duration::from_millis(100),
        heartbeat: Duration::from_millis(50),
        ..Config::new(format!("redis://{address}"))
    }
}

impl Member {
    /// One whose Redis answers.
    pub async fn join(config: &Config) -> Self {
        let member = Self::alone(config);
        member.is(true).await;
        member
    }

    pub fn alone(config: &Config) -> Self {
        let cluster = cluster::open(config, &TaskTracker::new()).unwrap();
        let ledger = Arc::new(Vault::default());
        let limits = cluster.limits(Arc::clone(&ledger) as _);
        Self { cluster, limits, ledger }
    }

    /// Waits until Redis answers, or is known to be gone.
    pub async fn is(&self, up: bool) {
        let mut changes = self.cluster.changes();
        let waiting = changes.wait_for(|now| *now == up);
        tokio::time::timeout(PATIENCE, waiting).await.expect("it changes").unwrap();
    }

    /// How many turns of this key run anywhere, once it is so many.
    pub async fn sees(&self, room: &Room, turns: u32) {
        let waiting = async {
            while self.limits.look(room).await.map(|taken| taken.turns) != Some(turns) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it is seen");
    }

    /// What is taken of the pots, once it is so much.
    pub async fn sees_taken(&self, room: &Room, pots: &[i64]) {
        let mut last = None;
        let waiting = async {
            while last.as_deref() != Some(pots) {
                last = self.limits.look(room).await.map(|taken| taken.pots);
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        assert!(seen, "{last:?} instead of {pots:?}");
    }
}

pub fn today() -> Span {
    Span { per: "day", since: Timestamp::now().day() }
}

pub fn tokens(limit: i64) -> Pot {
    Pot { span: today(), unit: Unit::Tokens, limit }
}

pub fn used(tokens: i64) -> Spent {
    Spent { span: today(), unit: Unit::Tokens, amount: tokens }
}

/// A turn of this key.
pub fn room(key: KeyId, turns_max: Option<u32>, pots: Vec<Pot>, reserve: i64) -> Room {
    Room {
        key,
        lease: uuid::Uuid::now_v7().simple().to_string(),
        turns_max,
        pots,
        reserve_tokens: reserve,
        reserve_money: 0,
        enforced: true,
    }
}

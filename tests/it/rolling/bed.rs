//! Two gateways behind nginx, and what they share.

use std::collections::HashMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::{Told, question};
use crate::crash::bed::{Bed, Gateway};
use crate::deploy::nginx::Nginx;
use crate::kit::postgres::Database;
use crate::kit::redis::Redis;

/// An assistant of each kind of provider, all of them slow speakers.
pub const ASSISTANTS: [&str; 5] = ["gptunnel", "mygptassistants", "unleash", "gigachat", "openai"];

/// Two gateways behind nginx, and what they share.
pub struct Stage {
    pub bed: Bed,
    pub database: Database,
    pub nginx: Nginx,
    pub gateways: [Gateway; 2],
    addresses: [String; 2],
    _redis: Redis,
}

impl Stage {
    /// With so many milliseconds before each piece of text. None where there are no servers.
    pub async fn open(pause_ms: u32) -> Option<Self> {
        let database = Database::new().await?;
        let Some(redis) = Redis::start().await else {
            database.drop().await;
            return None;
        };
        let id = format!("fault-slow-pieces-{pause_ms}");
        let assistants = ASSISTANTS.map(|name| (name, name, id.as_str()));
        let drain = "drain_delay = \"1s\"\ndrain_timeout = \"2m\"";
        let cluster = format!("[cluster]\nredis = \"redis://{}\"", redis.address());
        let bed = Bed::new(&assistants, drain, &cluster).await;
        bed.change(&format!("sqlite:{}", bed.store().display()), &database.url());
        bed.change("listen = \"127.0.0.1:0\"", "listen = \"${SWITCHBOARD_LISTEN}\"");
        bed.change("kind = \"gptunnel\"\n", "kind = \"gptunnel\"\nstream_upstream = true\n");
        let addresses = addresses();
        let (one, two) = tokio::join!(bed.start_on(&addresses[0]), bed.start_on(&addresses[1]));
        let nginx = Nginx::start([&addresses[0], &addresses[1]]).await;
        Some(Self { bed, database, nginx, gateways: [one, two], addresses, _redis: redis })
    }

    /// SIGTERM, its end, and another one in its place. Says how long it took to leave.
    pub async fn restart(&mut self, which: usize) -> Duration {
        let begun = Instant::now();
        leave(&mut self.gateways[which]).await;
        let left = begun.elapsed();
        self.gateways[which] = self.bed.start_on(&self.addresses[which]).await;
        left
    }

    /// Nothing is lost, and nothing is there twice: in the gateways' books, nor in the providers'.
    pub async fn check_books(&self, told: &[Told]) {
        let mut connection = self.database.connect().await;
        let (turns,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM turns").fetch_one(&mut connection).await.unwrap();
        assert_eq!(turns, told.len() as i64, "a turn for each that was asked");
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT encode(turn_id, 'hex'), count(*) FROM ledger GROUP BY turn_id")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let ledger: HashMap<_, _> = rows.into_iter().map(|(id, rows)| (format!("turn_{id}"), rows)).collect();
        assert_eq!(ledger.len(), told.len());
        let mut asked = HashMap::<String, usize>::new();
        for call in self.bed.journal.calls().iter().filter_map(question) {
            *asked.entry(call).or_default() += 1;
        }
        assert_eq!(asked.len(), told.len());
        for told in told {
            assert_eq!(ledger.get(told.id()), Some(&1), "calls of {} in the ledger", told.id());
            assert_eq!(asked.get(&told.message), Some(&1), "calls for `{}`", told.message);
        }
    }

    /// Both leave well, and leave nothing behind.
    pub async fn finish(self, leaving: impl IntoIterator<Item = usize>) {
        let Self { database, mut gateways, .. } = self;
        for which in leaving {
            leave(&mut gateways[which]).await;
        }
        database.drop().await;
    }
}

/// It leaves in order: nothing has to be cut off, or left behind.
async fn leave(gateway: &mut Gateway) {
    gateway.signal("TERM").await;
    let status = gateway.ended().await;
    gateway.log.wait_for("left").await;
    let log = gateway.log.text();
    assert!(status.success() && !log.contains("would not") && !log.contains("could not be settled"), "{log}");
}

/// Where nothing listens, and where the system puts no connection of anybody's while a gateway is away: below the ports that it chooses.
fn addresses() -> [String; 2] {
    let free = || loop {
        let port = rand::rng().random_range(12_000..20_000_u16);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    };
    // Both are held until both are known.
    [free(), free()].map(|listener| listener.local_addr().unwrap().to_string())
}

//! PostgreSQL slow, PostgreSQL gone: what is to be kept is refused at once, all else works, and nothing that was accepted is lost.

use super::*;
use crate::crash::stream::{joined, whole};

async fn refuses_what_is_to_be_kept(weather: Weather) {
    let Some((database, redis)) = servers().await else { return };
    let mut stage = Stage::on(&database, &redis, "").await;
    let running = json!({"assistant": "slow", "message": "Hello"});
    let mut running = stage.gateway.stream(running).await;
    let mut told = vec![running.next().await.unwrap()];
    assert_eq!(stage.as_whom(KEPT).await, (200, None));

    stage.postgres.set(weather);
    stage.shows("switchboard_store_up", 0.0).await;
    stage
        .gateway
        .log
        .wait_for("the database does not answer: turns that are to be kept are refused until it does")
        .await;
    let (status, refused) = stage.chat_at_once(true).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("store_unavailable")));
    assert_eq!(refused["error"]["retryable"], true);
    let (status, unstored) = stage.chat_at_once(false).await;
    assert_eq!((status, &unstored["status"]), (200, &json!("completed")));
    assert_eq!(stage.ready().await, 503);
    // Whoever was known is known; of others nobody can say.
    let begun = Instant::now();
    assert_eq!(stage.as_whom(KEPT).await, (200, None));
    assert_eq!(stage.as_whom("never-seen-before").await, (503, Some("store_unavailable".into())));
    assert!(begun.elapsed() < AT_ONCE);
    // The turn that runs goes on: its text does not wait for the store.
    while joined(&told).len() < 200 {
        told.push(running.next().await.unwrap());
    }
    stage.bed.journal.settled("fault-slow-pieces-60", 1).await;

    stage.postgres.set(Weather::Pass);
    told.extend(running.rest().await);
    let turn = whole(&told).clone();
    assert_eq!(turn["status"], "completed");
    stage.shows("switchboard_store_up", 1.0).await;
    assert_eq!(stage.ready().await, 200);
    assert_eq!(stage.chat(true).await.0, 200);
    let path = format!("/v1/chat/{}", turn["id"].as_str().unwrap());
    let kept = async {
        // Told after a few tries that failed, it may be recorded a little later.
        while stage.gateway.get(&path).await != (200, turn.clone()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("it is recorded");
    ledger_has(&database, 3).await;
    stage.gateway.kill().await;
    drop(stage);
    database.drop().await;
}

/// Waits until the ledger has so many calls, and sees that it has none twice.
async fn ledger_has(database: &Database, calls: i64) {
    let mut connection = database.connect().await;
    let waiting = async {
        loop {
            let (all, turns): (i64, i64) =
                sqlx::query_as("SELECT count(*), count(DISTINCT turn_id) FROM ledger WHERE answered = 1")
                    .fetch_one(&mut connection)
                    .await
                    .unwrap();
            assert_eq!(all, turns, "one call each");
            if all == calls {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("all are written");
}

#[tokio::test]
async fn gone() {
    refuses_what_is_to_be_kept(Weather::Cut).await;
}

#[tokio::test]
async fn stalled() {
    refuses_what_is_to_be_kept(Weather::Stall).await;
}

#[tokio::test]
async fn slow() {
    let Some((database, redis)) = servers().await else { return };
    let stage = Stage::on(&database, &redis, "").await;
    assert_eq!(stage.as_whom(KEPT).await, (200, None));
    stage.postgres.set(Weather::Slow(Duration::from_millis(20)));
    for _ in 0..3 {
        assert_eq!(stage.chat(true).await.0, 200);
    }
    // What needs no store does not wait for one, nor does whoever is known.
    for _ in 0..3 {
        assert_eq!(stage.chat_at_once(false).await.0, 200);
        assert_eq!(stage.as_whom(KEPT).await, (200, None));
    }
    assert_eq!((stage.ready().await, stage.metric("switchboard_store_up").await), (200, Some(1.0)));
    drop(stage);
    database.drop().await;
}

#[tokio::test]
async fn several_gateways_that_start_at_once_make_one_schema() {
    let Some(database) = Database::new().await else { return };
    let config = store::Config::new(database.url());
    let tracker = TaskTracker::new();
    let opened = futures_util::future::join_all((0..6).map(|_| store::open(&config, &tracker))).await;
    let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    for store in stores {
        store.ping().await.unwrap();
        store.close(PATIENCE).await.unwrap();
    }
    let versions: Vec<(i64,)> = sqlx::query_as("SELECT version FROM schema_versions ORDER BY version")
        .fetch_all(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(
        versions.iter().map(|(version,)| *version).collect::<Vec<_>>(),
        (1..=versions.len() as i64).collect::<Vec<_>>()
    );
    database.drop().await;
}

//! A replica that reaches neither PostgreSQL nor Redis: the others work on as if it were dead, it refuses what it can't keep.

use super::*;

#[tokio::test]
async fn partitioned() {
    let Some((database, redis)) = servers().await else { return };
    let cut_off = Stage::on(&database, &redis, "concurrent_turns = 5").await;
    let other = Stage::on(&database, &redis, "concurrent_turns = 5").await;
    for stage in [&cut_off, &other] {
        stage.shows("switchboard_cluster_up", 1.0).await;
        assert_eq!(stage.chat(true).await.0, 200);
        assert_eq!(stage.as_whom(KEPT).await, (200, None));
    }
    cut_off.postgres.set(Weather::Stall);
    cut_off.redis.set(Weather::Stall);
    cut_off.shows("switchboard_store_up", 0.0).await;
    cut_off.shows("switchboard_cluster_up", 0.0).await;
    assert_eq!(cut_off.chat_at_once(true).await.0, 503);
    assert_eq!(cut_off.chat_at_once(false).await.0, 200);
    assert_eq!((cut_off.ready().await, cut_off.as_whom(KEPT).await), (503, (200, None)));
    // The other notices nothing.
    assert_eq!(other.chat(true).await.0, 200);
    assert_eq!((other.ready().await, other.metric("switchboard_cluster_up").await), (200, Some(1.0)));

    cut_off.postgres.set(Weather::Pass);
    cut_off.redis.set(Weather::Pass);
    cut_off.shows("switchboard_store_up", 1.0).await;
    cut_off.shows("switchboard_cluster_up", 1.0).await;
    let healed = async {
        while cut_off.chat(true).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, healed).await.expect("it takes turns again");
    assert_eq!(cut_off.ready().await, 200);
    drop((cut_off, other));
    database.drop().await;
}

//! Redis slow, Redis gone: the gateway works on with limits of its own, and says so.

use super::*;

const LIMITS: &str = "requests_per_minute = 60000\nburst = 1000\nconcurrent_turns = 50";
const ALONE: &str = "switchboard_limit_checks_total{limit=\"turns\",counted=\"alone\"}";

async fn works_on_alone(weather: Weather) {
    let Some((database, redis)) = servers().await else { return };
    let stage = Stage::on(&database, &redis, LIMITS).await;
    stage.shows("switchboard_cluster_up", 1.0).await;
    assert_eq!(stage.chat(true).await.0, 200);
    assert_eq!(stage.metric(ALONE).await, None);

    stage.redis.set(weather);
    // Who comes before it is known waits for three deadlines at the most: not for a server that is gone.
    let (status, turn) = stage.chat_at_once(true).await;
    assert_eq!((status, &turn["status"]), (200, &json!("completed")));
    stage.shows("switchboard_cluster_up", 0.0).await;
    for store in [true, false, true] {
        assert_eq!(stage.chat_at_once(store).await.0, 200);
    }
    assert!(stage.metric(ALONE).await.unwrap() >= 3.0);
    assert_eq!(stage.ready().await, 200, "Redis is not asked");
    let limits = stage.gateway.request(http::Method::GET, "/v1/assistants").send().await.unwrap();
    let limits = limits.headers()["ratelimit"].to_str().unwrap();
    assert!(limits.contains("\"requests\";r=") && limits.contains("\"turns\";r=50"), "{limits}");

    stage.redis.set(Weather::Pass);
    stage.shows("switchboard_cluster_up", 1.0).await;
    let alone = stage.metric(ALONE).await;
    assert_eq!(stage.chat(true).await.0, 200);
    assert_eq!(stage.metric(ALONE).await, alone, "counted together again");
    drop(stage);
    database.drop().await;
}

#[tokio::test]
async fn slow() {
    works_on_alone(Weather::Slow(Duration::from_millis(300))).await;
}

#[tokio::test]
async fn stalled() {
    works_on_alone(Weather::Stall).await;
}

#[tokio::test]
async fn gone() {
    works_on_alone(Weather::Cut).await;
}

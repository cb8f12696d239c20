//! Clocks that jump. What is shared goes by Redis's clock alone; what a gateway measures goes by a clock that only runs forward.

use chat::{KeyId, Rate};

use crate::cluster_limits::{Member, config};
use crate::kit::redis::Redis;

#[tokio::test]
async fn a_clock_that_was_set_back_makes_nobody_wait_longer_than_a_burst_takes() {
    let Some(redis) = Redis::start().await else { return };
    let config = config(&redis.address());
    let member = Member::join(&config).await;
    let (key, rate) = (KeyId::new(), Rate { per_minute: 60, burst: 3 });
    assert!(member.limits.request(key, rate).await.unwrap().wait.is_none());
    // What stands there after Redis's clock went back a day: a time that is a day away.
    let name = format!("{}limits:{{{key}}}:rate", config.prefix);
    let now: f64 = redis.cli(&["GET", &name]).await.parse().unwrap();
    redis.cli(&["SET", &name, &format!("{:.0}", now + 86_400e6)]).await;
    let refused = member.limits.request(key, rate).await.unwrap();
    assert!(refused.wait.is_some_and(|wait| wait.as_secs() < 2), "{refused:?}");
    // And after it went forward a day: all of the burst is there.
    redis.cli(&["SET", &name, &format!("{:.0}", now - 86_400e6)]).await;
    assert_eq!(member.limits.request(key, rate).await.unwrap().remaining, 2);
}

#[tokio::test]
async fn leases_that_a_clock_made_lapse_are_taken_again() {
    let Some(redis) = Redis::start().await else { return };
    let config = cluster::Config { lease: std::time::Duration::from_millis(400), ..config(&redis.address()) };
    let member = Member::join(&config).await;
    let turn = crate::cluster_limits::room(KeyId::new(), Some(2), Vec::new(), 0);
    assert!(member.limits.admit(&turn).await.is_some());
    // What a clock that went forward does: all leases lie in the past.
    let name = format!("{}limits:{{{}}}:leases", config.prefix, turn.key);
    let lease = redis.cli(&["ZRANGE", &name, "0", "-1"]).await;
    redis.cli(&["ZADD", &name, "1", &lease]).await;
    member.sees(&turn, 1).await;
}

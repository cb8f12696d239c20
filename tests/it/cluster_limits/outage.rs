//! A Redis that is slow, gone, back, or forgetful.

use std::time::{Duration, Instant};

use chat::{KeyId, Rate};
use futures_util::future::join_all;

use super::{Member, config, room, tokens, used};
use crate::kit::proxy::{Proxy, Weather};
use crate::kit::redis::{self, Redis};
use crate::smoke::program::PATIENCE;

const RATE: Rate = Rate { per_minute: 60, burst: 10 };

#[tokio::test]
async fn a_redis_that_is_not_there_stops_nobody_and_is_found_when_it_comes() {
    let Some(mut redis) = Redis::start().await else { return };
    redis.kill().await;
    let member = Member::alone(&config(&redis.address()));
    assert_eq!(member.limits.request(KeyId::new(), RATE).await, None);
    assert!(!member.cluster.is_up());
    redis.start_again().await;
    member.is(true).await;
    assert!(member.limits.request(KeyId::new(), RATE).await.is_some());
}

#[tokio::test]
async fn a_redis_that_dies_is_gone_at_once_and_learns_of_running_turns_when_it_is_back() {
    let Some(mut redis) = Redis::start().await else { return };
    let config = config(&redis.address());
    let (one, other) = (Member::join(&config).await, Member::join(&config).await);
    let key = KeyId::new();
    let turn = || room(key, Some(3), vec![tokens(1000)], 100);
    let (first, alone, ends) = (turn(), turn(), turn());
    assert!(one.limits.admit(&first).await.is_some());
    assert!(one.limits.admit(&ends).await.is_some());
    redis.kill().await;
    one.is(false).await;
    other.is(false).await;
    // Let in by the gateway alone, which says so.
    assert_eq!(other.limits.admit(&alone).await, None);
    other.limits.hold(&alone);
    one.limits.settle(&ends, vec![used(7)]);
    redis.start_again().await;
    one.is(true).await;
    other.is(true).await;
    one.sees(&first, 2).await;
    assert_eq!(other.limits.admit(&turn()).await.unwrap().hit, None);
    assert!(one.limits.admit(&turn()).await.unwrap().hit.is_some(), "three run");
}

#[tokio::test]
async fn a_redis_that_forgets_everything_is_told_again() {
    let Some(redis) = Redis::start().await else { return };
    let config = cluster::Config { lease: Duration::from_millis(400), ..config(&redis.address()) };
    let (one, other) = (Member::join(&config).await, Member::join(&config).await);
    let key = KeyId::new();
    let turn = || room(key, Some(2), vec![tokens(1000)], 100);
    let (first, second) = (turn(), turn());
    one.ledger.set_spent(50);
    other.ledger.set_spent(50);
    assert!(one.limits.admit(&first).await.is_some());
    assert!(other.limits.admit(&second).await.is_some());
    assert_eq!(redis.cli(&["FLUSHALL"]).await, "OK");
    one.sees(&first, 2).await;
    one.sees_taken(&first, &[250]).await;
    assert!(other.limits.admit(&turn()).await.unwrap().hit.is_some());
}

#[tokio::test]
async fn a_slow_redis_costs_a_few_calls_their_deadline_and_the_others_nothing() {
    let Some(address) = redis::shared() else { return };
    let proxy = Proxy::before(&address).await;
    let config = cluster::Config {
        deadline: Duration::from_millis(100),
        // Nobody looks after it: what is seen here the callers alone have done.
        heartbeat: PATIENCE,
        retry: Duration::from_millis(200),
        ..config(&proxy.address.to_string())
    };
    let member = Member::join(&config).await;
    let key = KeyId::new();
    let mut counted = member.limits.request(key, RATE).await;
    // The first calls may be cut short on a busy machine.
    while counted.is_none() {
        member.is(true).await;
        counted = member.limits.request(key, RATE).await;
    }
    proxy.set(Weather::Stall);
    let begun = Instant::now();
    let told = join_all((0..3).map(|_| member.limits.request(key, RATE))).await;
    assert_eq!(told, [None; 3]);
    assert!(begun.elapsed() >= config.deadline, "they were given their time");
    assert!(!member.cluster.is_up());
    let asked = proxy.asked();
    for _ in 0..1000 {
        assert_eq!(member.limits.request(key, RATE).await, None);
    }
    // A probe or two at the most: a thousand callers asked nothing.
    assert!(proxy.asked() - asked < 10, "{} then {}", asked, proxy.asked());
    proxy.set(Weather::Pass);
    member.is(true).await;
    assert!(member.limits.request(key, RATE).await.is_some());
}

#[tokio::test]
async fn a_redis_that_is_slower_than_the_deadline_is_not_taken_back() {
    let Some(address) = redis::shared() else { return };
    let proxy = Proxy::before(&address).await;
    let config =
        cluster::Config { deadline: Duration::from_millis(100), ..config(&proxy.address.to_string()) };
    let member = Member::join(&config).await;
    proxy.set(Weather::Slow(Duration::from_millis(150)));
    member.is(false).await;
    let connected = proxy.connected();
    let tries = async {
        while proxy.connected() < connected + 3 {
            assert!(!member.cluster.is_up(), "connected, but no use");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, tries).await.expect("it tries again");
    proxy.set(Weather::Pass);
    member.is(true).await;
}

#[tokio::test]
async fn a_redis_that_only_reads_is_no_use() {
    let Some(redis) = Redis::start().await else { return };
    let member = Member::join(&config(&redis.address())).await;
    // A fail-over made it a replica: every call is refused.
    assert_eq!(redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).await, "OK");
    member.is(false).await;
    assert_eq!(member.limits.request(KeyId::new(), RATE).await, None);
    assert_eq!(redis.cli(&["REPLICAOF", "NO", "ONE"]).await, "OK");
    member.is(true).await;
}

#[tokio::test]
async fn a_redis_that_is_paused_and_goes_on_is_taken_back() {
    let Some(redis) = Redis::start().await else { return };
    let config = cluster::Config { deadline: Duration::from_millis(100), ..config(&redis.address()) };
    let member = Member::join(&config).await;
    redis.signal("STOP").await;
    member.is(false).await;
    redis.signal("CONT").await;
    member.is(true).await;
}

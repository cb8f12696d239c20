//! Two gateways with one key: what its callers see.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::{Member, config};
use crate::gateway::{Gateway, KEY, Plan, key, limits, request, whole};
use crate::kit::redis::{self, Redis};

struct Pair {
    one: Gateway,
    other: Gateway,
    members: [Member; 2],
}

/// Two gateways over a ledger each, in which the same stands.
async fn pair(address: &str, by: Value) -> Pair {
    let config = config(address);
    let gateway = |member: &Member| {
        let key = key(KEY, |spec| spec.limits = limits(by.clone()));
        let gateway = Gateway::new(Plan { keys: vec![key], ..Plan::default() });
        gateway.server.set_shared_limits(Arc::clone(&member.limits));
        gateway
    };
    let members = [Member::join(&config).await, Member::join(&config).await];
    Pair { one: gateway(&members[0]), other: gateway(&members[1]), members }
}

fn unstored() -> Value {
    json!({"assistant": "support", "message": "hi", "store": false})
}

#[tokio::test]
async fn requests_are_counted_over_both_and_told_so() {
    let Some(address) = redis::shared() else { return };
    let by = json!({"requests_per_minute": 60, "burst": 3});
    let Pair { one, other, members: _members } = pair(&address, by).await;
    for (gateway, remaining) in [(&one, 2), (&other, 1), (&one, 0)] {
        let answer = gateway.get("/v1/assistants").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=60;w=60"));
        let state = answer.header("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"requests\";r={remaining};t=")), "{state}");
    }
    let refused = other.get("/v1/assistants").await;
    assert_eq!(refused.code(), (429, "key_rate_limit".into()));
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn turns_and_budgets_are_counted_over_both_and_told_so() {
    let Some(address) = redis::shared() else { return };
    let by = json!({"concurrent_turns": 2, "budgets": [{"per": "month", "tokens": 1000}],
        "reserve": {"tokens": 100}});
    let Pair { one, other, members } = pair(&address, by).await;
    let mut calls = one.script.by_hand();
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut body = unstored();
        body["stream"] = true.into();
        streams.push(one.open(request(Method::POST, "/v1/chat", KEY, body.to_string())).await);
    }
    let answer = other.get("/v1/assistants").await;
    let state = answer.header("ratelimit").unwrap();
    assert!(state.starts_with("\"turns\";r=0, \"tokens-month\";r=800;t="), "{state}");
    assert_eq!(other.post("/v1/chat", unstored()).await.code(), (429, "key_concurrency".into()));
    for stream in streams {
        let call = calls.recv().await.unwrap();
        call.say("x");
        call.pieces
            .send(Ok(chat::Piece::Usage(chat::Usage { total_tokens: Some(460), ..chat::Usage::default() })))
            .unwrap();
        call.end();
        whole(stream).await;
    }
    // Both have cost more than was set aside for them: what is left has no room for another reserve.
    let key = chat::KeyId::of_hash(&server::hash_secret(KEY));
    let day = chat::Timestamp::now().month();
    let span = chat::Span { per: "month", since: format!("{day}-01") };
    let pot = chat::Pot { span, unit: chat::Unit::Tokens, limit: 1000 };
    members[1].sees_taken(&super::room(key, None, vec![pot], 0), &[920]).await;
    let refused = other.post("/v1/chat", unstored()).await;
    assert_eq!(refused.code(), (429, "key_budget".into()));
    let state = refused.header("ratelimit").unwrap();
    assert!(state.starts_with("\"turns\";r=2, \"tokens-month\";r=80;t="), "{state}");
}

#[tokio::test]
async fn without_redis_each_counts_alone_and_knows_what_it_runs() {
    let Some(mut redis) = Redis::start().await else { return };
    let by = json!({"requests_per_minute": 60, "burst": 9, "concurrent_turns": 1,
        "budgets": [{"per": "day", "tokens": 1000}], "reserve": {"tokens": 100}});
    let Pair { one, other, members } = pair(&redis.address(), by).await;
    let mut calls = one.script.by_hand();
    let mut body = unstored();
    body["stream"] = true.into();
    let running = one.open(request(Method::POST, "/v1/chat", KEY, body.to_string())).await;
    let call = calls.recv().await.unwrap();
    redis.kill().await;
    for member in &members {
        member.is(false).await;
    }
    // The one that runs the turn knows of it; what was spent both ask the ledger for.
    one.vault.set_spent(300);
    other.vault.set_spent(300);
    assert_eq!(one.post("/v1/chat", unstored()).await.code(), (429, "key_concurrency".into()));
    let state = one.get("/v1/assistants").await;
    let state = state.header("ratelimit").unwrap();
    assert!(state.contains("\"turns\";r=0, \"tokens-day\";r=600;t="), "{state}");
    assert_eq!(other.post("/v1/chat", unstored()).await.status, 200);
    redis.start_again().await;
    for member in &members {
        member.is(true).await;
    }
    // It is told of the turn that still runs.
    let key = chat::KeyId::of_hash(&server::hash_secret(KEY));
    members[1].sees(&super::room(key, None, Vec::new(), 0), 1).await;
    assert_eq!(other.post("/v1/chat", unstored()).await.code(), (429, "key_concurrency".into()));
    call.say("x");
    call.end();
    whole(running).await;
}

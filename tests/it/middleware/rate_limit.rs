//! How often a key may call, how many turns it may run, what it may spend.

use chat::Usage;
use http::Method;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::gateway::{Gateway, KEY, Plan, key, limits, request, whole};

fn limited(by: Value) -> Gateway {
    let key = key(KEY, |spec| spec.limits = limits(by));
    Gateway::new(Plan { keys: vec![key], ..Plan::default() })
}

fn unstored() -> Value {
    json!({"assistant": "support", "message": "hi", "store": false})
}

#[tokio::test]
async fn a_burst_is_let_through_and_then_no_more() {
    // One more in a minute: none comes while these are asked.
    let gateway = limited(json!({"requests_per_minute": 1, "burst": 3}));
    for remaining in [2, 1, 0] {
        let answer = gateway.get("/v1/assistants").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=1;w=60"));
        let state = answer.header("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"requests\";r={remaining};t=")), "{state}");
    }
    let refused = gateway.get("/v1/assistants").await;
    assert_eq!(refused.code(), (429, "key_rate_limit".into()));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").unwrap().starts_with("\"requests\";r=0;t="));
    assert_eq!(gateway.get("/livez").await.status, 200);
}

#[tokio::test]
async fn the_burst_is_a_tenth_when_left_out() {
    let gateway = limited(json!({"requests_per_minute": 50}));
    let state = gateway.get("/v1/assistants").await;
    assert!(state.header("ratelimit").unwrap().starts_with("\"requests\";r=4;"));
    let gateway = limited(json!({"requests_per_minute": 5}));
    let state = gateway.get("/v1/assistants").await;
    assert!(state.header("ratelimit").unwrap().starts_with("\"requests\";r=0;"));
}

#[tokio::test]
async fn without_a_limit_nothing_is_shown_and_in_shadow_nothing_is_refused() {
    let gateway = limited(json!({}));
    assert_eq!(gateway.get("/v1/assistants").await.header("ratelimit"), None);
    let gateway = limited(json!({"requests_per_minute": 1, "concurrent_turns": 1, "shadow": true,
        "budgets": [{"per": "day", "tokens": 0}]}));
    for _ in 0..3 {
        let answer = gateway.get("/v1/assistants").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("ratelimit").is_some());
    }
    assert_eq!(gateway.post("/v1/chat", unstored()).await.status, 200);
}

#[tokio::test]
async fn turns_at_once_are_counted_until_their_end() {
    let gateway = limited(json!({"concurrent_turns": 1}));
    let mut calls = gateway.script.by_hand();
    let mut body = unstored();
    body["stream"] = true.into();
    let first = gateway.open(request(Method::POST, "/v1/chat", KEY, body.to_string())).await;
    let call = calls.recv().await.unwrap();
    let second = gateway.post("/v1/chat", unstored()).await;
    assert_eq!(second.code(), (429, "key_concurrency".into()));
    assert!(second.header("retry-after").is_some());
    // Other routes are not turns.
    assert_eq!(gateway.get("/v1/assistants").await.status, 200);
    call.say("x");
    call.end();
    assert_eq!(whole(first).await.events().last().unwrap().1, "turn.completed");
    let third = TaskTracker::new().spawn(async move {
        loop {
            let answer = gateway.post("/v1/chat", unstored()).await;
            if answer.status != 429 {
                return answer.status;
            }
            tokio::task::yield_now().await;
        }
    });
    let call = calls.recv().await.unwrap();
    call.say("y");
    call.end();
    assert_eq!(third.await.unwrap(), 200);
}

#[tokio::test]
async fn a_repeat_needs_no_place() {
    let key = key(KEY, |spec| spec.limits = limits(json!({"concurrent_turns": 1})));
    let gateway = Gateway::kept(Plan { keys: vec![key], ..Plan::default() }).await;
    let mut calls = gateway.script.by_hand();
    let body = json!({"assistant": "support", "message": "hi", "stream": true}).to_string();
    let asked = || {
        let mut request = request(Method::POST, "/v1/chat", KEY, body.clone());
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        request
    };
    let first = gateway.open(asked()).await;
    let call = calls.recv().await.unwrap();
    let second = gateway.open(asked()).await;
    assert_eq!(second.status(), 200, "the same turn, which has its place");
    call.say("x");
    call.end();
    assert_eq!(whole(first).await.text, whole(second).await.text);
}

#[tokio::test]
async fn a_turn_that_is_refused_holds_no_place() {
    let gateway = limited(json!({"concurrent_turns": 1}));
    for _ in 0..3 {
        let answer =
            gateway.post("/v1/chat", json!({"assistant": "nobody", "message": "hi", "store": false})).await;
        assert_eq!(answer.code(), (404, "assistant_not_found".into()));
    }
    assert_eq!(gateway.post("/v1/chat", unstored()).await.status, 200);
}

#[tokio::test]
async fn a_budget_counts_the_ledger_what_runs_and_what_was_used() {
    let gateway = limited(json!({"budgets": [{"per": "day", "tokens": 100}], "reserve": {"tokens": 40}}));
    gateway.vault.set_spent(10);
    // 10 spent, 50 used by the first: no room for 40 more beside them, but for exactly that.
    let first = gateway.post("/v1/chat", unstored()).await;
    assert_eq!(first.json()["usage"]["total_tokens"], 50);
    let mut calls = gateway.script.by_hand();
    let mut body = unstored();
    body["stream"] = true.into();
    let running = gateway.open(request(Method::POST, "/v1/chat", KEY, body.to_string())).await;
    let call = calls.recv().await.unwrap();
    let refused = gateway.post("/v1/chat", unstored()).await;
    assert_eq!(refused.code(), (429, "key_budget".into()));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=24 * 3600).contains(&wait));
    // The running one turns out to cost nothing: its reserve is free again.
    call.say("x");
    call.pieces.send(Ok(chat::Piece::Usage(Usage { total_tokens: Some(0), ..Usage::default() }))).unwrap();
    call.end();
    whole(running).await;
    let again = TaskTracker::new().spawn(async move { gateway.post("/v1/chat", unstored()).await.status });
    let call = calls.recv().await.unwrap();
    call.say("x");
    call.end();
    assert_eq!(again.await.unwrap(), 200);
}

#[tokio::test]
async fn every_limit_is_told_on_every_answer() {
    let gateway = limited(json!({"requests_per_minute": 600, "concurrent_turns": 2,
        "budgets": [{"per": "day", "tokens": 100}, {"per": "day", "cost": "1.5", "currency": "RUB"}],
        "reserve": {"tokens": 40}}));
    gateway.vault.set_spent(10);
    let policy = "\"requests\";q=600;w=60, \"turns\";q=2, \"tokens-day\";q=100;w=86400, \
                  \"cost-day-rub\";q=150;w=86400;qu=\"0.01 RUB\"";
    for path in ["/v1/assistants", "/v1/nowhere", "/v1/conversations?limit=0"] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.header("ratelimit-policy"), Some(policy), "{path}");
        let state = answer.header("ratelimit").unwrap();
        assert!(state.contains(", \"turns\";r=2, \"tokens-day\";r=90;t="), "{state}");
        assert!(state.contains(", \"cost-day-rub\";r=150;t="), "{state}");
    }
    // A turn that runs has its place and its reserve.
    let mut calls = gateway.script.by_hand();
    let mut body = unstored();
    body["stream"] = true.into();
    let running = gateway.open(request(Method::POST, "/v1/chat", KEY, body.to_string())).await;
    let _call = calls.recv().await.unwrap();
    let state = running.headers()["ratelimit"].to_str().unwrap();
    assert!(state.contains("\"turns\";r=1, \"tokens-day\";r=50;t="), "{state}");
}

#[tokio::test]
async fn a_refusal_tells_the_limit_that_it_is_for() {
    for (limits, code, left) in [
        (json!({"budgets": [{"per": "month", "tokens": 5}]}), "key_budget", "\"tokens-month\";r=0;t="),
        (json!({"concurrent_turns": 1}), "key_concurrency", "\"turns\";r=0"),
    ] {
        let gateway = limited(limits);
        gateway.vault.set_spent(10);
        let mut calls = gateway.script.by_hand();
        let mut body = unstored();
        body["stream"] = true.into();
        let first = gateway.open(request(Method::POST, "/v1/chat", KEY, body.to_string())).await;
        let _call = if first.status() == 200 { calls.recv().await } else { None };
        let refused = gateway.post("/v1/chat", unstored()).await;
        assert_eq!(refused.code(), (429, code.into()));
        assert!(refused.header("ratelimit").unwrap().starts_with(left), "{:?}", refused.headers);
        assert!(refused.header("ratelimit-policy").is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_rate_is_exact_when_many_ask_at_once() {
    let (burst, per_second) = (200.0, 10.0);
    let gateway = std::sync::Arc::new(limited(json!({"requests_per_minute": 600, "burst": 200})));
    let asking = TaskTracker::new();
    let began = std::time::Instant::now();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let gateway = std::sync::Arc::clone(&gateway);
            asking.spawn(async move {
                let (mut admitted, mut refused) = (0_u32, None);
                for _ in 0..40 {
                    let asked = began.elapsed();
                    match gateway.get("/v1/assistants").await.status.as_u16() {
                        200 => admitted += 1,
                        429 => refused = refused.max(Some(asked)),
                        status => panic!("{status}"),
                    }
                }
                (admitted, refused)
            })
        })
        .collect();
    let (mut admitted, mut refused) = (0, None);
    for task in tasks {
        let (more, last) = task.await.unwrap();
        admitted += more;
        refused = refused.max(last);
    }
    let admitted = f64::from(admitted);
    let most = burst + per_second * began.elapsed().as_secs_f64();
    assert!(admitted <= most, "{admitted} of {most}");
    // The first ask was after `began`, and when the last one was refused there was less than one left.
    let until = refused.expect("640 are more than there are").as_secs_f64();
    assert!(admitted >= burst - 1.0, "{admitted} until {until}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_budget_holds_when_many_ask_at_once() {
    let limits = limits(json!({"budgets": [{"per": "day", "tokens": 1000}], "reserve": {"tokens": 30},
        "concurrent_turns": 8}));
    let keys = vec![key(KEY, |spec| spec.limits = limits)];
    let gateway = std::sync::Arc::new(Gateway::kept(Plan { keys, ..Plan::default() }).await);
    let asking = TaskTracker::new();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let gateway = std::sync::Arc::clone(&gateway);
            asking.spawn(async move {
                let mut used = 0;
                loop {
                    let body = json!({"assistant": "support", "message": "hi"});
                    let answer = gateway.post("/v1/chat", body).await;
                    if answer.status == 200 {
                        used += answer.json()["usage"]["total_tokens"].as_u64().unwrap();
                    } else if answer.code().1 == "key_budget" {
                        break;
                    } else {
                        // The place of the one before is free a moment after its answer.
                        assert_eq!(answer.code().1, "key_concurrency");
                        tokio::task::yield_now().await;
                    }
                }
                used
            })
        })
        .collect();
    let mut used = 0;
    for task in tasks {
        used += task.await.unwrap();
    }
    // Each of the eight that run at once costs 20 more than was set aside for it.
    assert!((971..=1000 + 8 * 20).contains(&used), "{used}");
}

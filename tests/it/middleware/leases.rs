//! A turn's place is free again in whatever way the turn ends.

use std::sync::atomic::Ordering;

use chat::Failure;
use engine::{OnDisconnect, Settings};
use http::Method;
use serde_json::json;

use super::super::gateway::{Gateway, KEY, Plan, key, limits, request, whole};

fn gateway(on_disconnect: OnDisconnect) -> Gateway {
    let one = key(KEY, |spec| {
        spec.limits = limits(json!({"concurrent_turns": 1, "budgets": [{"per": "day", "tokens": 100}],
            "reserve": {"tokens": 60}}));
    });
    let settings = Settings { on_disconnect, ..Settings::default() };
    Gateway::new(Plan { keys: vec![one], settings, ..Plan::default() })
}

fn turn(stream: bool) -> http::Request<axum::body::Body> {
    let body = json!({"assistant": "support", "message": "hi", "store": false, "stream": stream});
    request(Method::POST, "/v1/chat", KEY, body.to_string())
}

/// Waits until the key has its place and its reserve again: a lease goes with its turn's task, which ends after its readers know.
async fn free(gateway: &Gateway) {
    loop {
        let answer = gateway.get("/v1/assistants").await;
        let state = answer.header("ratelimit").unwrap();
        if state.starts_with("\"turns\";r=1, \"tokens-day\";r=100;") {
            return;
        }
        assert!(state.starts_with("\"turns\";r="), "{state}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn completed_failed_cancelled_or_left() {
    let gateway = gateway(OnDisconnect::Cancel);
    let mut calls = gateway.script.by_hand();

    let completed = gateway.open(turn(true)).await;
    let call = calls.recv().await.unwrap();
    let taken = gateway.get("/v1/assistants").await;
    assert!(taken.header("ratelimit").unwrap().starts_with("\"turns\";r=0, \"tokens-day\";r=40;"));
    call.say("x");
    call.end();
    whole(completed).await;
    free(&gateway).await;

    let broken = gateway.open(turn(true)).await;
    let call = calls.recv().await.unwrap();
    call.pieces.send(Err(Failure::Failed.into())).unwrap();
    assert_eq!(whole(broken).await.events().last().unwrap().1, "turn.failed");
    free(&gateway).await;

    let cancelled = gateway.open(turn(true)).await;
    let _call = calls.recv().await.unwrap();
    let id = cancelled.headers()["x-turn-id"].to_str().unwrap().to_owned();
    gateway.send(request(Method::POST, &format!("/v1/chat/{id}/cancel"), KEY, "")).await;
    free(&gateway).await;

    // The client is gone: in the middle of a stream, and of a whole answer.
    let left = gateway.open(turn(true)).await;
    let _call = calls.recv().await.unwrap();
    drop(left);
    free(&gateway).await;
    tokio::select! {
        _ = gateway.open(turn(false)) => panic!("nobody answers it"),
        _call = calls.recv() => {}
    }
    free(&gateway).await;

    // Refused before it began.
    gateway.script.fail(Failure::Account);
    assert_eq!(gateway.send(turn(false)).await.code(), (502, "provider_account".into()));
    free(&gateway).await;
}

#[tokio::test]
async fn a_panic_of_ours_frees_it_as_well() {
    let gateway = gateway(OnDisconnect::Continue);
    gateway.script.panics_when_asked.store(true, Ordering::SeqCst);
    let streaming = gateway.open(turn(true)).await;
    free(&gateway).await;
    let events = whole(streaming).await.events();
    let (_, kind, end) = events.last().unwrap();
    assert_eq!((kind.as_str(), &end["turn"]["error"]["code"]), ("turn.failed", &json!("internal")));
    gateway.script.panics_when_asked.store(false, Ordering::SeqCst);
    assert_eq!(gateway.send(turn(false)).await.status, 200);
}

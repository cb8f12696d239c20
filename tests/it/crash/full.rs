//! A store that is full: over the real router, with a bound on the file in the place of a disk.

use std::sync::Arc;

use chat::{ConversationStore, Maintenance, TurnId};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::gateway::{Gateway, KEY, Plan, request, whole};

async fn small_store(folder: &tempfile::TempDir) -> Arc<store::Store> {
    let mut config = store::Config::new(format!("sqlite:{}", folder.path().join("small.db").display()));
    config.file_bytes_max = Some(1024 * 1024);
    store::open(&config, &TaskTracker::new()).await.unwrap()
}

/// Puts messages into a conversation until no more go in; gives the refusal.
async fn fill(gateway: &Gateway) -> (String, (u16, String)) {
    let made = gateway.post("/v1/conversations", json!({"assistant": "docs"})).await.json();
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/conversations/{id}/messages");
    // Ever smaller ones, so that there is no corner left.
    let mut size = 100_000;
    loop {
        let answer = gateway.post(&path, json!({"role": "user", "text": "x".repeat(size)})).await;
        match answer.status.as_u16() {
            201 => {}
            _ if size < 2000 => return (id, answer.code()),
            _ => size /= 2,
        }
    }
}

#[tokio::test]
async fn a_full_store_refuses_new_turns_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = small_store(&folder).await;
    let parts =
        (Arc::clone(&store) as Arc<dyn ConversationStore>, Arc::clone(&store) as Arc<dyn Maintenance>);
    let gateway = Gateway::new(Plan { store: Some(parts), ..Plan::default() });
    let mut calls = gateway.script.by_hand();
    let ask = |text: &str, store: bool| json!({"assistant": "support", "message": text, "store": store, "stream": true});
    let mut running =
        gateway.open(request(Method::POST, "/v1/chat", KEY, ask("Hello", true).to_string())).await;
    let id: TurnId = running.headers()["x-turn-id"].to_str().unwrap().parse().unwrap();
    let call = calls.recv().await.unwrap();
    call.say("one ");
    // The body has begun: from here on the client reads as it likes.
    let first = running.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();

    let (filler, refused) = fill(&gateway).await;
    assert_eq!(refused, (503, "store_unavailable".to_owned()));
    let big = "y".repeat(20_000);
    let answer = gateway.post("/v1/chat", ask(&big, true)).await;
    assert_eq!(answer.code(), (503, "store_unavailable".to_owned()), "{}", answer.text);
    assert!(answer.header("retry-after").is_some());
    let (unstored, ()) = tokio::join!(gateway.post("/v1/chat", ask(&big, false)), async {
        let call = calls.recv().await.unwrap();
        call.say("still here");
        call.end();
    });
    assert_eq!(unstored.events().last().unwrap().1, "turn.completed", "{}", unstored.text);

    // What runs goes on and ends: the client is told, whether the store takes it or not.
    call.say(&big);
    call.end();
    let rest = whole(running).await;
    let told = String::from_utf8(first.to_vec()).unwrap() + &rest.text;
    let mut data = told.lines().rev().filter_map(|line| line.strip_prefix("data: "));
    let end: Value = serde_json::from_str(data.next().unwrap()).unwrap();
    assert_eq!(
        (&end["type"], &end["turn"]["message"]["text"]),
        (&json!("turn.completed"), &json!(format!("one {big}")))
    );

    // Once there is room it is recorded, without anybody's help.
    let tenant = "tests".parse().unwrap();
    assert!(!store.turn(&tenant, id).await.unwrap().turn.status.is_end(), "there was no room for it");
    let erased = gateway.send(request(Method::DELETE, &format!("/v1/conversations/{filler}"), KEY, "")).await;
    assert_eq!(erased.status, 204, "{}", erased.text);
    while !store.turn(&tenant, id).await.unwrap().turn.status.is_end() {
        tokio::task::yield_now().await;
    }
    let kept = gateway.get(&format!("/v1/chat/{id}")).await.json();
    assert_eq!(kept, end["turn"], "what was told is what is kept");
    let mut next = ask("And now?", true);
    next["conversation_id"] = kept["conversation_id"].clone();
    let (answer, ()) = tokio::join!(gateway.post("/v1/chat", next), async {
        let call = calls.recv().await.unwrap();
        assert_eq!(call.request.history.len(), 2);
        call.say("fine");
        call.end();
    });
    assert_eq!(answer.events().last().unwrap().1, "turn.completed");
}

//! A store that another process holds locked.

use super::stream::whole;
use super::{Bed, joined};
use serde_json::json;

const ASSISTANTS: [(&str, &str, &str); 2] =
    [("slow", "openai", "fault-slow-pieces-60"), ("quick", "openai", "sim-model")];

#[tokio::test]
async fn a_locked_store_refuses_new_turns_and_loses_none() {
    let bed = Bed::new(&ASSISTANTS, "", "").await;
    let mut gateway = bed.start().await;
    let mut running = gateway.stream(json!({"assistant": "slow", "message": "Hello"})).await;
    let mut told = vec![running.next().await.unwrap()];
    let other = bed.connection();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();

    let ask = |store: bool| json!({"assistant": "quick", "message": "Hello", "store": store});
    let stored = gateway.posting("/v1/chat", &ask(true)).header("idempotency-key", "refused").send();
    let body = ask(false);
    let (refused, unstored) = tokio::join!(stored, gateway.post("/v1/chat", &body));
    let refused = refused.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let refused: serde_json::Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(refused["error"]["code"], "store_unavailable", "{refused:#}");
    assert_eq!((unstored.0, &unstored.1["status"]), (200, &json!("completed")), "{:#}", unstored.1);
    assert_eq!(gateway.get("/readyz").await.0, 503);

    // The turn that runs goes on: its text does not wait for the store.
    while joined(&told).len() < 200 {
        told.push(running.next().await.unwrap());
    }
    bed.journal.settled("fault-slow-pieces-60", 1).await;
    other.execute_batch("ROLLBACK").unwrap();
    told.extend(running.rest().await);
    assert_eq!(whole(&told)["status"], "completed");
    // It recovers by itself, and what was refused is free to be asked again.
    let again =
        gateway.posting("/v1/chat", &ask(true)).header("idempotency-key", "refused").send().await.unwrap();
    assert_eq!(again.status(), 200);
    assert_eq!(gateway.get("/readyz").await.0, 200);
    assert_eq!(bed.journal.calls_for("sim-model").len(), 2, "what was refused was never asked");

    gateway.kill().await;
    let gateway = bed.start().await;
    let turn = told.last().unwrap().turn();
    let path = format!("/v1/chat/{}", turn["id"].as_str().unwrap());
    assert_eq!(gateway.get(&path).await, (200, turn.clone()), "the end that was told is kept");
}

#[tokio::test]
async fn leaving_while_the_store_is_locked_readers_are_told_all_the_same() {
    let bed = Bed::new(&[("stuck", "openai", "fault-stall-after-3")], "drain_timeout = \"1s\"", "").await;
    let mut gateway = bed.start().await;
    let mut running = gateway.stream(json!({"assistant": "stuck", "message": "Hello"})).await;
    let mut told = Vec::new();
    while joined(&told).is_empty() {
        told.push(running.next().await.unwrap());
    }
    let other = bed.connection();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    gateway.signal("TERM").await;
    told.extend(running.rest().await);
    let turn = whole(&told);
    assert_eq!((&turn["status"], &turn["error"]["code"]), (&json!("incomplete"), &json!("draining")));
    gateway.ended().await;
    other.execute_batch("ROLLBACK").unwrap();
    let gateway = bed.start().await;
    let (status, kept) = gateway.get(&format!("/v1/chat/{}", turn["id"].as_str().unwrap())).await;
    // How much of it there is depends on what was kept before the lock.
    let ended = ["incomplete", "failed"].contains(&kept["status"].as_str().unwrap());
    assert!(status == 200 && ended, "{kept:#}");
}

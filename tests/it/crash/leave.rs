//! Leaving well: SIGTERM, the delay, the drain, the rest. And what retention takes away.

use serde_json::json;

use super::stream::whole;
use super::{Bed, joined};

const ASSISTANTS: [(&str, &str, &str); 3] = [
    ("slow", "openai", "fault-slow-pieces-100"),
    ("stuck", "openai", "fault-stall-after-3"),
    ("quick", "openai", "sim-model"),
];

#[tokio::test]
async fn it_lets_turns_finish_and_tells_those_that_it_cuts_off() {
    let bed = Bed::new(&ASSISTANTS, "drain_delay = \"5s\"\ndrain_timeout = \"8s\"", "").await;
    let mut gateway = bed.start().await;
    let ask = |assistant: &str| json!({"assistant": assistant, "message": "Hello"});
    let mut stuck = gateway.stream(ask("stuck")).await;
    let mut told = Vec::new();
    while joined(&told).is_empty() {
        told.push(stuck.next().await.unwrap());
    }
    assert_eq!(gateway.get("/readyz").await.0, 200);
    let connection = async || {
        let answer = gateway.request(http::Method::GET, "/livez").send().await.unwrap();
        answer.headers().get("connection").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(connection().await, None);
    gateway.signal("TERM").await;
    gateway.log.wait_for("leaving").await;
    assert_eq!(connection().await.as_deref(), Some("close"), "no further request comes over it");
    assert_eq!(gateway.get("/readyz").await.0, 503, "at once");
    assert_eq!(gateway.get("/livez").await.0, 200);
    let slow = gateway.stream(ask("slow")).await;
    assert_eq!(gateway.post("/v1/chat", &ask("quick")).await.0, 200, "turns are taken until all know");

    gateway.log.wait_for("new turns are refused from now on").await;
    let (status, refused) = gateway.post("/v1/chat", &ask("quick")).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("draining")), "{refused:#}");
    // A reader may come back.
    let id = told[0].turn()["id"].as_str().unwrap();
    let mut back = gateway.resume(id, 0).await.unwrap();
    assert_eq!(back.next().await.unwrap().raw, told[0].raw);

    let finished = slow.rest().await;
    assert_eq!(whole(&finished)["status"], "completed", "there was time for it");
    told.extend(stuck.rest().await);
    let cut = whole(&told);
    assert_eq!(
        (&cut["status"], &cut["error"]["code"]),
        (&json!("incomplete"), &json!("draining")),
        "{cut:#}"
    );
    assert_eq!(back.rest().await.last().unwrap().raw, told.last().unwrap().raw);
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log.text());

    // What was told is what is kept: nothing is left to settle.
    let gateway = bed.start().await;
    for events in [&finished, &told] {
        let turn = events.last().unwrap().turn();
        let path = format!("/v1/chat/{}", turn["id"].as_str().unwrap());
        assert_eq!(gateway.get(&path).await, (200, turn.clone()));
    }
    assert!(!gateway.log.text().contains("were settled"), "{}", gateway.log.text());
}

#[tokio::test]
async fn a_second_signal_leaves_now_and_the_next_start_settles() {
    let bed = Bed::new(&ASSISTANTS, "drain_timeout = \"1h\"", "").await;
    let mut gateway = bed.start().await;
    let mut stuck = gateway.stream(json!({"assistant": "stuck", "message": "Hello"})).await;
    let started = stuck.next().await.unwrap();
    gateway.signal("TERM").await;
    gateway.log.wait_for("leaving").await;
    gateway.signal("INT").await;
    // Within the test's patience, which an hour is not.
    assert_ne!(gateway.ended().await.code(), Some(0), "what ran was not brought to an end");
    let gateway = bed.start().await;
    let (_, turn) = gateway.get(&format!("/v1/chat/{}", started.turn()["id"].as_str().unwrap())).await;
    assert!(["incomplete", "failed"].contains(&turn["status"].as_str().unwrap()), "{turn:#}");
}

#[tokio::test]
async fn retention_takes_old_conversations_and_no_others() {
    let bed = Bed::new(&ASSISTANTS, "", "").await;
    let mut gateway = bed.start().await;
    let ask = json!({"assistant": "quick", "message": "Hello"});
    let mut made = Vec::new();
    for _ in 0..2 {
        let (status, turn) = gateway.post("/v1/chat", &ask).await;
        assert_eq!(status, 200);
        made.push((
            turn["conversation_id"].as_str().unwrap().to_owned(),
            turn["id"].as_str().unwrap().to_owned(),
        ));
    }
    gateway.kill().await;
    // The first has not changed for a hundred days.
    let day = 24 * 60 * 60 * 1000_i64;
    let older = "UPDATE conversations SET updated_at = updated_at - $1 WHERE seq = (SELECT MIN(seq) FROM conversations)";
    bed.connection().execute(older, [100 * day]).unwrap();
    bed.change("[defaults]", "retention = \"90d\"\n[defaults]");
    let gateway = bed.start().await;
    gateway.log.wait_for("erased what is older than `storage.retention`").await;
    for ((conversation, turn), expected) in made.iter().zip([404, 200]) {
        assert_eq!(gateway.get(&format!("/v1/conversations/{conversation}")).await.0, expected);
        assert_eq!(gateway.get(&format!("/v1/chat/{turn}")).await.0, expected);
    }
    let (_, usage) = gateway.get("/v1/usage").await;
    assert_eq!(usage["data"][0]["turns"], 2, "the ledger keeps its sums");
}

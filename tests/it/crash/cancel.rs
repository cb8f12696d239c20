//! Turns that are stopped, by word or by leaving: the provider is not listened to any longer.

use serde_json::json;
use simulator::Outcome;

use super::stream::{text_of, whole};
use super::{Bed, joined};

const STALLED: &str = "fault-stall-after-3";

async fn bed(turns: &str) -> Bed {
    Bed::new(&[("model", "openai", STALLED), ("quick", "openai", "sim-model")], "", turns).await
}

#[tokio::test]
async fn a_cancelled_turn_hangs_up_and_keeps_what_came() {
    let bed = bed("").await;
    let gateway = bed.start().await;
    for store in [true, false] {
        bed.journal.clear();
        let body = json!({"assistant": "model", "message": "Hello", "store": store});
        let mut stream = gateway.stream(body).await;
        let mut events = Vec::new();
        while events.iter().filter(|event: &&super::Event| event.kind == "message.delta").count() < 3 {
            events.push(stream.next().await.unwrap());
        }
        let id = events[0].turn()["id"].as_str().unwrap().to_owned();
        let (status, turn) = gateway.post(&format!("/v1/chat/{id}/cancel"), &json!({})).await;
        assert_eq!((status, &turn["status"]), (200, &json!("cancelled")), "{turn:#}");
        assert_eq!(text_of(&turn), joined(&events));
        let calls = bed.journal.settled(STALLED, 1).await;
        assert_eq!((calls.len(), calls[0].outcome), (1, Outcome::ClientLeft));
        events.extend(stream.rest().await);
        assert_eq!(whole(&events), &turn, "whoever reads is told");
        if store {
            let (_, again) = gateway.post(&format!("/v1/chat/{id}/cancel"), &json!({})).await;
            assert_eq!(again, turn, "one that has ended is left as it is");
            let next =
                json!({"conversation_id": turn["conversation_id"], "assistant": "quick", "message": "?"});
            assert_eq!(gateway.post("/v1/chat", &next).await.1["status"], "completed");
        }
    }
}

#[tokio::test]
async fn where_leaving_cancels_the_last_reader_ends_the_turn() {
    let bed = bed("on_disconnect = \"cancel\"").await;
    let gateway = bed.start().await;
    for store in [true, false] {
        bed.journal.clear();
        let body = json!({"assistant": "model", "message": "Hello", "store": store});
        let mut first = gateway.stream(body).await;
        let id = first.next().await.unwrap().turn()["id"].as_str().unwrap().to_owned();
        let mut second = gateway.resume(&id, 0).await.unwrap();
        drop(first);
        while second.next().await.unwrap().kind != "message.delta" {}
        let open = bed.journal.calls_for(STALLED);
        assert_eq!(open[0].outcome, Outcome::Open, "somebody still reads");
        drop(second);
        let calls = bed.journal.settled(STALLED, 1).await;
        assert_eq!((calls.len(), calls[0].outcome), (1, Outcome::ClientLeft));
        if store {
            let events = gateway.resume(&id, 0).await.unwrap().rest().await;
            assert_eq!(whole(&events)["status"], "cancelled");
        }
    }
}

#[tokio::test]
async fn a_client_that_wants_it_whole_and_leaves_cancels_as_well() {
    let bed = bed("on_disconnect = \"cancel\"").await;
    let gateway = bed.start().await;
    let body = json!({"assistant": "model", "message": "Hello"});
    {
        let mut asked = Box::pin(gateway.posting("/v1/chat", &body).send());
        tokio::select! {
            _ = &mut asked => panic!("a stalled provider has no end"),
            _ = bed.journal.wait_for(STALLED, |calls| !calls.is_empty()) => {}
        }
    }
    let calls = bed.journal.settled(STALLED, 1).await;
    assert_eq!(calls[0].outcome, Outcome::ClientLeft);
}

#[tokio::test]
async fn where_leaving_changes_nothing_the_turn_is_finished() {
    let bed = Bed::new(&[("model", "openai", "fault-slow-pieces-30")], "", "").await;
    let gateway = bed.start().await;
    let mut stream = gateway.stream(json!({"assistant": "model", "message": "Hello"})).await;
    let id = stream.next().await.unwrap().turn()["id"].as_str().unwrap().to_owned();
    drop(stream);
    let calls = bed.journal.settled("fault-slow-pieces-30", 1).await;
    assert_eq!(calls[0].outcome, Outcome::Whole);
    let events = gateway.resume(&id, 0).await.unwrap().rest().await;
    assert_eq!(whole(&events)["status"], "completed");
}

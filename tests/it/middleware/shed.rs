//! More requests than there are places for.

use http::Method;
use serde_json::json;
use server::Config;

use crate::gateway::{Gateway, KEY, Plan, request, whole};

#[tokio::test]
async fn the_surplus_is_refused_at_once_and_the_rest_served() {
    let config = Config { requests_max: 3, ..Config::default() };
    let gateway = Gateway::new(Plan { config, ..Plan::default() });
    let mut calls = gateway.script.by_hand();
    let whole_turn = || {
        let body = json!({"assistant": "support", "message": "hi", "store": false}).to_string();
        gateway.open(request(Method::POST, "/v1/chat", KEY, body))
    };
    let mut surplus = 0;
    let served = async { tokio::join!(whole_turn(), whole_turn(), whole_turn()) };
    let others = async {
        // All three are at work: nobody answers them but this.
        let at_work = [calls.recv().await.unwrap(), calls.recv().await.unwrap(), calls.recv().await.unwrap()];
        for _ in 0..100 {
            let refused = gateway.get("/v1/assistants").await;
            assert_eq!(refused.code(), (503, "overloaded".into()));
            assert_eq!(refused.header("retry-after"), Some("1"));
            surplus += 1;
        }
        assert_eq!(gateway.engine.running(), 3, "what is refused begins nothing");
        for call in at_work {
            call.say("served");
            call.end();
        }
    };
    let ((one, two, three), ()) = tokio::join!(served, others);
    for answer in [one, two, three] {
        assert_eq!(whole(answer).await.json()["message"]["text"], "served");
    }
    assert_eq!(surplus, 100);
    assert_eq!(gateway.get("/v1/assistants").await.status, 200);
}

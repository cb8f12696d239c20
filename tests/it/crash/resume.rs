//! A client that is dropped after every single event and comes back; a thousand of the same request.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::bed::{SECRET, client};
use super::stream::whole;
use super::{Bed, Event, Gateway, Stream};

/// Sources and citations, usage, a memory upstream: every sort of event that there is.
const ASSISTANTS: [(&str, &str, &str); 3] = [
    ("model", "openai", "fault-slow-pieces-30"),
    ("leash", "unleash", "fault-slow-pieces-30+3f2b6c1e-8d4a-4f0b-9a67-2c5d1e7f9b03"),
    ("bot", "mygptassistants", "fault-slow-pieces-30"),
];

fn bytes(events: &[Event]) -> String {
    events.iter().map(|event| event.raw.as_str()).collect()
}

#[tokio::test]
async fn dropped_after_every_event_the_pieces_are_the_stream() {
    let bed = Bed::new(&ASSISTANTS, "", "").await;
    let mut gateway = bed.start().await;
    let turns = join_all(ASSISTANTS.map(|(assistant, ..)| piecemeal(&gateway, assistant))).await;
    for events in &turns {
        from_everywhere(&gateway, events).await;
    }
    gateway.kill().await;
    let gateway = bed.start().await;
    for events in &turns {
        from_everywhere(&gateway, events).await;
    }
}

/// Reads a turn while it runs, each event over a connection of its own.
async fn piecemeal(gateway: &Gateway, assistant: &str) -> Vec<Event> {
    let body = json!({"assistant": assistant, "message": "What is our holiday policy?"});
    let mut stream = gateway.stream(body).await;
    let mut events = vec![stream.next().await.unwrap()];
    let id = events[0].turn()["id"].as_str().unwrap().to_owned();
    while !events.last().unwrap().is_end() {
        drop(stream);
        stream = gateway.resume(&id, events.last().unwrap().id).await.unwrap();
        events.push(stream.next().await.unwrap());
    }
    assert_eq!(whole(&events)["status"], "completed");
    assert!(events.len() > 10, "{} events", events.len());
    events
}

/// Reads an ended turn again after every event.
async fn from_everywhere(gateway: &Gateway, events: &[Event]) {
    let id = events[0].turn()["id"].as_str().unwrap();
    for (number, after) in std::iter::once(0).chain(events.iter().map(|event| event.id)).enumerate() {
        let rest = match gateway.resume(id, after).await {
            Some(stream) => bytes(&stream.rest().await),
            None => String::new(),
        };
        assert_eq!(rest, bytes(&events[number..]), "after {after}");
    }
    let path = format!("/v1/chat/{id}/events?after={}", events.last().unwrap().id + 1);
    let (status, refused) = gateway.get(&path).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("invalid_value")));
}

#[tokio::test]
async fn a_thousand_of_one_request_are_one_turn() {
    let bed = Bed::new(&[("model", "openai", "fault-slow-pieces-30")], "", "").await;
    let mut gateway = bed.start().await;
    let (whole, streams) = ask_a_thousand_times(&gateway).await;
    assert_eq!((whole.len(), streams.len()), (1, 1), "equal answers");
    let answer: Value = serde_json::from_str(whole.first().unwrap()).unwrap();
    assert_eq!(answer["status"], "completed");
    assert_eq!(bed.journal.calls_for("fault-slow-pieces-30").len(), 1, "one call");
    assert_eq!(bed.ledger().len(), 1);
    let (_, conversations) = gateway.get("/v1/conversations").await;
    assert_eq!(conversations["data"].as_array().unwrap().len(), 1, "one turn");
    let path = format!("/v1/conversations/{}/messages", answer["conversation_id"].as_str().unwrap());
    assert_eq!(gateway.get(&path).await.1["data"].as_array().unwrap().len(), 2);
    // After a restart it is the same turn still, and another body is another request.
    gateway.kill().await;
    gateway = bed.start().await;
    let again = gateway.posting("/v1/chat", &body(false, "Hello")).header("idempotency-key", "one");
    assert_eq!(again.send().await.unwrap().text().await.unwrap(), *whole.first().unwrap());
    let other = gateway.posting("/v1/chat", &body(false, "Bye")).header("idempotency-key", "one");
    assert_eq!(other.send().await.unwrap().status(), 409);
    assert_eq!(bed.journal.calls_for("fault-slow-pieces-30").len(), 1);
}

fn body(stream: bool, message: &str) -> Value {
    json!({"assistant": "model", "message": message, "stream": stream})
}

/// Half of them whole, half as streams. Gives the different answers that there were.
async fn ask_a_thousand_times(gateway: &Gateway) -> (BTreeSet<String>, BTreeSet<String>) {
    // Many requests share a connection: a thousand of them are more than a process may have open everywhere.
    let clients: Vec<_> = (0..8).map(|_| shared_connection()).collect();
    let asks = (0..1000).map(async |number: usize| {
        let stream = number.is_multiple_of(2);
        let request = clients[number % clients.len()].post(format!("{}/v1/chat", gateway.url));
        let request = request.bearer_auth(SECRET).header("content-type", "application/json");
        let request = request.header("idempotency-key", "one").body(body(stream, "Hello").to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        if stream {
            (stream, bytes(&Stream::new(answer).rest().await))
        } else {
            (stream, answer.text().await.unwrap())
        }
    });
    let (mut whole, mut streams) = (BTreeSet::new(), BTreeSet::new());
    for (stream, answer) in join_all(asks).await {
        if stream {
            streams.insert(answer)
        } else {
            whole.insert(answer)
        };
    }
    (whole, streams)
}

fn shared_connection() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    builder.build().unwrap_or_else(|_| client())
}

//! `/v1/chat`: turns in one piece and as event streams.

use axum::body::Body;
use chat::{Failure, Maintenance, Timestamp};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::gateway::{Gateway, KEY, Plan, key, request, whole};

fn turn(stream: bool) -> Value {
    json!({"assistant": "support", "message": "hi", "store": false, "stream": stream, "metadata": {"a": 1}})
}

#[tokio::test]
async fn a_turn_in_one_piece() {
    let gateway = Gateway::new(Plan::default());
    let answer = gateway.post("/v1/chat", turn(false)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let json = answer.json();
    assert_eq!(answer.header("x-turn-id"), json["id"].as_str());
    assert_eq!(json["status"], "completed");
    assert_eq!(json["message"]["text"], "you said: hi");
    assert_eq!(json["metadata"], json!({"a": 1}));
}

#[tokio::test]
async fn a_turn_as_an_event_stream() {
    let gateway = Gateway::new(Plan::default());
    let answer = gateway.post("/v1/chat", turn(true)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    let events = answer.events();
    let numbers: Vec<_> = events.iter().map(|event| event.0).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert_eq!(events[0].1, "turn.started");
    assert_eq!(events[0].2["turn"]["id"].as_str(), answer.header("x-turn-id"));
    let said: String = events
        .iter()
        .filter(|event| event.1 == "message.delta")
        .map(|event| event.2["text"].as_str().unwrap())
        .collect();
    assert_eq!(said, "you said: hi");
    let last = events.last().unwrap();
    assert_eq!(last.1, "turn.completed");
    assert_eq!(last.2["turn"]["message"]["text"], "you said: hi");
}

#[tokio::test]
async fn the_first_event_comes_before_the_provider_answers() {
    let gateway = Gateway::new(Plan::default());
    let mut calls = gateway.script.by_hand();
    let response = gateway.open(request(Method::POST, "/v1/chat", KEY, turn(true).to_string())).await;
    let mut body = response.into_body();
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(frame.starts_with(b"id: 1\nevent: turn.started\n"));
    let call = calls.recv().await.unwrap();
    call.say("one");
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(frame.starts_with(b"id: 2\nevent: message.delta\n"), "{frame:?}");
    call.end();
    let rest = body.collect().await.unwrap().to_bytes();
    assert!(rest.starts_with(b"id: 3\nevent: turn.completed\n"), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_has_a_heartbeat() {
    let gateway = Gateway::new(Plan::default());
    let mut calls = gateway.script.by_hand();
    let response = gateway.open(request(Method::POST, "/v1/chat", KEY, turn(true).to_string())).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    let _call = calls.recv().await.unwrap();
    let began = tokio::time::Instant::now();
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(frame, ": heartbeat\n\n");
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn a_running_turn_is_read_again_from_anywhere_and_stopped() {
    let keys =
        vec![key(KEY, |_| {}), key("a-stranger-to-it", |spec| spec.tenant = "strangers".parse().unwrap())];
    let gateway = Gateway::kept(Plan { keys, ..Plan::default() }).await;
    let mut calls = gateway.script.by_hand();
    let first = gateway.open(request(Method::POST, "/v1/chat", KEY, turn(true).to_string())).await;
    let id = first.headers()["x-turn-id"].to_str().unwrap().to_owned();
    let call = calls.recv().await.unwrap();
    call.say("one");
    let events = format!("/v1/chat/{id}/events");
    let mut body =
        gateway.open(request(Method::GET, &format!("{events}?after=1"), KEY, "")).await.into_body();
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(frame.starts_with(b"id: 2\nevent: message.delta\n"), "{frame:?}");
    let beyond = gateway.get(&format!("{events}?after=99")).await;
    assert_eq!(beyond.code(), (400, "invalid_value".into()));
    let as_it_stands = gateway.get(&format!("/v1/chat/{id}")).await;
    assert_eq!(as_it_stands.json()["status"], "in_progress");
    assert_eq!(as_it_stands.header("x-turn-id"), Some(id.as_str()));

    // Another tenant sees nothing of it.
    for path in [format!("/v1/chat/{id}"), events.clone()] {
        let answer = gateway.send(request(Method::GET, &path, "a-stranger-to-it", "")).await;
        assert_eq!(answer.code(), (404, "turn_not_found".into()), "{path}");
    }

    let cancelled = gateway.send(request(Method::POST, &format!("/v1/chat/{id}/cancel"), KEY, "")).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(cancelled.json()["message"]["text"], "one");
    let streamed = whole(first).await.events();
    assert_eq!(streamed.last().unwrap().1, "turn.cancelled");
    let rest = body.collect().await.unwrap().to_bytes();
    assert!(rest.starts_with(b"id: 3\nevent: turn.cancelled\n"), "{rest:?}");
}

#[tokio::test]
async fn a_failed_turn_is_its_errors_status_or_the_streams_last_event() {
    let gateway = Gateway::new(Plan::default());
    for (failure, status, code) in [
        (Failure::Credentials, 502, "provider_auth"),
        (Failure::Account, 502, "provider_account"),
        (Failure::Rejected, 422, "provider_rejected"),
        (Failure::TooLong, 422, "context_too_long"),
        (Failure::Filtered, 422, "content_refused"),
        (Failure::Busy { retry_after: Some(std::time::Duration::from_secs(7)) }, 429, "provider_rate_limit"),
        (Failure::Failed, 502, "provider_error"),
        (Failure::TimedOut(chat::Clock::Idle), 504, "idle_timeout"),
    ] {
        gateway.script.fail(failure);
        let answer = gateway.post("/v1/chat", turn(false)).await;
        assert_eq!(answer.code(), (status, code.to_owned()));
        assert!(answer.header("x-turn-id").is_some());
        assert_eq!(answer.json()["error"]["provider"], "stage");
        if code == "provider_rate_limit" {
            assert_eq!(answer.header("retry-after"), Some("7"));
        }
        let streamed = gateway.post("/v1/chat", turn(true)).await;
        assert_eq!(streamed.status, 200);
        let events = streamed.events();
        let last = events.last().unwrap();
        assert_eq!((last.1.as_str(), &last.2["turn"]["error"]["code"]), ("turn.failed", &json!(code)));
    }
}

#[tokio::test]
async fn what_is_known_before_acceptance_is_a_plain_error_also_for_a_stream() {
    let gateway = Gateway::new(Plan::default());
    let mut image = turn(true);
    image["message"] = json!([{"type": "image", "url": "https://example.com/a.png"}]);
    let answer = gateway.post("/v1/chat", image).await;
    assert_eq!((answer.code().0, answer.code().1.as_str()), (422, "unsupported"));
    let mut nobody = turn(true);
    nobody["assistant"] = "nobody".into();
    assert_eq!(gateway.post("/v1/chat", nobody).await.code(), (404, "assistant_not_found".into()));
}

fn with_key(idempotency: &str, body: &Value) -> Request<Body> {
    let mut request = request(Method::POST, "/v1/chat", KEY, body.to_string());
    request.headers_mut().insert("idempotency-key", idempotency.parse().unwrap());
    request
}

#[tokio::test]
async fn the_same_request_again_is_the_same_turn() {
    let gateway = Gateway::kept(Plan::default()).await;
    let body = json!({"assistant": "support", "message": "hi"});
    let first = gateway.send(with_key("a b", &body)).await;
    let again = gateway.send(with_key("a b", &json!({"message": "hi", "assistant": "support"}))).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (200, 200));
    assert_eq!(first.json(), again.json());
    let streamed = gateway
        .send(with_key("a b", &json!({"assistant": "support", "message": "hi", "stream": true})))
        .await;
    assert_eq!(streamed.events().last().unwrap().2["turn"], first.json());
    let other = gateway.send(with_key("a b", &json!({"assistant": "support", "message": "ho"}))).await;
    assert_eq!(other.code(), (409, "idempotency_conflict".into()));
    let new = gateway.send(with_key("c", &body)).await;
    assert_ne!(new.json()["id"], first.json()["id"]);
}

#[tokio::test]
async fn a_failure_that_may_have_had_an_effect_is_given_again_not_to_be_retried() {
    let gateway = Gateway::kept(Plan::default()).await;
    gateway.script.fail(Failure::Failed);
    let body = json!({"assistant": "support", "message": "hi"});
    let first = gateway.send(with_key("k", &body)).await;
    assert_eq!(first.code(), (502, "provider_error".into()));
    assert_eq!(first.json()["error"]["retryable"], true);
    let again = gateway.send(with_key("k", &body)).await;
    assert_eq!(again.code(), (502, "provider_error".into()));
    assert_eq!(again.json()["error"]["retryable"], false);
    assert_eq!(again.header("x-turn-id"), first.header("x-turn-id"));
    // One that certainly had none frees its key.
    gateway.script.fail(Failure::Credentials);
    let first = gateway.send(with_key("l", &body)).await;
    let again = gateway.send(with_key("l", &body)).await;
    assert_ne!(again.header("x-turn-id"), first.header("x-turn-id"));
}

#[tokio::test]
async fn an_ended_turn_is_read_again_from_anywhere() {
    let gateway = Gateway::kept(Plan::default()).await;
    let first =
        gateway.post("/v1/chat", json!({"assistant": "support", "message": "hi", "stream": true})).await;
    let events = first.events();
    let path = format!("/v1/chat/{}/events", first.header("x-turn-id").unwrap());
    assert_eq!(gateway.get(&path).await.events(), events);
    let last = events.len();
    let read = async |id: &str| {
        let mut request = request(Method::GET, &path, KEY, "");
        request.headers_mut().insert("last-event-id", id.parse().unwrap());
        gateway.send(request).await
    };
    assert_eq!(read("0").await.events(), events);
    assert_eq!(read("1").await.events(), &events[1..]);
    let end = read(&last.to_string()).await;
    assert_eq!(
        (end.status.as_u16(), end.text.as_str(), end.header("x-turn-id")),
        (204, "", first.header("x-turn-id"))
    );
    assert_eq!(read(&(last + 1).to_string()).await.code(), (400, "invalid_value".into()));
    assert_eq!(read("x").await.code(), (400, "invalid_value".into()));
    let unknown = format!("/v1/chat/{}/events", chat::TurnId::new());
    assert_eq!(gateway.get(&unknown).await.code(), (404, "turn_not_found".into()));
}

#[tokio::test]
async fn a_busy_conversation_names_the_turn_that_runs() {
    let gateway = Gateway::kept(Plan::default()).await;
    let first = gateway.post("/v1/chat", json!({"assistant": "support", "message": "hi"})).await;
    let conversation = first.json()["conversation_id"].clone();
    let mut calls = gateway.script.by_hand();
    let body = json!({"conversation_id": conversation, "message": "more", "stream": true});
    let running = gateway.open(request(Method::POST, "/v1/chat", KEY, body.to_string())).await;
    let id = running.headers()["x-turn-id"].to_str().unwrap().to_owned();
    let call = calls.recv().await.unwrap();
    let busy =
        gateway.post("/v1/chat", json!({"conversation_id": conversation, "message": "and more"})).await;
    assert_eq!(busy.code(), (409, "conversation_busy".into()));
    assert_eq!(busy.header("x-turn-id"), Some(id.as_str()));
    assert_eq!(busy.header("retry-after"), Some("1"));
    call.say("x");
    call.end();
    whole(running).await;
}

#[tokio::test]
async fn idempotency_keys_are_checked() {
    let gateway = Gateway::new(Plan::default());
    for wrong in ["", "é", &"x".repeat(256)] {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/chat")
            .header("x-api-key", KEY)
            .header("content-type", "application/json")
            .header("idempotency-key", wrong)
            .body(Body::from(turn(false).to_string()))
            .unwrap();
        let answer = gateway.send(request).await;
        assert_eq!(
            answer.error(),
            (400, "invalid_value".into(), Some("Idempotency-Key".into())),
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn readers_of_a_revoked_key_are_cut_off_and_the_turn_goes_on() {
    let config = server::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: None,
        ..server::Config::default()
    };
    let gateway = Gateway::new(Plan { config, ..Plan::default() });
    let key = gateway.vault.add("short-lived", |_| {}).await;
    let mut calls = gateway.script.by_hand();
    let bound = gateway.server.bind().await.unwrap();
    let shutdown = server::Shutdown::default();
    let serving = TaskTracker::new().spawn(bound.serve(shutdown.clone()));
    let response =
        gateway.open(request(Method::POST, "/v1/chat", "short-lived", turn(true).to_string())).await;
    let call = calls.recv().await.unwrap();
    call.say("one");
    gateway.vault.revoke_key(key, Timestamp::now()).await.unwrap();
    let cut = whole(response).await.events();
    assert!(cut.iter().all(|event| !event.1.starts_with("turn.completed")), "{cut:?}");
    assert_eq!(gateway.engine.running(), 1);
    call.end();
    shutdown.finish.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_head_of_a_stream_is_no_reader() {
    let gateway = Gateway::kept(Plan::default()).await;
    let mut calls = gateway.script.by_hand();
    let body = json!({"assistant": "support", "message": "hi", "stream": true}).to_string();
    let left = gateway.open(request(Method::POST, "/v1/chat", KEY, body)).await;
    let turn = left.headers()["x-turn-id"].to_str().unwrap().to_owned();
    let response = turn.replace("turn_", "resp_");
    let call = calls.recv().await.unwrap();
    // Nobody reads it any more, and from now on a turn ends with its last reader.
    drop(left);
    let settings =
        engine::Settings { on_disconnect: engine::OnDisconnect::Cancel, ..engine::Settings::default() };
    gateway.engine.set_settings(settings);
    for path in [format!("/v1/chat/{turn}/events"), format!("/v1/responses/{response}?stream=true")] {
        let head = gateway.open(request(Method::HEAD, &path, KEY, "")).await;
        assert_eq!(
            (head.status().as_u16(), &head.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        assert_eq!(head.headers()["x-turn-id"], turn.as_str());
        assert_eq!(whole(head).await.text, "", "{path}");
    }
    call.say("to the end");
    call.end();
    let ended = loop {
        let turn = gateway.get(&format!("/v1/chat/{turn}")).await.json();
        if turn["status"] != "in_progress" {
            break turn;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&ended["status"], &ended["message"]["text"]), (&json!("completed"), &json!("to the end")));
    // Of an ended one a head says what a reader would be told.
    for (after, status) in [("3", 204), ("99", 400)] {
        let path = format!("/v1/chat/{turn}/events?after={after}");
        assert_eq!(gateway.open(request(Method::HEAD, &path, KEY, "")).await.status(), status);
    }
}

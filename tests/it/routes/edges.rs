//! Requests that no route can make sense of.

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use crate::gateway::{Gateway, KEY, Plan, request, whole};
use engine::{OnDisconnect, Settings};

#[tokio::test]
async fn methods_are_named() {
    let gateway = Gateway::new(Plan::default());
    for (method, path, allow) in [
        (Method::GET, "/v1/chat", "POST"),
        (Method::PUT, "/v1/conversations", "DELETE,GET,HEAD,POST"),
        (Method::POST, "/v1/assistants", "GET,HEAD"),
        (Method::POST, "/livez", "GET,HEAD"),
    ] {
        let answer = gateway.send(request(method.clone(), path, KEY, "")).await;
        assert_eq!(answer.code(), (405, "method_not_allowed".into()), "{method} {path}");
        let mut methods: Vec<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods.join(","), allow, "{method} {path}");
    }
    let options = gateway.send(request(Method::OPTIONS, "/v1/chat", KEY, "")).await;
    assert_eq!((options.status.as_u16(), options.header("allow")), (204, Some("POST")));
    let head = gateway.send(request(Method::HEAD, "/v1/assistants", KEY, "")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert!(head.header("x-request-id").is_some());
}

#[tokio::test]
async fn asking_whether_a_turn_has_events_does_not_wait_for_them() {
    // Where turns end with their last reader, who only asked is none.
    let settings = Settings { on_disconnect: OnDisconnect::Cancel, ..Settings::default() };
    let gateway = Gateway::new(Plan { settings, ..Plan::default() });
    let mut calls = gateway.script.by_hand();
    let body = json!({"assistant": "support", "message": "hi", "store": false, "stream": true});
    let reading = gateway.open(request(Method::POST, "/v1/chat", KEY, body.to_string())).await;
    let call = calls.recv().await.unwrap();
    let id = reading.headers()["x-turn-id"].to_str().unwrap().to_owned();
    let path = format!("/v1/chat/{id}/events");
    let head = gateway.send(request(Method::HEAD, &path, KEY, "")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(gateway.send(request(Method::HEAD, &format!("{path}?after=99"), KEY, "")).await.status, 400);
    call.say("x");
    call.end();
    assert_eq!(whole(reading).await.events().last().unwrap().1, "turn.completed");
}

#[tokio::test]
async fn a_word_of_a_list_is_a_string() {
    let gateway = Gateway::kept(Plan::default()).await;
    let said = |role: serde_json::Value| json!({"assistant": "support", "messages": [{"role": role, "content": "a"}]});
    let id = gateway.post("/v1/conversations", json!({"assistant": "support"})).await.json()["id"].clone();
    let messages = format!("/v1/conversations/{}/messages", id.as_str().unwrap());
    let role = json!({"user": null});
    let asked = |extra: serde_json::Value| {
        let mut body = json!({"assistant": "support", "message": "m"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    for (path, body, param) in [
        ("/v1/chat", said(role.clone()), "messages[0].role"),
        ("/v1/chat", asked(json!({"when_busy": {"reject": null}})), "when_busy"),
        ("/v1/chat", asked(json!({"message": [{"type": {"text": null}, "text": "a"}]})), "message[0].type"),
        (messages.as_str(), json!({"role": role, "text": "a"}), "role"),
        (
            "/v1/chat/completions",
            json!({"model": "support", "messages": [{"role": role, "content": "a"}]}),
            "messages[0].role",
        ),
        (
            "/v1/responses",
            json!({"model": "support", "input": [{"role": role, "content": "a"}]}),
            "input[0].role",
        ),
    ] {
        let answer = gateway.post(path, body.clone()).await;
        let json = answer.json();
        let told = (answer.status.as_u16(), &json["error"]["code"], &json["error"]["param"]);
        assert_eq!(told, (400, &json!("invalid_value"), &json!(param)), "{body}");
    }
    let key = json!({"name": "a", "may": [{"tokens": null}]});
    let answer = gateway.admin(Method::POST, "/admin/keys", &key.to_string()).await;
    assert_eq!(answer.error(), (400, "invalid_value".into(), Some("may[0]".into())));
    let key = json!({"name": "a", "budgets": [{"per": {"day": null}, "tokens": 1}]});
    let answer = gateway.admin(Method::POST, "/admin/keys", &key.to_string()).await;
    assert_eq!(answer.error(), (400, "invalid_value".into(), Some("budgets[0].per".into())));
}

#[tokio::test]
async fn paths_that_name_nothing_are_not_found() {
    let gateway = Gateway::new(Plan::default());
    for (path, code) in [
        ("/", "route_not_found"),
        ("/v1", "route_not_found"),
        ("/v1/chat/", "route_not_found"),
        ("/v1/chat/a/b/c", "route_not_found"),
        ("/v1/chat/turn_0", "turn_not_found"),
        ("/v1/chat/conv_0197c0de000070008000000000000000", "turn_not_found"),
        ("/v1/chat/a%2Fb", "turn_not_found"),
        ("/v1/chat/turn_%00", "turn_not_found"),
        ("/v1/chat/%FF/events", "turn_not_found"),
        ("/v1/conversations/turn_0197c0de000070008000000000000000", "conversation_not_found"),
        ("/v1/conversations/%0A/messages", "conversation_not_found"),
        ("/v1/assistants/nobody", "assistant_not_found"),
        ("/v1/assistants/a%20b", "assistant_not_found"),
    ] {
        assert_eq!(gateway.get(path).await.code(), (404, code.into()), "{path}");
    }
}

#[tokio::test]
async fn bodies_are_json_and_say_so() {
    let gateway = Gateway::new(Plan::default());
    let post = async |label: Option<&str>, body: &'static [u8]| {
        let mut request = Request::builder().method(Method::POST).uri("/v1/chat").header("x-api-key", KEY);
        if let Some(label) = label {
            request = request.header("content-type", label);
        }
        gateway.send(request.body(Body::from(body)).unwrap()).await.code()
    };
    let json = Some("application/json");
    let good = br#"{"assistant":"support","message":"hi","store":false}"#;
    for label in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/json; charset=latin1"),
    ] {
        assert_eq!(post(label, good).await, (415, "unsupported_media_type".into()), "{label:?}");
    }
    for body in [
        &b""[..],
        b"{",
        b"{}x",
        b"\xff",
        b"{\"assistant\":\"\xff\"}",
        b"nul",
        b"{\"a\":1,}",
        b"{'a':1}",
        b"\xef\xbb\xbf{}",
    ] {
        assert_eq!(post(json, body).await, (400, "invalid_json".into()), "{body:?}");
    }
    for body in [&b"[]"[..], b"null", b"\"x\"", br#"["support"]"#] {
        assert_eq!(post(json, body).await, (400, "invalid_value".into()), "{body:?}");
    }
}

#[tokio::test]
async fn fields_are_named() {
    let gateway = Gateway::new(Plan::default());
    for (body, code, param) in [
        (json!({"assistant": "support", "message": "m", "temperature": 1}), "unknown_field", "temperature"),
        (json!({"assistant": "support"}), "missing_field", "message"),
        (json!({"message": "m"}), "missing_field", "assistant"),
        (json!({"assistant": "support", "message": 5}), "invalid_value", "message"),
        (
            json!({"assistant": "support", "message": [{"type": "text", "text": "a"}, {"type": "image", "link": "x"}]}),
            "unknown_field",
            "message[1].link",
        ),
        (
            json!({"assistant": "support", "message": [{"type": "image", "url": "ftp://x"}]}),
            "invalid_value",
            "message[0].url",
        ),
        (json!({"assistant": "support", "message": [{"type": "image"}]}), "missing_field", "message[0].url"),
        (
            json!({"assistant": "support", "message": [{"type": "text", "text": "a", "url": "https://x"}]}),
            "unknown_field",
            "message[0].url",
        ),
        (
            json!({"assistant": "support", "messages": [{"role": "user"}]}),
            "missing_field",
            "messages[0].content",
        ),
        (json!({"assistant": "support", "message": "m", "stream": "yes"}), "invalid_value", "stream"),
        (json!({"assistant": "support", "message": "m", "user": "a\u{0}"}), "invalid_value", "user"),
    ] {
        let answer = gateway.post("/v1/chat", body.clone()).await;
        assert_eq!(answer.error(), (400, code.into(), Some(param.into())), "{body}");
    }
}

#[tokio::test]
async fn what_a_field_must_be_is_said_in_plain_words() {
    let gateway = Gateway::new(Plan::default());
    for (field, value, words) in [
        ("stream", json!("yes"), "`stream`: must be true or false"),
        ("context_messages", json!("many"), "`context_messages`: must be a whole number from 0"),
        ("when_busy", json!("later"), "`when_busy`: must be one of `reject`, `queue`, `interrupt`"),
        ("metadata", json!([]), "`metadata`: must be an object"),
        ("messages", json!({}), "`messages`: must be an array"),
        ("messages", json!([["user", "hi"]]), "`messages[0]`: must be an object"),
        ("message", json!([["text", "hi", null]]), "`message[0]`: must be an object"),
    ] {
        let body = json!({"assistant": "support", field: value});
        let answer = gateway.post("/v1/chat", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["message"], words, "{body}");
    }
}

#[tokio::test]
async fn query_parameters_are_named() {
    let gateway = Gateway::new(Plan::default());
    let turn = chat::TurnId::new();
    for (path, code, param) in [
        ("/v1/conversations?limit=0".to_owned(), "invalid_value", "limit"),
        ("/v1/conversations?limit=101".to_owned(), "invalid_value", "limit"),
        ("/v1/conversations?since=soon".to_owned(), "invalid_value", "since"),
        ("/v1/conversations?user=a%00".to_owned(), "invalid_value", "user"),
        ("/v1/conversations?page=2".to_owned(), "unknown_field", "page"),
        (
            format!("/v1/conversations/{}/messages?order=up", chat::ConversationId::new()),
            "invalid_value",
            "order",
        ),
        (
            format!("/v1/conversations/{}/export?format=pdf", chat::ConversationId::new()),
            "invalid_value",
            "format",
        ),
        (format!("/v1/chat/{turn}/events?after=x"), "invalid_value", "after"),
        ("/v1/usage?until=never".to_owned(), "invalid_value", "until"),
        ("/v1/assistants?limit=5".to_owned(), "unknown_field", "limit"),
        ("/v1/assistants/support?x=5".to_owned(), "unknown_field", "x"),
        (format!("/v1/chat/{turn}?after=1"), "unknown_field", "after"),
    ] {
        assert_eq!(gateway.get(&path).await.error(), (400, code.into(), Some(param.into())), "{path}");
    }
    let all = gateway.send(request(Method::DELETE, "/v1/conversations", KEY, "")).await;
    assert_eq!(all.error(), (400, "missing_field".into(), Some("user".into())));
}

#[tokio::test]
async fn without_a_store_turns_that_keep_nothing_work() {
    let gateway = Gateway::new(Plan::default());
    let kept = gateway.post("/v1/chat", json!({"assistant": "support", "message": "hi"})).await;
    assert_eq!(kept.code(), (503, "store_unavailable".into()));
    assert!(kept.header("retry-after").is_some());
    let not_kept =
        gateway.post("/v1/chat", json!({"assistant": "support", "message": "hi", "store": false})).await;
    assert_eq!(not_kept.status, 200);
    assert_eq!(not_kept.json()["conversation_id"], serde_json::Value::Null);
    assert_eq!(gateway.get("/v1/usage").await.code(), (503, "store_unavailable".into()));
}

#[tokio::test]
async fn readiness_follows_the_store_and_the_drain() {
    let gateway = Gateway::new(Plan::default());
    assert_eq!(gateway.get("/readyz").await.status, 200);
    gateway.vault.down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(gateway.get("/readyz").await.code(), (503, "store_unavailable".into()));
    assert_eq!(gateway.get("/livez").await.status, 200);
    gateway.vault.down.store(false, std::sync::atomic::Ordering::SeqCst);
    gateway.engine.announce_drain();
    assert_eq!(gateway.get("/readyz").await.code(), (503, "draining".into()));
    let turn = json!({"assistant": "support", "message": "hi", "store": false});
    assert_eq!(gateway.post("/v1/chat", turn.clone()).await.status, 200);
    gateway.engine.refuse_turns();
    let refused = gateway.post("/v1/chat", turn).await;
    assert_eq!(refused.code(), (503, "draining".into()));
    assert!(refused.header("retry-after").is_some());
}

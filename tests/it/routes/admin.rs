//! The admin listener.

use std::sync::atomic::Ordering;

use http::Method;
use serde_json::{Value, json};

use crate::gateway::{Gateway, Plan, request};

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let gateway = Gateway::new(Plan::default());
    let wanted = json!({"name": "web", "tenant": "shop", "assistants": ["docs"], "may": ["operator", "tokens"],
        "requests_per_minute": 60, "burst": 5, "concurrent_turns": 2, "expires_at": "2099-01-01T00:00:00Z",
        "budgets": [{"per": "month", "cost": "500", "currency": "RUB"}], "reserve": {"tokens": 1, "cost": "0.5"}});
    let made = gateway.admin(Method::POST, "/admin/keys", &wanted.to_string()).await;
    assert_eq!(made.status, 201);
    let mut made = made.json();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.len() >= 16);
    assert_eq!(made["requests_per_minute"], 60);
    assert_eq!(made["tenant"], "shop");
    assert_eq!(made["budgets"][0]["cost"], "500");
    let seen = gateway.send(request(Method::GET, "/v1/assistants", &secret, "")).await;
    assert_eq!(seen.json()["data"].as_array().unwrap().len(), 1);

    let list = gateway.admin(Method::GET, "/admin/keys", "").await.json();
    made.as_object_mut().unwrap().remove("secret");
    assert_eq!(list["data"], json!([made]));
    assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)));

    let path = format!("/admin/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(gateway.admin(Method::DELETE, &path, "").await.status, 204);
    let list = gateway.admin(Method::GET, "/admin/keys", "").await.json();
    assert_ne!(list["data"][0]["revoked_at"], Value::Null);
    let unknown = format!("/admin/keys/{}", chat::KeyId::new());
    assert_eq!(gateway.admin(Method::DELETE, &unknown, "").await.code().0, 404);
    assert_eq!(gateway.admin(Method::DELETE, "/admin/keys/x", "").await.code().0, 404);
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused() {
    let gateway = Gateway::new(Plan::default());
    for (body, code, param) in [
        (json!({}), "missing_field", "name"),
        (json!({"name": ""}), "invalid_value", "name"),
        (json!({"name": "a\nb"}), "invalid_value", "name"),
        (json!({"name": "a", "may": ["everything"]}), "invalid_value", "may[0]"),
        (json!({"name": "a", "requests_per_minute": 0}), "invalid_value", "requests_per_minute"),
        (json!({"name": "a", "budgets": [{"per": "week", "tokens": 1}]}), "invalid_value", "budgets[0].per"),
        (json!({"name": "a", "budgets": [["day", 1, null, null]]}), "invalid_value", "budgets[0]"),
        (json!({"name": "a", "reserve": [1, "1"]}), "invalid_value", "reserve"),
        (json!({"name": "a", "assistants": ["docs", "nobody"]}), "invalid_value", "assistants[1]"),
        (json!({"name": "a", "budgets": [{"per": "day"}]}), "invalid_value", "budgets[0]"),
        (json!({"name": "a", "expires_at": "2001-01-01T00:00:00Z"}), "invalid_value", "expires_at"),
        (json!({"name": "a", "expires_at": "90d"}), "invalid_value", "expires_at"),
        (json!({"name": "a", "secret": "mine"}), "unknown_field", "secret"),
    ] {
        let answer = gateway.admin(Method::POST, "/admin/keys", &body.to_string()).await;
        assert_eq!(answer.error(), (400, code.into(), Some(param.into())), "{body}");
    }
}

#[tokio::test]
async fn budgets_that_nobody_can_keep_are_refused() {
    let gateway = Gateway::new(Plan::default());
    let make = async |budgets: Value| {
        let body = json!({"name": "a", "assistants": ["docs"], "budgets": budgets});
        gateway.admin(Method::POST, "/admin/keys", &body.to_string()).await
    };
    let (tokens, both) = (
        json!([{"per": "day", "tokens": 5}]),
        json!([{"per": "day", "tokens": 5}, {"per": "day", "cost": "5", "currency": "RUB"}]),
    );
    assert_eq!(make(both.clone()).await.status, 201);
    gateway.script.tokens_alone.store(true, Ordering::SeqCst);
    assert_eq!(make(tokens.clone()).await.status, 201);
    let refused = |param: &str| (400, "invalid_value".to_owned(), Some(param.to_owned()));
    assert_eq!(make(both).await.error(), refused("budgets[1].cost"));
    gateway.script.silent.store(true, Ordering::SeqCst);
    assert_eq!(make(tokens).await.error(), refused("budgets"));
    assert_eq!(make(json!([])).await.status, 201);
}

#[tokio::test]
async fn providers_usage_metrics_and_reload() {
    let gateway = Gateway::new(Plan::default());
    let providers = gateway.admin(Method::GET, "/admin/providers", "").await.json();
    assert_eq!(providers["data"][0]["name"], "stage");
    assert_eq!(providers["data"][0]["breaker"], "closed");
    assert_eq!(gateway.admin(Method::GET, "/admin/usage", "").await.json()["data"], json!([]));
    let reload = gateway.admin(Method::POST, "/admin/reload", "").await;
    assert_eq!(reload.code().0, 400);
    assert_eq!(reload.json()["error"]["message"], "line 3: no such provider");

    gateway
        .post("/v1/chat", json!({"assistant": "support", "message": "secret words", "store": false}))
        .await;
    gateway.get("/v1/chat/turn_0").await;
    let metrics = gateway.admin(Method::GET, "/metrics", "").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    for line in metrics.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(line.starts_with("switchboard_"), "{line}");
    }
    for wanted in [
        "switchboard_requests_total{route=\"/v1/chat\",method=\"POST\",status=\"200\"}",
        "route=\"/v1/chat/{turn_id}\"",
        "switchboard_build_info{version=",
        "switchboard_request_duration_seconds_bucket",
        "switchboard_turns_total{assistant=\"support\",provider=\"stage\",status=\"completed\"}",
    ] {
        assert!(metrics.text.contains(wanted), "{wanted} is not in\n{}", metrics.text);
    }
    assert!(!metrics.text.contains("secret words"));
}

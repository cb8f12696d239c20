//! The order of the layers, pinned on what a caller can see.

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;
use server::Config;

use crate::gateway::{Gateway, KEY, Plan, key, limits, request};

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let gateway = Gateway::new(Plan::default());
    for (given, echoed) in
        [("a.B_c-9", true), (&"x".repeat(128), true), (&"x".repeat(129), false), ("a b", false), ("é", false)]
    {
        for path in ["/livez", "/v1/assistants", "/nowhere"] {
            let request =
                Request::builder().uri(path).header("x-request-id", given).body(Body::empty()).unwrap();
            let answer = gateway.send(request).await;
            let id = answer.header("x-request-id").unwrap();
            assert_eq!(id == given, echoed, "{path} {given}");
            assert!(!id.is_empty() && id.len() <= 128);
        }
    }
    let first = gateway.get("/livez").await;
    assert_ne!(first.header("x-request-id"), gateway.get("/livez").await.header("x-request-id"));
}

#[tokio::test]
async fn auth_stands_before_everything_but_health() {
    let gateway = Gateway::new(Plan::default());
    let bare = |method: Method, path: &str| {
        Request::builder().method(method).uri(path).body(Body::from("x".repeat(2 << 20))).unwrap()
    };
    for (method, path) in [
        (Method::GET, "/nowhere"),
        (Method::GET, "/v1/nowhere"),
        (Method::PUT, "/v1/chat"),
        (Method::POST, "/v1/chat"),
        (Method::OPTIONS, "/v1/chat"),
    ] {
        let answer = gateway.send(bare(method.clone(), path)).await;
        assert_eq!(answer.code(), (401, "missing_key".into()), "{method} {path}");
    }
    assert_eq!(gateway.send(bare(Method::GET, "/livez")).await.status, 200);
    assert_eq!(gateway.send(bare(Method::GET, "/readyz")).await.status, 200);
}

#[tokio::test]
async fn load_is_shed_before_auth_and_a_browser_sees_it() {
    let config =
        Config { requests_max: 0, cors_origins: vec!["https://shop.example".into()], ..Config::default() };
    let gateway = Gateway::new(Plan { config, ..Plan::default() });
    let request = Request::builder()
        .uri("/v1/assistants")
        .header("origin", "https://shop.example")
        .body(Body::empty())
        .unwrap();
    let answer = gateway.send(request).await;
    assert_eq!(answer.code(), (503, "overloaded".into()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    // A preflight costs nothing.
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/v1/chat")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .body(Body::empty())
        .unwrap();
    assert_eq!(gateway.send(preflight).await.status, 204);
}

#[tokio::test]
async fn auth_stands_before_the_rate_and_the_rate_before_the_routes() {
    let limited = key(KEY, |spec| spec.limits = limits(json!({"requests_per_minute": 1})));
    let gateway = Gateway::new(Plan { keys: vec![limited], ..Plan::default() });
    for _ in 0..3 {
        let answer = gateway.send(request(Method::GET, "/v1/assistants", "wrong", "")).await;
        assert_eq!(answer.code(), (401, "invalid_key".into()));
        assert_eq!(answer.header("ratelimit"), None);
    }
    let first = gateway.get("/v1/nowhere").await;
    assert_eq!(first.code(), (404, "route_not_found".into()));
    assert!(first.header("ratelimit").is_some());
    let second = gateway.send(request(Method::POST, "/v1/chat", KEY, "not json")).await;
    assert_eq!(second.code(), (429, "key_rate_limit".into()));
}

#[tokio::test]
async fn a_body_too_large_is_refused_behind_auth() {
    let gateway = Gateway::new(Plan::default());
    let large = format!("{{\"assistant\":\"support\",\"message\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = gateway.send(request(Method::POST, "/v1/chat", KEY, large)).await;
    assert_eq!(answer.code(), (413, "body_too_large".into()));
}

#[tokio::test]
async fn a_fault_of_ours_is_an_answer_and_leaks_nothing() {
    let gateway = Gateway::new(Plan::default());
    gateway.script.panics.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = gateway.get("/v1/assistants").await;
    assert_eq!(answer.code(), (500, "internal".into()));
    assert!(!answer.text.contains("secret words"), "{}", answer.text);
    gateway.script.panics.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(gateway.get("/v1/assistants").await.status, 200);
}

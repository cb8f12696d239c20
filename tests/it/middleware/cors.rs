//! Browsers of other origins.

use axum::body::Body;
use http::{Method, Request};
use server::Config;

use crate::gateway::{Gateway, KEY, Plan};

fn from(origin: &str, method: Method, preflight: bool) -> Request<Body> {
    let mut request = Request::builder().method(method).uri("/v1/assistants").header("origin", origin);
    if preflight {
        request = request.header("access-control-request-method", "GET");
    } else {
        request = request.header("x-api-key", KEY);
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_an_origin_no_wildcard() {
    let config = Config { cors_origins: vec!["https://shop.example".to_owned()], ..Config::default() };
    let gateway = Gateway::new(Plan { config, ..Plan::default() });
    let preflight = gateway.send(from("https://shop.example", Method::OPTIONS, true)).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://shop.example"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("authorization"));
    let answer = gateway.send(from("https://shop.example", Method::GET, false)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("x-turn-id"));
    for stranger in ["https://evil.example", "https://shop.example.evil", "null"] {
        let preflight = gateway.send(from(stranger, Method::OPTIONS, true)).await;
        assert_eq!(preflight.header("access-control-allow-origin"), None, "{stranger}");
        let answer = gateway.send(from(stranger, Method::GET, false)).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{stranger}");
    }
    gateway.server.set_cors_origins(vec!["https://evil.example".to_owned()]);
    let answer = gateway.send(from("https://evil.example", Method::GET, false)).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://evil.example"));
}

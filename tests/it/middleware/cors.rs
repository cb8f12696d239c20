//! Browsers of other origins.

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;
use server::Config;

use crate::gateway::{Gateway, KEY, Plan, key, limits, request};

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

#[tokio::test]
async fn an_allowed_page_sees_every_answer_also_a_refusal() {
    let config = Config { cors_origins: vec!["https://shop.example".to_owned()], ..Config::default() };
    let limited = key(KEY, |spec| spec.limits = limits(json!({"requests_per_minute": 60, "burst": 4})));
    let gateway = Gateway::new(Plan { config, keys: vec![limited], ..Plan::default() });
    for (status, method, path, secret, body) in [
        (200, Method::GET, "/livez", "", String::new()),
        (401, Method::GET, "/v1/assistants", "wrong", String::new()),
        (404, Method::GET, "/v1/nowhere", KEY, String::new()),
        (405, Method::PUT, "/v1/chat", KEY, String::new()),
        (400, Method::POST, "/v1/chat", KEY, "{".to_owned()),
        (413, Method::POST, "/v1/chat", KEY, "x".repeat(2 << 20)),
        (429, Method::GET, "/v1/assistants", KEY, String::new()),
    ] {
        for (origin, allowed) in [("https://shop.example", true), ("https://evil.example", false)] {
            // The stranger asks with no key, so that he uses up none of the rate.
            if !allowed && secret == KEY {
                continue;
            }
            let mut request = request(method.clone(), path, secret, body.clone());
            request.headers_mut().insert("origin", origin.parse().unwrap());
            let answer = gateway.send(request).await;
            assert_eq!(answer.status, status, "{method} {path}");
            let told = answer.header("access-control-allow-origin");
            assert_eq!(told, allowed.then_some(origin), "{method} {path}");
            let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
            for name in ["x-turn-id", "x-request-id", "retry-after", "ratelimit", "ratelimit-policy"] {
                assert_eq!(exposed.split(", ").any(|one| one == name), allowed, "{name} of {path}");
            }
            assert!(answer.headers.get_all("vary").iter().any(|value| value == "origin"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_preflight_grants_the_headers_that_it_asks_for() {
    let config = Config { cors_origins: vec!["https://shop.example".to_owned()], ..Config::default() };
    let gateway = Gateway::new(Plan { config, ..Plan::default() });
    for (path, wanted) in [("/v1/chat", "authorization,x-stainless-lang"), ("/v1/nowhere", "content-type")] {
        let mut preflight = from("https://shop.example", Method::OPTIONS, true);
        *preflight.uri_mut() = path.parse().unwrap();
        preflight.headers_mut().insert("access-control-request-headers", wanted.parse().unwrap());
        let answer = gateway.send(preflight).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
        assert_eq!(answer.header("access-control-allow-headers"), Some(wanted));
        assert!(answer.header("access-control-allow-methods").unwrap().contains("PATCH"));
    }
}

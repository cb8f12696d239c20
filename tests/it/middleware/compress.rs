//! Answers in fewer bytes, and event streams that are left as they are.

use std::io::Read;

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::json;

use crate::gateway::{Gateway, KEY, Plan, request};

/// A request whose client takes these encodings.
fn takes(mut request: Request<Body>, encodings: &str) -> Request<Body> {
    request.headers_mut().insert("accept-encoding", encodings.parse().unwrap());
    request
}

fn long_turn(stream: bool) -> Request<Body> {
    let body =
        json!({"assistant": "support", "message": "word ".repeat(2000), "store": false, "stream": stream});
    request(Method::POST, "/v1/chat", KEY, body.to_string())
}

/// An answer: its encoding, what it varies by, its bytes.
async fn answered(gateway: &Gateway, request: Request<Body>) -> (Option<String>, String, Vec<u8>) {
    let response = gateway.open(request).await;
    assert_eq!(response.status(), 200);
    let encoding = response.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
    assert!(encoding.is_none() || !response.headers().contains_key("content-length"));
    let varies = response.headers().get_all("vary").iter().map(|value| value.to_str().unwrap());
    let varies = varies.collect::<Vec<_>>().join(",");
    let bytes = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    (encoding, varies, bytes)
}

#[tokio::test]
async fn long_answers_are_compressed_for_whoever_takes_it() {
    let gateway = Gateway::new(Plan::default());
    let (encoding, varies, plain) = answered(&gateway, long_turn(false)).await;
    assert_eq!((encoding, varies.as_str()), (None, "accept-encoding"));
    for (accepts, expected) in
        [("gzip", "gzip"), ("br, gzip", "br"), ("br;q=0.1, gzip", "gzip"), ("identity;q=0, gzip", "gzip")]
    {
        let (encoding, varies, bytes) = answered(&gateway, takes(long_turn(false), accepts)).await;
        assert_eq!((encoding.as_deref(), varies.as_str()), (Some(expected), "accept-encoding"), "{accepts}");
        assert!(bytes.len() < plain.len() / 10, "{accepts}: {} of {}", bytes.len(), plain.len());
        if expected == "gzip" {
            let mut text = String::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
            assert!(text.contains("you said: word word"), "{text}");
        }
    }
    // Whoever takes nothing that we have gets what we have.
    for accepts in ["identity;q=0", "*;q=0", "zstd", ""] {
        let (encoding, _, bytes) = answered(&gateway, takes(long_turn(false), accepts)).await;
        assert_eq!(encoding, None, "{accepts}");
        assert!(bytes.starts_with(b"{"));
    }
}

#[tokio::test]
async fn errors_have_their_body_and_short_answers_are_left_alone() {
    let gateway = Gateway::new(Plan::default());
    let (encoding, _, _) =
        answered(&gateway, takes(request(Method::GET, "/v1/assistants/docs", KEY, ""), "gzip")).await;
    assert_eq!(encoding, None);
    let body = json!({"assistant": "x".repeat(9000), "message": "hi"}).to_string();
    let refused = gateway.send(takes(request(Method::POST, "/v1/chat", KEY, body), "gzip")).await;
    assert!(refused.status.is_client_error());
    refused.code();
}

#[tokio::test]
async fn an_event_stream_is_never_compressed() {
    let gateway = Gateway::new(Plan::default());
    let (encoding, varies, bytes) = answered(&gateway, takes(long_turn(true), "gzip, br")).await;
    assert_eq!((encoding, varies.as_str()), (None, ""));
    assert!(bytes.starts_with(b"id: 1\nevent: turn.started\n"));
    let body = json!({"model": "support", "messages": [{"role": "user", "content": "word ".repeat(2000)}], "stream": true});
    let asked = request(Method::POST, "/v1/chat/completions", KEY, body.to_string());
    let (encoding, _, bytes) = answered(&gateway, takes(asked, "gzip, br")).await;
    assert_eq!(encoding, None);
    assert!(bytes.ends_with(b"data: [DONE]\n\n"));
}

#[tokio::test]
async fn an_export_is_compressed_to_its_end() {
    let gateway = Gateway::kept(Plan::default()).await;
    let turn = json!({"assistant": "support", "message": "word ".repeat(2000)}).to_string();
    let (_, _, turn) = answered(&gateway, request(Method::POST, "/v1/chat", KEY, turn)).await;
    let turn: serde_json::Value = serde_json::from_slice(&turn).unwrap();
    for format in ["jsonl", "markdown"] {
        let path =
            format!("/v1/conversations/{}/export?format={format}", turn["conversation_id"].as_str().unwrap());
        let export = || request(Method::GET, &path, KEY, "");
        let (_, _, plain) = answered(&gateway, export()).await;
        let (encoding, _, bytes) = answered(&gateway, takes(export(), "gzip")).await;
        assert_eq!(encoding.as_deref(), Some("gzip"));
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
    }
}

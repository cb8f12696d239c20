//! Spans: one of the request, one of the turn, one of each attempt, in the caller's trace and on to the provider.

use serde_json::json;

use super::collector::Seen;
use super::echo::assistant;
use super::served::{KEY, send};
use super::{Collector, Echo, Served};
use crate::smoke::program::client;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn config(echo: &Echo, endpoint: &str) -> String {
    [
        echo.provider("first"),
        echo.provider("second"),
        assistant("support", "first", "status-503", "\"docs\""),
        assistant("docs", "second", "fine", ""),
        format!("[observability]\notlp_endpoint = \"{endpoint}\"\n"),
    ]
    .concat()
}

#[tokio::test]
async fn a_turn_that_falls_back_is_one_trace() {
    let (echo, collector) = (Echo::start().await, Collector::start().await);
    let endpoint = format!("http://me:password@{}", collector.address);
    let gateway = Served::start(&config(&echo, &endpoint)).await;
    let request = client().post(format!("{}/v1/chat", gateway.url)).bearer_auth(KEY);
    let request = request
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("tracestate", "vendor=1");
    let body = json!({"assistant": "support", "message": "Hello", "stream": true});
    let answer = send(request.body(body.to_string())).await;
    assert!(answer.text.contains("turn.completed"), "{answer:?}");
    let (status, log, _folder) = gateway.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");

    let spans = collector.spans();
    let only = |found: &dyn Fn(&Seen) -> bool| -> usize {
        let all: Vec<_> = (0..spans.len()).filter(|index| found(&spans[*index])).collect();
        assert_eq!(all.len(), 1, "{spans:#?}");
        all[0]
    };
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert!(spans.iter().all(|span| span.state == "vendor=1"), "{spans:#?}");
    let served = &spans[only(&|span| span.name == "POST /v1/chat")];
    assert_eq!((served.parent.as_str(), served.kind), (PARENT, 2));
    assert_eq!(served.get("http.response.status_code"), Some("200"));
    let turn = &spans[only(&|span| span.name == "invoke_agent support")];
    assert_eq!(turn.parent, served.id);
    for (name, value) in [
        ("gen_ai.operation.name", "invoke_agent"),
        ("gen_ai.agent.name", "support"),
        ("gen_ai.response.model", "fine-2026"),
        ("gen_ai.usage.input_tokens", "11"),
        ("gen_ai.usage.output_tokens", "7"),
        ("switchboard.turn.status", "completed"),
        ("switchboard.answered_by", "docs"),
    ] {
        assert_eq!(turn.get(name), Some(value), "{turn:#?}");
    }
    assert!(!turn.is_error && turn.get("gen_ai.conversation.id").unwrap().starts_with("conv_"));

    let attempts: Vec<_> = spans.iter().filter(|span| span.name.starts_with("chat ")).collect();
    let told: Vec<_> = attempts
        .iter()
        .map(|span| {
            assert_eq!((span.parent.as_str(), span.kind), (turn.id.as_str(), 3));
            assert_eq!(span.get("gen_ai.operation.name"), Some("chat"));
            assert_eq!(span.get("gen_ai.provider.name"), Some("openai"));
            let fields =
                ["gen_ai.request.model", "switchboard.provider", "switchboard.attempt", "error.type"];
            let fields = fields.map(|name| span.get(name).unwrap_or("-"));
            (fields.join(" "), span.get("http.response.status_code"), span.is_error)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("status-503 first 1 provider_error".to_owned(), Some("503"), true),
            ("status-503 first 2 provider_error".to_owned(), Some("503"), true),
            ("fine second 1 -".to_owned(), None, false),
        ]
    );
    assert_eq!(attempts[2].get("gen_ai.response.model"), Some("fine-2026"));
    assert_eq!(attempts[2].get("gen_ai.usage.input_tokens"), Some("11"));

    let sent: Vec<_> =
        echo.seen().iter().map(|headers| headers["traceparent"].to_str().unwrap().to_owned()).collect();
    let expected: Vec<_> = attempts.iter().map(|span| format!("00-{TRACE}-{}-01", span.id)).collect();
    assert_eq!(sent, expected, "each attempt goes on under its own span");
    assert!(echo.seen().iter().all(|headers| headers["tracestate"] == "vendor=1"));
    for (headers, _) in collector.raw() {
        // me:password
        assert_eq!(headers["authorization"], "Basic bWU6cGFzc3dvcmQ=");
    }
}

#[tokio::test]
async fn a_turn_that_nobody_answers_is_an_error() {
    let (echo, collector) = (Echo::start().await, Collector::start().await);
    let text = config(&echo, &format!("http://{}/", collector.address)).replace("\"fine\"", "\"status-500\"");
    let gateway = Served::start(&text).await;
    let answer = gateway.post("/v1/chat", &json!({"assistant": "support", "message": "Hello"})).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    gateway.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 5 + 1, "a server span, a turn, two attempts at each: {spans:#?}");
    for span in &spans {
        assert!(span.is_error, "{span:#?}");
        let expected = if span.kind == 2 { "502" } else { "provider_error" };
        assert_eq!(span.get("error.type"), Some(expected), "{span:#?}");
    }
}

#[tokio::test]
async fn a_caller_that_keeps_no_trace_has_none_kept() {
    let (echo, collector) = (Echo::start().await, Collector::start().await);
    let gateway = Served::start(&config(&echo, &format!("http://{}", collector.address))).await;
    let request = client().post(format!("{}/v1/chat", gateway.url)).bearer_auth(KEY);
    let request = request
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-00"));
    send(request.body(json!({"assistant": "docs", "message": "Hello"}).to_string())).await;
    gateway.stop().await;
    assert!(collector.spans().is_empty(), "{:#?}", collector.spans());
    let sent = echo.seen()[0]["traceparent"].to_str().unwrap().to_owned();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_told_to_providers() {
    let echo = Echo::start().await;
    let gateway = Served::start(&config(&echo, "")).await;
    let answer = gateway.post("/v1/chat", &json!({"assistant": "docs", "message": "Hello"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!echo.seen()[0].contains_key("traceparent"));
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_spans_and_nothing_else() {
    let echo = Echo::start().await;
    let gateway = Served::start(&config(&echo, "http://me:password@127.0.0.1:1")).await;
    let answer = gateway.post("/v1/chat", &json!({"assistant": "docs", "message": "Hello"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (status, log, _folder) = gateway.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        log.contains("could not be sent") || log.contains("BatchSpanProcessor"),
        "the log says so: {log}"
    );
    assert!(!log.contains("password"), "{log}");
}

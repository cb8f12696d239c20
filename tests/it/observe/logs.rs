//! The log: a line for each request, a line for what an admin did, and nothing of what was said.

use serde_json::{Value, json};

use super::echo::{REPLY, assistant};
use super::served::{ADMIN, KEY};
use super::{Echo, Served};

const MESSAGE: &str = "canary-text-of-the-message";

fn config(echo: &Echo, observability: &str) -> String {
    [
        echo.provider("first"),
        assistant("docs", "first", "fine", ""),
        assistant("broken", "first", "status-500", ""),
        format!("[observability]\n{observability}"),
    ]
    .concat()
}

fn entries(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test]
async fn a_request_is_one_line_and_a_provider_that_fails_another() {
    let echo = Echo::start().await;
    let gateway = Served::start(&config(&echo, "")).await;
    let good = gateway.post("/v1/chat", &json!({"assistant": "docs", "message": MESSAGE})).await.json();
    gateway.post("/v1/chat", &json!({"assistant": "broken", "message": MESSAGE})).await;
    let (_, log, _folder) = gateway.stop().await;
    let entries = entries(&log);
    let answered: Vec<_> = entries.iter().filter(|entry| entry["message"] == "answered").collect();
    assert_eq!(answered.len(), 2, "{log}");
    let line = answered[0];
    assert_eq!(line["turn.id"], good["id"], "{line}");
    assert_eq!(
        (&line["status"], &line["tenant"], &line["key.name"]),
        (&json!(200), &json!("client"), &json!("client"))
    );
    assert!(line["duration_ms"].is_u64(), "{line}");
    let span = &line["span"];
    assert_eq!((&span["route"], &span["method"]), (&json!("/v1/chat"), &json!("POST")));
    assert!(span["request.id"].as_str().unwrap().starts_with("req_"), "{line}");

    let failed: Vec<_> = entries.iter().filter(|entry| entry["message"] == "a provider failed").collect();
    assert_eq!(failed.len(), 1, "{log}");
    assert_eq!((&failed[0]["outcome"], &failed[0]["status"]), (&json!("provider_error"), &json!(500)));
    assert_eq!(failed[0]["turn.id"], answered[1]["turn.id"]);
    assert_eq!(
        failed[0]["span"]["request.id"], answered[1]["span"]["request.id"],
        "it belongs to the request: {log}"
    );
}

#[tokio::test]
async fn what_was_said_is_logged_where_the_operator_wants_it() {
    let echo = Echo::start().await;
    for (setting, wanted) in [("", false), ("log_content = true\n", true)] {
        for format in ["json", "text"] {
            let gateway =
                Served::start(&config(&echo, &format!("{setting}log_format = \"{format}\"\n"))).await;
            for name in ["docs", "broken"] {
                gateway.post("/v1/chat", &json!({"assistant": name, "message": MESSAGE})).await;
            }
            let (_, log, _folder) = gateway.stop().await;
            for said in [MESSAGE, REPLY, "you said"] {
                assert_eq!(log.contains(said), wanted, "{said} {format} {setting}: {log}");
            }
        }
    }
}

#[tokio::test]
async fn what_an_admin_does_has_a_line_of_its_own() {
    let echo = Echo::start().await;
    let gateway = Served::start(&config(&echo, "")).await;
    let made = gateway.admin("POST", "/admin/keys", ADMIN, r#"{"name": "shop", "tenant": "t"}"#).await.json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(gateway.admin("DELETE", &format!("/admin/keys/{id}"), ADMIN, "").await.status, 204);
    assert_eq!(gateway.admin("POST", "/admin/reload", ADMIN, "").await.status, 200);
    assert_eq!(gateway.admin("POST", "/admin/keys", ADMIN, r#"{"name": ""}"#).await.status, 400);
    assert_eq!(gateway.admin("POST", "/admin/reload", KEY, "").await.status, 403);
    assert_eq!(gateway.admin("GET", "/admin/keys", ADMIN, "").await.status, 200);
    let (_, log, _folder) = gateway.stop().await;
    let entries = entries(&log);
    let audit: Vec<_> = entries.iter().filter(|entry| entry["target"] == "audit").collect();
    let told: Vec<_> = audit
        .iter()
        .map(|entry| {
            let fields = ["action", "by.key.name", "outcome", "key.name", "tenant"];
            fields.map(|name| entry[name].as_str().unwrap_or("-")).join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "POST /admin/keys boss done shop t",
            "DELETE /admin/keys/{id} boss done shop t",
            "POST /admin/reload boss done - -",
            "POST /admin/keys boss refused - -",
            "POST /admin/reload client refused - -",
        ]
    );
    assert!(audit[..2].iter().all(|entry| entry["key.id"] == id), "{log}");
    assert!(audit.iter().all(|entry| entry["by.key.id"].as_str().unwrap().starts_with("key_")), "{log}");
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    let echo = Echo::start().await;
    let mut gateway = Served::with(&config(&echo, ""), &[("RUST_LOG", "trace")]).await;
    gateway.stop_reading();
    // The pipe holds 64 KiB and the queue some thousand lines: far less than these requests make.
    let mut dropped = false;
    for _ in 0..2000 {
        let answer = gateway.post("/v1/chat", &json!({"assistant": "docs", "message": MESSAGE})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        dropped = !gateway.metrics().await.contains("switchboard_log_lines_dropped_total 0\n");
        if dropped {
            break;
        }
    }
    assert!(dropped, "lines were dropped, and counted");
}

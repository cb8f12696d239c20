//! The document itself.

use std::collections::BTreeSet;

use chat::ErrorCode;
use http::Method;
use serde_json::Value;

use super::{compare, read};
use crate::gateway::{Gateway, Plan, description, request};
use crate::smoke::program::{command, run};

/// Method and path of every operation.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("operationId").is_some() {
                all.push((method.to_uppercase(), path.clone(), operation));
            }
        }
    }
    all
}

#[test]
fn it_is_the_one_that_is_checked_in() {
    compare("tests/openapi.json", server::openapi());
}

/// Routes as `routes/mod.rs` has them: `.route("/path", get(…).post(…))`.
fn routes() -> BTreeSet<(String, String)> {
    let mut all = routes_in(&read("crates/server/src/routes/mod.rs"));
    // What stands under both of the dialect's roots, then what stands under `/openai` alone.
    let dialect = read("crates/server/src/openai/mod.rs");
    let (both, own) = dialect.split_once("let own").unwrap();
    let both = routes_in(both);
    let under_openai = |(method, path): &(String, String)| (method.clone(), format!("/openai{path}"));
    all.extend(both.iter().chain(&routes_in(own)).map(under_openai));
    all.extend(both);
    all
}

fn routes_in(source: &str) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for route in source.split(".route(").skip(1) {
        let route = route.split(';').next().unwrap();
        let path = route.split('"').nth(1).unwrap();
        for method in ["get", "post", "patch", "put", "delete"] {
            if route.contains(&format!("{method}(")) {
                all.insert((method.to_uppercase(), path.to_owned()));
            }
        }
    }
    all
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = description::document();
    let described: BTreeSet<_> =
        operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    assert_eq!(described, routes());
}

#[test]
fn every_error_code_stands_somewhere() {
    let document = description::document();
    let described = document["paths"].to_string() + &document["components"]["responses"].to_string();
    for code in ErrorCode::ALL {
        assert!(described.contains(&format!("\"{code}\"")), "{code} is in no response");
    }
}

#[test]
fn operations_have_names_words_and_examples() {
    let document = description::document();
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} stands twice");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        if operation["requestBody"]["required"] == true {
            let content = &operation["requestBody"]["content"]["application/json"];
            assert!(content.get("examples").is_some(), "{method} {path} has no example of its body");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let good = status.starts_with('2') && response["content"]["application/json"].is_object();
            let shown = response["content"]["application/json"].get("examples").is_some();
            // The first would be the document in itself, the other needs a configuration in a file.
            let excused = ["readDescription", "reload"].contains(&name);
            assert!(!good || shown || excused, "{method} {path} {status} has no example");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = description::document();
    let text = document.to_string();
    for rest in text.split("\"#/").skip(1) {
        let pointer = format!("/{}", rest.split('"').next().unwrap());
        assert!(document.pointer(&pointer).is_some(), "#{pointer}");
    }
    for (sort, all) in document["components"].as_object().unwrap() {
        for name in all.as_object().unwrap().keys().filter(|_| sort != "securitySchemes") {
            // Two say what any path can answer, and stand for what has no operation.
            let general = ["Nowhere", "MethodNotAllowed", "allow"].contains(&name.as_str());
            let used = text.contains(&format!("\"#/components/{sort}/{name}\""));
            assert!(used || general, "nothing refers to {sort}/{name}");
        }
    }
}

#[tokio::test]
async fn it_is_served_to_anybody_and_printed() {
    let gateway = Gateway::new(Plan::default());
    let answer = gateway.send(request(Method::GET, "/openapi.json", "", "")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, server::openapi()));
    let (status, printed, problems) = run(&mut command(&["openapi"]), "").await;
    assert!(status.success(), "{problems}");
    assert_eq!(printed, server::openapi());
}

#[tokio::test]
async fn the_page_runs_nothing_but_its_own() {
    let gateway = Gateway::new(Plan::default());
    let page = gateway.send(request(Method::GET, "/docs", "", "")).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'sha256-", "connect-src 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
}

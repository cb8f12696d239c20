//! The document's examples are what a gateway really answers: they are asked again here, in their order.
//!
//! Ids, times and secrets differ from run to run; in the file they stand as if they did not.

use std::collections::HashMap;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Map, Value, json};

use super::{compare, read, stage};
use crate::gateway::{ADMIN, Answer, Gateway, Plan, description};

const FILE: &str = "crates/server/src/openapi/examples.json";
const TIME: &str = "2026-11-21T12:00:00.000Z";

/// What stood in this run for what stands in the file.
#[derive(Default)]
struct Names {
    real: HashMap<String, String>,
    shown: HashMap<String, String>,
    counts: HashMap<String, u32>,
}

impl Names {
    /// The text of an answer, as it stands in the file.
    fn show(&mut self, text: &str) -> String {
        let mut shown = String::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let (piece, taken) = self.piece(rest).unwrap_or((character.into(), character.len_utf8()));
            shown.push_str(&piece);
            rest = &rest[taken..];
        }
        shown
    }

    /// What begins a text and differs from run to run: how it is shown, and how long it is.
    fn piece(&mut self, text: &str) -> Option<(String, usize)> {
        // The last one stands in cursors of messages, which are bound to their conversation.
        for prefix in ["conv_", "turn_", "msg_", "key_", "req_", "_"] {
            let Some(digits) = text.strip_prefix(prefix).and_then(|rest| rest.get(..32)) else { continue };
            if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let real = &text[..prefix.len() + 32];
                return Some((self.named(prefix, real), real.len()));
            }
        }
        for prefix in ["swk_", "swt_"] {
            if text.starts_with(prefix) {
                return Some((format!("{prefix}…"), text.find('"').unwrap()));
            }
        }
        let time = text.get(..TIME.len()).filter(|time| !time.starts_with("2099"));
        if time.is_some_and(|time| alike(time, TIME)) {
            return Some((TIME.to_owned(), TIME.len()));
        }
        let day = text.strip_prefix("\"day\":\"")?.get(..10)?;
        Some((format!("\"day\":\"{}", &TIME[..10]), "\"day\":\"".len() + day.len()))
    }

    fn named(&mut self, prefix: &str, real: &str) -> String {
        if let Some(shown) = self.shown.get(real) {
            return shown.clone();
        }
        let count = self.counts.entry(prefix.to_owned()).or_default();
        *count += 1;
        // What is shown in place of one id must not stand within what is shown in place of another.
        let begins = if prefix == "_" { "0c" } else { "01" };
        let shown = format!("{prefix}{begins}a2000000007000800000000000{count:04x}");
        self.shown.insert(real.to_owned(), shown.clone());
        self.real.insert(shown.clone(), real.to_owned());
        shown
    }

    /// The text of a request, as it is to be sent.
    fn real(&self, text: &str) -> String {
        self.real.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }
}

/// Digits where the other has digits, the same elsewhere.
fn alike(one: &str, other: &str) -> bool {
    let digit = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    one.bytes().map(digit).eq(other.bytes().map(digit))
}

/// Where an operation is: its method and its path.
fn place(id: &str) -> (Method, String) {
    let document = description::document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["operationId"] == id {
                return (method.to_uppercase().parse().unwrap(), path.clone());
            }
        }
    }
    panic!("there is no operation {id}")
}

fn pairs(example: &Value, field: &str) -> Map<String, Value> {
    example[field].as_object().cloned().unwrap_or_default()
}

async fn ask(gateway: &Gateway, names: &Names, example: &Value) -> Answer {
    let (method, mut path) = place(example["operation"].as_str().unwrap());
    for (name, value) in pairs(example, "path") {
        path = path.replace(&format!("{{{name}}}"), value.as_str().unwrap());
    }
    let admin = path.starts_with("/admin");
    let query = pairs(example, "query");
    let query: Vec<_> =
        query.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let mut request = Request::builder().method(method).uri(names.real(&path)).header("x-api-key", ADMIN);
    for (name, value) in pairs(example, "headers") {
        request = request.header(name, value.as_str().unwrap());
    }
    let body = match &example["body"] {
        Value::Null => String::new(),
        body => {
            request = request.header("content-type", "application/json");
            names.real(&body.to_string())
        }
    };
    let request = request.body(Body::from(body)).unwrap();
    if admin { gateway.send_admin(request).await } else { gateway.send(request).await }
}

#[tokio::test]
async fn examples_are_what_a_gateway_answers() {
    let gateway = Gateway::kept(Plan { catalog: Some(stage::catalog()), ..Plan::default() }).await;
    let mut examples: Vec<Value> = serde_json::from_str(&read(FILE)).unwrap();
    let mut names = Names::default();
    for example in &mut examples {
        let answer = ask(&gateway, &names, example).await;
        let (wanted, what) = (example["status"].clone(), example["name"].clone());
        assert_eq!(json!(answer.status.as_u16()), wanted, "{} {what}: {}", example["operation"], answer.text);
        let shown = names.show(&answer.text);
        let media = answer.header("content-type").map(str::to_owned);
        example["answer"] = match media.as_deref() {
            None => Value::Null,
            Some("application/json") => serde_json::from_str(&shown).unwrap(),
            Some(_) => shown.into(),
        };
        example["media"] = json!(media);
    }
    compare(FILE, &(serde_json::to_string_pretty(&examples).unwrap() + "\n"));
}

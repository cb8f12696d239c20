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
/// The same in seconds since 1970.
const SECONDS: &str = "1795262400";

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
        for prefix in ["conv_", "turn_", "msg_", "key_", "req_", "resp_", "chatcmpl-", "_"] {
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
        let within = |name: &str, shown: &str| {
            let value = text.strip_prefix(name)?.get(..10)?;
            alike(value, shown).then(|| (format!("{name}{shown}"), name.len() + shown.len()))
        };
        let names = ["\"created\":", "\"created_at\":", "\"completed_at\":"];
        // Seconds, in OpenAI's dialect.
        let seconds = names.iter().find_map(|name| within(name, SECONDS));
        seconds.or_else(|| within("\"day\":\"", &TIME[..10]))
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

/// The operation's twin under `/openai/v1`, where it has one.
fn under_openai(id: &str) -> Option<String> {
    let twin = format!("openai{}{}", id[..1].to_uppercase(), &id[1..]);
    server::openapi().contains(&format!("\"operationId\": \"{twin}\"")).then_some(twin)
}

/// The request of an example; `real` names what stands in the gateway for what stands in the file.
async fn ask(gateway: &Gateway, operation: &str, real: impl Fn(&str) -> String, example: &Value) -> Answer {
    let (method, mut path) = place(operation);
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
    let mut request = Request::builder().method(method).uri(real(&path)).header("x-api-key", ADMIN);
    for (name, value) in pairs(example, "headers") {
        request = request.header(name, value.as_str().unwrap());
    }
    let body = match &example["body"] {
        Value::Null => String::new(),
        body => {
            request = request.header("content-type", "application/json");
            real(&body.to_string())
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
        let operation = example["operation"].as_str().unwrap();
        let answer = ask(&gateway, operation, |text| names.real(text), example).await;
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

/// What stands in another gateway for what stands in the file: learned from what it answers to the same requests.
#[derive(Default)]
struct Learned(HashMap<String, String>);

impl Learned {
    fn real(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }

    /// Ids are in the same places of both answers.
    fn compare(&mut self, shown: &Value, real: &Value) {
        match (shown, real) {
            (Value::String(shown), Value::String(real)) if is_id(shown) => {
                self.0.insert(shown.clone(), real.clone());
            }
            (Value::Array(shown), Value::Array(real)) => {
                shown.iter().zip(real).for_each(|(shown, real)| self.compare(shown, real));
            }
            (Value::Object(shown), Value::Object(real)) => {
                shown.iter().for_each(|(name, shown)| self.compare(shown, &real[name]));
            }
            _ => {}
        }
    }
}

fn is_id(text: &str) -> bool {
    text.rsplit_once(['_', '-'])
        .is_some_and(|(_, digits)| digits.starts_with("01a20000") && digits.len() == 32)
}

/// The data of a stream's first event, or the answer itself.
fn told(answer: &Value) -> Value {
    let Some(text) = answer.as_str() else { return answer.clone() };
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn examples_are_taken_by_a_gateway_over_the_simulator() {
    let (gateway, simulator, _serving) = stage::simulated().await;
    let mut learned = Learned::default();
    learned.0.insert("7f3a".to_owned(), simulator.conversation().await);
    for example in serde_json::from_str::<Vec<Value>>(&read(FILE)).unwrap() {
        let operation = example["operation"].as_str().unwrap();
        // Those of both of the dialect's roots were recorded under the other one.
        let operation = under_openai(operation).unwrap_or_else(|| operation.to_owned());
        let answer = ask(&gateway, &operation, |text| learned.real(text), &example).await;
        let what = format!("{operation} {}: {}", example["name"], answer.text);
        // That it is as described is checked wherever a test reads an answer.
        assert_eq!(json!(answer.status.as_u16()), example["status"], "{what}");
        assert_eq!(json!(answer.header("content-type")), example["media"], "{what}");
        let text = Value::from(answer.text.as_str());
        let real = serde_json::from_str(&answer.text).unwrap_or_else(|_| told(&text));
        learned.compare(&told(&example["answer"]), &real);
    }
}

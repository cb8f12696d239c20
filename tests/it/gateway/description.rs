//! Holds answers to the API's description: every answer that a test of the real router reads goes through [`check`].

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use http::{Method, Uri};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::Answer;

/// The document, with the schemas of answers closed: a field that it does not describe is an error here.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document: Value = serde_json::from_str(server::openapi()).unwrap();
    for (name, schema) in document["components"]["schemas"].as_object_mut().unwrap() {
        let open = schema.get("properties").is_some() && schema.get("additionalProperties").is_none();
        // What belongs to a step of progress is the step's own.
        if open && name != "TurnProgressEvent" {
            schema["additionalProperties"] = json!(false);
        }
    }
    // What is passed on has any form; in tests only assistants of these names do that. (What is read once a fallback has taken over
    // has the fallback's name.)
    document["components"]["schemas"]["PassedOn"]["anyOf"] =
        json!([{"properties": {"model": {"enum": PASSING}}}, {"required": ["x_own"]}]);
    document
});

/// The assistants that are given a client's own body, and whose answers are passed on.
const PASSING: [&str; 2] = ["model", "cut"];

/// The document as it is served.
pub fn document() -> Value {
    serde_json::from_str(server::openapi()).unwrap()
}

/// Which listener was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    Clients,
    Admins,
}

/// The operation of a request, where the document has one: its path's template and itself.
pub fn operation(face: Face, method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    // Of two that fit, the one with fewer names in it.
    let fitting = paths.iter().filter(|(template, _)| is_of(template, path));
    let (template, item) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
    let of = if item.get("servers").is_some() { Face::Admins } else { Face::Clients };
    if of != face {
        return None;
    }
    Some((template, item.get(method.as_str().to_lowercase())?))
}

fn is_of(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    wanted.by_ref().all(|one| {
        given.next().is_some_and(|other| one == other || one.starts_with('{') && !other.is_empty())
    }) && given.next().is_none()
}

/// What a reference points at.
pub fn found(node: &'static Value) -> &'static Value {
    match node["$ref"].as_str() {
        Some(to) => found(DOCUMENT.pointer(to.strip_prefix('#').unwrap()).unwrap()),
        None => node,
    }
}

/// What is wrong with an instance of a schema of the document; nothing when all is well.
pub fn problems(schema: &Value, instance: &Value) -> Vec<String> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let known = KNOWN.lock().unwrap().get(&schema.to_string()).cloned();
    let validator = known.unwrap_or_else(|| {
        let whole = json!({"allOf": [schema], "components": {"schemas": referred(schema)}});
        let made = jsonschema::options().should_validate_formats(true).build(&whole).unwrap();
        let made = Arc::new(made);
        KNOWN.lock().unwrap().insert(schema.to_string(), Arc::clone(&made));
        made
    });
    validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The schemas that a schema refers to, directly or not: a validator is slow to make of all of them.
fn referred(schema: &Value) -> Map<String, Value> {
    let all = DOCUMENT["components"]["schemas"].as_object().unwrap();
    let mut found = Map::new();
    let mut texts = vec![schema.to_string()];
    while let Some(text) = texts.pop() {
        for rest in text.split("\"#/components/schemas/").skip(1) {
            let name = rest.split('"').next().unwrap();
            if !found.contains_key(name) {
                texts.push(all[name].to_string());
                found.insert(name.to_owned(), all[name].clone());
            }
        }
    }
    found
}

/// Fails when an answer is not as its operation's description says: status, headers, sort of content, content.
pub fn check(face: Face, method: &Method, uri: &Uri, answer: &Answer) {
    let Some((template, operation)) = operation(face, method, uri.path()) else {
        // Paths and methods that are not there, and what only the router answers to.
        let known = [200, 204, 400, 401, 403, 404, 405, 429, 500, 503];
        let elsewhere = *method == Method::HEAD || known.contains(&answer.status.as_u16());
        assert!(elsewhere, "{method} {uri} is not described: {answer:?}");
        return;
    };
    let here = format!("{method} {template} {}", answer.status.as_u16());
    let responses = &operation["responses"];
    let status = answer.status.as_u16().to_string();
    assert!(responses.get(&status).is_some(), "{here} is not described: {}", answer.text);
    let response = found(&responses[&status]);
    check_headers(&here, response, answer);
    let Some(content) = response["content"].as_object() else {
        assert_eq!(answer.text, "", "{here} is described without a body");
        return;
    };
    let media = answer.header("content-type").unwrap_or_else(|| panic!("{here} has no content-type"));
    let described = content.get(media).unwrap_or_else(|| panic!("{here} is not described as {media}"));
    if media == "application/json" {
        none(&here, &answer.text, &problems(&described["schema"], &answer.json()));
    } else if media == "text/event-stream" {
        check_events(&here, &described["schema"], &answer.text);
    }
}

fn check_events(here: &str, schema: &'static Value, text: &str) {
    let data = &found(schema)["properties"]["data"]["contentSchema"];
    assert!(data.is_object(), "{here} does not say what its events tell");
    for frame in text.split_terminator("\n\n").filter(|frame| !frame.starts_with(':')) {
        let lines =
            frame.lines().map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{here}: {line}")));
        let frame: Value = lines.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        none(here, text, &problems(schema, &frame));
        let told = frame["data"].as_str().unwrap();
        // The dialect's own sign of the end.
        if told != "[DONE]" {
            none(here, told, &problems(data, &serde_json::from_str(told).unwrap()));
        }
    }
}

fn check_headers(here: &str, response: &'static Value, answer: &Answer) {
    let described = &response["headers"];
    for (name, header) in described.as_object().unwrap() {
        let required = found(header)["required"] == true;
        assert!(!required || answer.header(name).is_some(), "{here} has no {name}");
    }
    // What routes set by themselves; the rest is the listener's and the browser's.
    for name in DOCUMENT["components"]["headers"].as_object().unwrap().keys() {
        let Some(value) = answer.header(name) else { continue };
        assert!(described.get(name).is_some(), "{here} is described without {name}: {}", answer.text);
        let schema = &found(&described[name])["schema"];
        let value = match schema["type"].as_str() {
            Some("integer") => json!(value.parse::<u64>().unwrap()),
            _ => json!(value),
        };
        none(&format!("{here} {name}"), "", &problems(schema, &value));
    }
}

fn none(here: &str, text: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{here}: {}\n{text}", problems.join("\n"));
}

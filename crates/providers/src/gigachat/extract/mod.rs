//! Where in a JSON value the answer is.
//!
//! The provider's page does not tell the shape of an answer: its one sample holds rows of documents, most likely pasted from another
//! page. So the answer is looked for in the places where such services put it, rows that are documents are never taken for one, and
//! an operator who has seen the real shape can say where it is (`answer_path`).

use std::str::FromStr;

use chat::{Source, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::wire::{Choice, Document, Said};
use crate::loose::Id;

/// A value's keys that may hold the answer, the likeliest first (inferred, all of them).
const ANSWER_KEYS: [&str; 7] =
    ["message", "response", "answer", "content", "text", "completion", "prompt_response"];

/// Further keys that may hold a piece of it in an event (inferred).
const PIECE_KEYS: [&str; 2] = ["delta", "token"];

/// What a value turned out to hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// The answer.
    Text(String),
    /// Documents and no answer: what the page's sample shows.
    Documents(Vec<Source>),
    /// Neither.
    Nothing,
}

/// A path to the answer, after RFC 6901: `/data/answer`; `-` is a list's last item: `/messages/-/text`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AnswerPath(Vec<String>);

impl TryFrom<String> for AnswerPath {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        path.parse()
    }
}

impl FromStr for AnswerPath {
    type Err = &'static str;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let Some(steps) = path.strip_prefix('/') else {
            return Err("must begin with `/`, as in `/data/answer`");
        };
        Ok(Self(steps.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl AnswerPath {
    /// The text that the path leads to, if it leads to one.
    fn follow<'a>(&self, value: &'a Value, takes: Takes) -> Option<&'a str> {
        let step = |value: &'a Value, step: &String| match value {
            Value::Object(members) => members.get(step),
            Value::Array(items) if step == "-" => items.last(),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        };
        said(self.0.iter().try_fold(value, step)?, takes)
    }
}

/// Which texts are taken for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Those with something to read in them.
    Words,
    /// Those of white space alone, too.
    Blanks,
}

/// The answer in a whole value. White space is an answer where nothing better is found.
pub(super) fn answer(value: &Value, path: Option<&AnswerPath>) -> Found {
    match answer_of(value, path, Takes::Words) {
        found @ Found::Text(_) => found,
        otherwise => match answer_of(value, path, Takes::Blanks) {
            found @ Found::Text(_) => found,
            _ => otherwise,
        },
    }
}

fn answer_of(value: &Value, path: Option<&AnswerPath>, takes: Takes) -> Found {
    if let Some(text) = path.and_then(|path| path.follow(value, takes)) {
        return Found::Text(text.to_owned());
    }
    match value {
        Value::String(_) => said(value, takes).map_or(Found::Nothing, |text| Found::Text(text.to_owned())),
        Value::Array(rows) => among(rows, takes),
        Value::Object(_) if is_document(value) => among(std::slice::from_ref(value), takes),
        Value::Object(_) => in_object(value, takes).map_or(Found::Nothing, Found::Text),
        _ => Found::Nothing,
    }
}

/// The piece of an answer in an event's value, as the event has it: blanks count.
pub(super) fn piece(value: &Value, path: Option<&AnswerPath>) -> Option<String> {
    if let Some(text) = path.and_then(|path| path.follow(value, Takes::Blanks)) {
        return Some(text.to_owned());
    }
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(_) if is_document(value) => None,
        Value::Object(members) => first_choice(value).and_then(choice_text).or_else(|| {
            let keys = ANSWER_KEYS.iter().chain(&PIECE_KEYS);
            keys.filter_map(|key| members.get(*key)).find_map(nested).map(str::to_owned)
        }),
        _ => None,
    }
}

/// Why the provider stopped, where an event says so.
pub(super) fn finish_reason(value: &Value) -> Option<String> {
    first_choice(value)?.finish_reason
}

/// The documents among a value's rows: id and name, never what they say.
pub(super) fn documents(value: &Value) -> Vec<Source> {
    let rows = match value {
        Value::Array(rows) => rows.as_slice(),
        other => std::slice::from_ref(other),
    };
    rows.iter().filter(|row| is_document(row)).filter_map(source).collect()
}

fn among(rows: &[Value], takes: Takes) -> Found {
    let mut messages: Vec<_> = rows.iter().filter(|row| !is_document(row)).collect();
    // "Message hierarchy determined by timestamp", says the page.
    let times: Option<Vec<_>> = messages.iter().map(|row| created_at(row)).collect();
    if times.is_some() {
        messages.sort_by_key(|row| created_at(row));
    }
    let last = messages.iter().rev().filter(|row| !is_users(row)).find_map(|row| match row {
        Value::Object(_) => in_object(row, takes),
        other => said(other, takes).map(str::to_owned),
    });
    match (last, documents_in(rows)) {
        (Some(text), _) => Found::Text(text),
        (None, documents) if !documents.is_empty() => Found::Documents(documents),
        (None, _) => Found::Nothing,
    }
}

fn documents_in(rows: &[Value]) -> Vec<Source> {
    rows.iter().filter(|row| is_document(row)).filter_map(source).collect()
}

fn in_object(value: &Value, takes: Takes) -> Option<String> {
    let members = value.as_object()?;
    let plain = ANSWER_KEYS.iter().filter_map(|key| members.get(*key)).find_map(|text| said(text, takes));
    let message = || {
        members.get("message").and_then(|message| message.get("content")).and_then(|text| said(text, takes))
    };
    plain
        .or_else(message)
        .map(str::to_owned)
        .or_else(|| first_choice(value).and_then(choice_text).filter(|text| takes.text(text)))
}

/// The text of a value that is one, or of its `content`.
fn nested(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str))
}

/// The first of several answers: the bot's `n` may ask for more than one, and only one is read.
fn first_choice(value: &Value) -> Option<Choice> {
    let choices = value.get("choices")?.as_array()?;
    let read = |choice| Choice::deserialize(choice).ok();
    choices.iter().filter_map(read).find(|choice| choice.index.unwrap_or(0) == 0)
}

fn choice_text(choice: Choice) -> Option<String> {
    let content = |said: Option<Said>| said.and_then(|said| said.content);
    content(choice.delta).or_else(|| content(choice.message)).or(choice.text)
}

/// A text with something in it.
fn said(value: &Value, takes: Takes) -> Option<&str> {
    value.as_str().filter(|text| takes.text(text))
}

impl Takes {
    fn text(self, text: &str) -> bool {
        match self {
            Self::Words => !text.trim().is_empty(),
            Self::Blanks => !text.is_empty(),
        }
    }
}

/// Whether a row is a piece of a document, as the page's sample has them.
fn is_document(row: &Value) -> bool {
    row.get("embedding").is_some()
        || row.pointer("/metadata/loc").is_some()
        || row.get("content").and_then(Value::as_str).is_some_and(|text| text.starts_with("DOCUMENT NAME:"))
}

fn is_users(row: &Value) -> bool {
    let speaker = ["role", "author", "type"].into_iter().find_map(|key| row.get(key)?.as_str());
    speaker.is_some_and(|speaker| {
        !["assistant", "bot", "ai", "system"].iter().any(|known| speaker.eq_ignore_ascii_case(known))
    })
}

fn created_at(row: &Value) -> Option<Timestamp> {
    row.get("created_at")?.as_str()?.parse().ok()
}

fn source(row: &Value) -> Option<Source> {
    let document = Document::deserialize(row).ok()?;
    let id = document.id.and_then(Id::into_text).or_else(|| document.name.clone())?;
    Some(Source { id, title: document.name, kind: Some("document".to_owned()), ..Source::default() })
}

#[cfg(test)]
mod tests;

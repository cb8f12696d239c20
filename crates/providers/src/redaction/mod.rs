//! A provider's own key in what it replies: it goes no further, also where it comes in several pieces.
//!
//! Text is held back while its end may be the beginning of the key, and no longer: for other text that is a look at a few bytes.
//! A frame for the OpenAI dialect goes with its text.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use chat::{Part, Piece, Progress, Source};
use indexmap::IndexMap;
use memchr::{memchr_iter, memmem};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::blotter::Blotter;

/// How many frames may be held back, those without text included. One that says so much without a word shows nothing by chance.
const HELD_MAX: usize = 1024;

/// Watches the pieces of one reply.
pub(crate) struct Redaction {
    secret: Option<Arc<SecretString>>,
    held: VecDeque<Held>,
}

/// What is held back: a frame, the text that was made of it, or both.
#[derive(Default)]
struct Held {
    frame: Option<Arc<str>>,
    text: String,
    /// The text stands in the place of all before it.
    replaces: bool,
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl Redaction {
    /// For a reply of the provider with this key; none: nothing is looked for.
    pub(crate) fn new(secret: Option<Arc<SecretString>>) -> Self {
        Self { secret, held: VecDeque::new() }
    }

    /// Makes of an item's pieces those that may be given now. What comes of one frame comes together, the frame first.
    pub(crate) fn take(&mut self, pieces: &mut Vec<Piece>) {
        let Some(secret) = self.secret.clone() else { return };
        let secret = secret.expose_secret();
        if self.held.is_empty() && !pieces.iter().any(|piece| touches(piece, secret)) {
            return;
        }
        let mut given = Vec::with_capacity(pieces.len());
        let mut of_frame = false;
        for piece in std::mem::take(pieces) {
            match piece {
                Piece::Extension(frame) => {
                    self.held.push_back(Held { frame: Some(frame), ..Held::default() });
                    of_frame = true;
                }
                Piece::Text(text) => match self.held.back_mut() {
                    Some(last) if of_frame => last.text.push_str(&text),
                    _ => self.held.push_back(Held { text, ..Held::default() }),
                },
                Piece::Replace(text) => {
                    let frame = if of_frame { self.held.pop_back() } else { None };
                    given.extend(self.flush());
                    let frame = frame.and_then(|held| held.frame);
                    self.held.push_back(Held { frame, text, replaces: true });
                }
                // These stand at a place in the text.
                Piece::Citation(_) | Piece::ToolCall(_) => {
                    given.extend(self.flush());
                    of_frame = false;
                    given.push(whole(piece, secret));
                }
                piece => given.push(whole(piece, secret)),
            }
        }
        self.blot(secret);
        self.release(secret, &mut given);
        *pieces = given;
    }

    /// What was held back, once it is certain that it is not the key: nothing continues it.
    pub(crate) fn flush(&mut self) -> Vec<Piece> {
        let mut given = Vec::new();
        let Some(secret) = self.secret.clone().filter(|_| !self.held.is_empty()) else { return given };
        self.blot(secret.expose_secret());
        for held in std::mem::take(&mut self.held) {
            held.give(secret.expose_secret(), &mut given);
        }
        given
    }

    /// The same of sources alone.
    pub(crate) fn sources(&self, sources: &mut [Source]) {
        if let Some(secret) = &self.secret {
            sources.iter_mut().for_each(|source| blot_source(source, secret.expose_secret()));
        }
    }

    /// Blots the key out of the text that is held, whatever pieces it is spread over.
    fn blot(&mut self, secret: &str) {
        let text: String = self.held.iter().map(|held| held.text.as_str()).collect();
        let places: Vec<_> =
            text.match_indices(secret).map(|(begin, _)| (begin, begin + secret.len())).collect();
        if places.is_empty() {
            return;
        }
        let mut begin = 0;
        for held in &mut self.held {
            let end = begin + held.text.len();
            let mut left = String::with_capacity(held.text.len());
            let mut at = begin;
            let mut shared = false;
            for (from, to) in places.iter().filter(|(from, to)| *from < end && *to > begin) {
                left.push_str(text.get(at..*from).unwrap_or_default());
                if (begin..end).contains(from) {
                    left.push_str(Blotter::BLOT);
                }
                shared |= *from < begin || *to > end;
                at = (*to).min(end);
            }
            left.push_str(text.get(at..end).unwrap_or_default());
            // A key that stands in one frame is blotted out of that as it is.
            if shared && let Some(frame) = &mut held.frame {
                *frame = saying(frame, &left).unwrap_or_else(|| Arc::clone(frame));
            }
            held.text = left;
            begin = end;
        }
    }

    /// Gives what cannot be part of the key any more.
    fn release(&mut self, secret: &str, given: &mut Vec<Piece>) {
        let text: String = self.held.iter().map(|held| held.text.as_str()).collect();
        let too_much = self.held.len() > HELD_MAX;
        let mut clear = text.len() - if too_much { 0 } else { beginning(&text, secret) };
        while let Some(mut first) = self.held.pop_front() {
            if first.text.len() <= clear {
                clear -= first.text.len();
                first.give(secret, given);
                continue;
            }
            if first.frame.is_none() && clear > 0 {
                let text = first.text.split_off(clear);
                first.give(secret, given);
                first = Held { text, ..Held::default() };
            }
            self.held.push_front(first);
            return;
        }
    }
}

impl Held {
    fn give(self, secret: &str, given: &mut Vec<Piece>) {
        let framed = self.frame.is_some();
        given.extend(self.frame.map(|frame| Piece::Extension(blot_frame(frame, secret))));
        // What was held back of one piece goes with the next.
        if let Some(Piece::Text(before) | Piece::Replace(before)) = given.last_mut()
            && !framed
            && !self.replaces
        {
            before.push_str(&self.text);
        } else if self.replaces {
            given.push(Piece::Replace(self.text));
        } else if !self.text.is_empty() {
            given.push(Piece::Text(self.text));
        }
    }
}

/// How many bytes at the end of this text may be the key's beginning. Keys stand in headers: they are ASCII.
fn beginning(text: &str, secret: &str) -> usize {
    let (text, secret) = (text.as_bytes(), secret.as_bytes());
    let longest = secret.len().saturating_sub(1).min(text.len());
    let end = text.get(text.len() - longest..).unwrap_or_default();
    let Some(&first) = secret.first() else { return 0 };
    // The longest first.
    let mut ends = memchr_iter(first, end).filter_map(|at| end.get(at..));
    ends.find(|end| secret.starts_with(end)).map_or(0, <[u8]>::len)
}

/// Whether a text has the key in it. A search of bytes: for a key of usual length the library's search in text prepares itself longer than
/// it looks.
fn holds(text: &str, secret: &str) -> bool {
    memmem::find(text.as_bytes(), secret.as_bytes()).is_some()
}

/// Whether a piece has the key in it, or what may be its beginning.
fn touches(piece: &Piece, secret: &str) -> bool {
    match piece {
        Piece::Text(text) | Piece::Replace(text) => holds(text, secret) || beginning(text, secret) > 0,
        Piece::Extension(frame) => holds(frame, &in_json(secret)),
        Piece::Model(text) => holds(text, secret),
        Piece::Sources(sources) => sources.iter().flat_map(words_of).any(|text| holds(text, secret)),
        Piece::ToolCall(Part::ToolCall { id, name, arguments }) => {
            [id, name, arguments].into_iter().any(|text| holds(text, secret))
        }
        Piece::Progress(_) => true,
        _ => false,
    }
}

/// A piece that comes whole, without the key.
fn whole(piece: Piece, secret: &str) -> Piece {
    let blot = |text: String| blot(&text, secret).unwrap_or(text);
    match piece {
        Piece::Model(text) => Piece::Model(blot(text)),
        Piece::Sources(mut sources) => {
            sources.iter_mut().for_each(|source| blot_source(source, secret));
            Piece::Sources(sources)
        }
        Piece::ToolCall(Part::ToolCall { id, name, arguments }) => {
            Piece::ToolCall(Part::ToolCall { id: blot(id), name: blot(name), arguments: blot(arguments) })
        }
        Piece::Progress(Progress { step, mut detail }) => {
            detail.values_mut().for_each(|value| blot_value(value, secret));
            Piece::Progress(Progress { step: blot(step), detail })
        }
        other => other,
    }
}

fn blot(text: &str, secret: &str) -> Option<String> {
    holds(text, secret).then(|| text.replace(secret, Blotter::BLOT))
}

fn words_of(source: &Source) -> impl Iterator<Item = &String> {
    let Source { id, title, url, snippet, kind, app } = source;
    std::iter::once(id).chain([title, url, snippet, kind, app].into_iter().flatten())
}

fn blot_source(source: &mut Source, secret: &str) {
    let Source { id, title, url, snippet, kind, app } = source;
    for text in std::iter::once(id).chain([title, url, snippet, kind, app].into_iter().flatten()) {
        if let Some(blotted) = blot(text, secret) {
            *text = blotted;
        }
    }
}

fn blot_value(value: &mut Value, secret: &str) {
    match value {
        Value::String(text) => {
            if let Some(blotted) = blot(text, secret) {
                *text = blotted;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|value| blot_value(value, secret)),
        Value::Object(all) => all.values_mut().for_each(|value| blot_value(value, secret)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The key as it stands within a string of JSON.
fn in_json(secret: &str) -> Cow<'_, str> {
    if !secret.contains(['"', '\\']) {
        return Cow::Borrowed(secret);
    }
    let quoted = Value::from(secret).to_string();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Cow::Owned(inner.unwrap_or_default().to_owned())
}

fn blot_frame(frame: Arc<str>, secret: &str) -> Arc<str> {
    blot(&frame, &in_json(secret)).map_or(frame, Arc::from)
}

/// A chunk of the dialect with another text; none when it is no chunk that has a text.
fn saying(frame: &str, text: &str) -> Option<Arc<str>> {
    type Fields = IndexMap<String, Box<RawValue>>;
    let mut fields: Fields = serde_json::from_str(frame).ok()?;
    let mut choices: Vec<Fields> = serde_json::from_str(fields.get("choices")?.get()).ok()?;
    let is_first = |choice: &&mut Fields| choice.get("index").is_none_or(|index| index.get() == "0");
    let choice = choices.iter_mut().find(is_first)?;
    let mut delta: Fields = serde_json::from_str(choice.get("delta")?.get()).ok()?;
    let is_text = |name: &&str| delta.get(*name).is_some_and(|value| value.get().starts_with('"'));
    let name = ["content", "refusal"].into_iter().find(is_text)?;
    delta.insert(name.to_owned(), to_raw_value(text).ok()?);
    choice.insert("delta".to_owned(), to_raw_value(&delta).ok()?);
    fields.insert("choices".to_owned(), to_raw_value(&choices).ok()?);
    serde_json::to_string(&fields).ok().map(Arc::from)
}

#[cfg(test)]
mod tests;

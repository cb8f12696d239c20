//! A client of an event stream, which notes when it was told what.

use std::time::Instant;

use serde_json::Value;

/// One event as it came over the wire.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: u64,
    pub kind: String,
    pub data: Value,
    /// Its bytes.
    pub raw: String,
    pub at: Instant,
}

impl Event {
    pub fn is_end(&self) -> bool {
        ["turn.completed", "turn.incomplete", "turn.failed", "turn.cancelled"].contains(&self.kind.as_str())
    }

    /// The turn in it.
    pub fn turn(&self) -> &Value {
        assert!(self.data["turn"].is_object(), "{}", self.raw);
        &self.data["turn"]
    }
}

/// A stream that is being read.
pub struct Stream {
    answer: reqwest::Response,
    buffer: Vec<u8>,
}

impl Stream {
    pub fn new(answer: reqwest::Response) -> Self {
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, buffer: Vec::new() }
    }

    /// The next event; none when the stream has ended, well or not.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let raw: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let raw = String::from_utf8(raw).unwrap();
                if raw.starts_with(':') {
                    continue;
                }
                return Some(event(raw));
            }
            let chunk = self.answer.chunk().await.ok()??;
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// The rest.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

fn event(raw: String) -> Event {
    let at = Instant::now();
    let mut lines = raw.lines();
    let mut field = |name: &str| {
        lines.next().and_then(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{raw:?}"))
    };
    let id = field("id: ").parse().unwrap();
    let kind = field("event: ").to_owned();
    let data = serde_json::from_str(field("data: ")).unwrap();
    Event { id, kind, data, raw, at }
}

/// What a reader of these events has before it: the pieces put together after the last replacement.
pub fn joined<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let mut text = String::new();
    for event in events {
        let piece = || event.data["text"].as_str().unwrap();
        match event.kind.as_str() {
            "message.delta" => text.push_str(piece()),
            "message.replaced" => piece().clone_into(&mut text),
            _ => {}
        }
    }
    text
}

/// Holds a whole stream to the contract's grammar; gives back the turn at its end.
pub fn whole(events: &[Event]) -> &Value {
    assert_eq!(events[0].kind, "turn.started");
    assert!(events.windows(2).all(|two| two[0].id < two[1].id), "numbers grow");
    let ends: Vec<_> = events.iter().filter(|event| event.is_end()).collect();
    assert_eq!(ends.len(), 1, "exactly one end");
    let last = events.last().unwrap();
    assert!(last.is_end(), "and nothing after it");
    assert_eq!(joined(events), text_of(last.turn()));
    last.turn()
}

/// The reply's text; empty when there is none.
pub fn text_of(turn: &Value) -> &str {
    turn["message"]["text"].as_str().unwrap_or_default()
}

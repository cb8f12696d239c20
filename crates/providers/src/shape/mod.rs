//! What an answer's body really is, told by its label **and** its first bytes, never by what was asked (`providers.md` §5.1).
//!
//! | first bytes that are not blank | label | is |
//! |---|---|---|
//! | `{`, `[` | any | JSON; lines of JSON once a second line follows a whole first one; text if it turns out not to be JSON and is not labelled as such |
//! | `data:` `event:` `id:` `retry:` `:` | any | an event stream |
//! | `<!doctype`, `<html` | any | an error page: cannot be read |
//! | other | `text/event-stream` | an event stream; raw text if it ends without a single event |
//! | other | JSON | JSON (a string, a number), or cannot be read |
//! | other | `text/html` | an error page |
//! | other | any other, none | raw text |
//!
//! Items are given out as soon as they are complete, and are the same in whatever pieces the bytes come; raw text comes in the
//! transfer's own pieces, cut between characters.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;
use upstream::sse;

/// A complete piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// The whole body, which is JSON or says so. Comes alone, at the clean end.
    Json(Bytes),
    /// A frame of an event stream, or a line of JSON (which has no event).
    Frame(sse::Frame),
    /// Raw text.
    Text(String),
}

/// The body is nothing that can be read: HTML, no UTF-8, or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be read")]
pub(crate) struct Unreadable;

/// Reads items from a body that comes in pieces of any size.
#[derive(Debug)]
pub(crate) struct Shape {
    label: Label,
    bytes_max: usize,
    state: State,
    /// Bytes that are not in an item yet.
    pending: BytesMut,
    /// No more bytes come, and the end was clean.
    finished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Json,
    JsonLines,
    EventStream,
    Html,
    Other,
}

#[derive(Debug)]
enum State {
    /// Not decided yet.
    Open,
    /// One JSON text, unless a whole first line is followed by another one.
    Json(FirstLine),
    Lines {
        /// How many pending bytes hold no line end: each is looked at once.
        searched: usize,
    },
    Frames {
        reader: sse::Reader,
        /// The body so far, where only its label says that it is a stream and no event has come: it may be text.
        unframed: Option<BytesMut>,
    },
    Text,
    /// Nothing more is given.
    Done,
}

#[derive(Debug, Clone, Copy)]
enum FirstLine {
    /// Its end has not come; so many pending bytes hold none.
    Open { searched: usize },
    /// It is JSON, and ends at this place of the pending bytes; nothing but blanks came since.
    Whole { end: usize },
    /// It proves nothing: the body is one JSON text.
    Passed,
}

impl Shape {
    /// How many blanks may come before anything else: some servers keep a connection alive with them.
    const BLANKS_MAX: usize = 64 * 1024;

    /// A reader of a body with these headers; `bytes_max` bounds a whole body, a frame and a line.
    pub(crate) fn new(headers: &HeaderMap, bytes_max: usize) -> Self {
        let label =
            headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = label.split(';').next().unwrap_or("").trim();
        // Nearly all write it small: nothing is copied then.
        let essence = if essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(essence.to_ascii_lowercase())
        } else {
            Cow::Borrowed(essence)
        };
        let label = match &*essence {
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/json-seq"
            | "application/stream+json" => Label::JsonLines,
            "application/json" | "text/json" => Label::Json,
            "text/event-stream" => Label::EventStream,
            "text/html" | "application/xhtml+xml" => Label::Html,
            other if other.ends_with("+json") => Label::Json,
            _ => Label::Other,
        };
        Self { label, bytes_max, state: State::Open, pending: BytesMut::new(), finished: false }
    }

    /// Takes in the next bytes.
    pub(crate) fn push(&mut self, bytes: &Bytes) {
        match &mut self.state {
            State::Frames { reader, unframed } => {
                reader.push(bytes);
                if let Some(before) = unframed {
                    before.extend_from_slice(bytes);
                    if before.len() > self.bytes_max {
                        *unframed = None;
                    }
                }
            }
            State::Done => {}
            _ => self.pending.extend_from_slice(bytes),
        }
    }

    /// Tells that the body has ended cleanly.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
        if let State::Frames { reader, .. } = &mut self.state {
            reader.finish();
        }
    }

    /// The next complete item; none until more bytes come, or ever when the body has ended.
    ///
    /// # Errors
    /// The body cannot be read; nothing more comes of it.
    pub(crate) fn next_item(&mut self) -> Result<Option<Item>, Unreadable> {
        let item = self.read();
        if item.is_err() {
            self.state = State::Done;
        }
        item
    }

    fn read(&mut self) -> Result<Option<Item>, Unreadable> {
        if matches!(self.state, State::Open) {
            self.decide()?;
        }
        if let State::Json(first) = self.state {
            self.state = self.look_for_lines(first);
        }
        match &mut self.state {
            State::Open | State::Done => Ok(None),
            State::Json(_) => self.whole(),
            State::Lines { .. } => self.line(),
            State::Frames { .. } => self.frame(),
            State::Text => self.text(),
        }
    }

    /// Tells from label and first bytes what the body is, as soon as they suffice.
    fn decide(&mut self) -> Result<(), Unreadable> {
        let body = self.pending.as_ref();
        let body = match body.strip_prefix(BOM) {
            Some(rest) => rest,
            None if BOM.starts_with(body) && !self.finished => return Ok(()),
            None => body,
        };
        let body = body.trim_ascii_start();
        // RS begins each text of `application/json-seq`.
        let body = body.strip_prefix(b"\x1e").unwrap_or(body);
        let Some(&first) = body.first() else {
            if self.pending.len() > Self::BLANKS_MAX {
                return Err(Unreadable);
            }
            if self.finished {
                self.state = State::Done;
            }
            return Ok(());
        };
        let begins = |words: &[&str]| {
            let mut open = false;
            for word in words {
                let head = body.get(..word.len().min(body.len())).unwrap_or_default();
                if word.as_bytes().get(..head.len()).is_some_and(|start| head.eq_ignore_ascii_case(start)) {
                    if head.len() == word.len() {
                        return Begins::Yes;
                    }
                    open = true;
                }
            }
            if open && !self.finished { Begins::Perhaps } else { Begins::No }
        };
        self.state = match (first, self.label) {
            (b'{' | b'[', Label::JsonLines) => State::Lines { searched: 0 },
            (b'{' | b'[', _) => State::Json(FirstLine::Open { searched: 0 }),
            _ => match (begins(FIELDS), begins(PAGES)) {
                (Begins::Yes, _) => self.frames(true),
                (_, Begins::Yes) => return Err(Unreadable),
                (Begins::Perhaps, _) | (_, Begins::Perhaps) => return Ok(()),
                (Begins::No, Begins::No) => match self.label {
                    Label::EventStream => self.frames(false),
                    Label::Json => State::Json(FirstLine::Passed),
                    Label::JsonLines => State::Lines { searched: 0 },
                    Label::Html => return Err(Unreadable),
                    Label::Other => State::Text,
                },
            },
        };
        Ok(())
    }

    /// Frames from here on; `certain`: the body itself says so.
    fn frames(&mut self, certain: bool) -> State {
        let mut reader = sse::Reader::new(sse::Limits { frame_bytes_max: self.bytes_max });
        // Taken whole: what was split off would be held by the empty rest for as long as the stream runs.
        let body = std::mem::take(&mut self.pending);
        let unframed = (!certain).then(|| body.clone());
        reader.push(&body.freeze());
        if self.finished {
            reader.finish();
        }
        State::Frames { reader, unframed }
    }

    fn frame(&mut self) -> Result<Option<Item>, Unreadable> {
        let State::Frames { reader, unframed } = &mut self.state else { return Ok(None) };
        if let Some(frame) = reader.next_frame().map_err(|_| Unreadable)? {
            *unframed = None;
            return Ok(Some(Item::Frame(frame)));
        }
        match unframed.take_if(|_| self.finished) {
            Some(text) => {
                String::from_utf8(text.into()).map(|text| Some(Item::Text(text))).map_err(|_| Unreadable)
            }
            None => Ok(None),
        }
    }

    /// One JSON text, or lines of it? They are lines once a whole first line is followed by something.
    fn look_for_lines(&self, first: FirstLine) -> State {
        let end = match first {
            FirstLine::Passed => return State::Json(FirstLine::Passed),
            FirstLine::Whole { end } => end,
            FirstLine::Open { searched } => {
                let begins = self.pending.len().saturating_sub(self.trimmed().len());
                // Line ends before the first byte are blanks.
                let from = searched.max(begins);
                let fresh = self.pending.get(from..).unwrap_or_default();
                let Some(place) = memchr(b'\n', fresh) else {
                    return State::Json(FirstLine::Open { searched: self.pending.len() });
                };
                let end = from.saturating_add(place);
                let line = self.pending.get(begins..end).unwrap_or_default();
                if serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err() {
                    return State::Json(FirstLine::Passed);
                }
                end
            }
        };
        match self.pending.get(end..).unwrap_or_default().trim_ascii_start().first() {
            None => State::Json(FirstLine::Whole { end }),
            Some(b'{') => State::Lines { searched: 0 },
            Some(_) => State::Json(FirstLine::Passed),
        }
    }

    /// The pending bytes without what may stand before the first.
    fn trimmed(&self) -> &[u8] {
        self.pending.strip_prefix(BOM).unwrap_or(&self.pending).trim_ascii_start()
    }

    fn whole(&mut self) -> Result<Option<Item>, Unreadable> {
        if self.pending.len() > self.bytes_max {
            return Err(Unreadable);
        }
        if !self.finished {
            return Ok(None);
        }
        self.state = State::Done;
        let body = self.pending.split().freeze();
        let is_json = || crate::lenient::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        if self.label == Label::Other && !is_json() {
            // An answer in raw text that begins with a bracket: `[1] says …`.
            return String::from_utf8(body.into()).map(|text| Some(Item::Text(text))).map_err(|_| Unreadable);
        }
        Ok(Some(Item::Json(body)))
    }

    fn line(&mut self) -> Result<Option<Item>, Unreadable> {
        loop {
            let State::Lines { searched } = &mut self.state else { return Ok(None) };
            let fresh = self.pending.get(*searched..).unwrap_or_default();
            let line = match memchr(b'\n', fresh) {
                Some(place) => self.pending.split_to(searched.saturating_add(place).saturating_add(1)),
                None if self.finished && !self.pending.is_empty() => self.pending.split(),
                None if self.pending.len() > self.bytes_max => return Err(Unreadable),
                None => {
                    *searched = self.pending.len();
                    return Ok(None);
                }
            };
            *searched = 0;
            let line = std::str::from_utf8(&line).map_err(|_| Unreadable)?;
            let line =
                line.trim_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '\u{1e}' | '\u{feff}'));
            if !line.is_empty() {
                return Ok(Some(Item::Frame(sse::Frame { event: None, data: line.to_owned() })));
            }
        }
    }

    fn text(&mut self) -> Result<Option<Item>, Unreadable> {
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            // No more than the beginning of a character is left over.
            Err(error) if error.error_len().is_none() && !self.finished => error.valid_up_to(),
            Err(_) => return Err(Unreadable),
        };
        let text = self.pending.split_to(whole);
        let text = std::str::from_utf8(&text).map_err(|_| Unreadable)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Ok((!text.is_empty()).then(|| Item::Text(text.to_owned())))
    }
}

/// Where in a body's head its first JSON stands, if it has any: all of it, or the first event's data.
pub(crate) fn first_json(head: &[u8]) -> &[u8] {
    match head.strip_prefix(BOM).unwrap_or(head).trim_ascii_start().first() {
        Some(b'{' | b'[') => head,
        _ => {
            head.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:")).unwrap_or_default()
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What lines of an event stream begin with.
const FIELDS: &[&str] = &[":", "data:", "event:", "id:", "retry:"];

/// What pages begin with.
const PAGES: &[&str] = &["<!doctype", "<html"];

enum Begins {
    Yes,
    No,
    /// Too few bytes to tell.
    Perhaps,
}

#[cfg(test)]
mod tests;

//! The event log of a turn: one compact form for the running turn, for the store and for every reader.
//!
//! A delta costs four bytes beside its text; the text stands once, in one buffer. Every event has a number: 1, 2, 3 …; after
//! a crash the numbers go on above all that can have been given out before it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Content, EventRef, Frame, Part, Progress, Source, Turn};

/// How much more room a log's text is given at least, in bytes.
const TEXT_BYTES_MORE: usize = 256;

/// A stored log that cannot be read: the store was damaged or written by a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event log of the turn cannot be read")]
pub struct LogError;

/// What an event is that is no delta: nearly all are.
#[derive(Debug, Clone)]
enum Mark {
    Replaced,
    Started(Arc<Turn>),
    Progress(Box<Progress>),
    Sources(Arc<Vec<Source>>),
    Citation(Arc<Vec<String>>),
    ToolCall(Box<Part>),
    Ended(Arc<Turn>),
}

/// A mark in the store: a bare number is the length of a delta in bytes.
#[derive(Debug, Serialize, Deserialize)]
enum StoredMark {
    #[serde(rename = "r")]
    Replaced(u32),
    #[serde(rename = "p")]
    Progress(Progress),
    #[serde(rename = "s")]
    Sources(Vec<Source>),
    #[serde(rename = "c")]
    Citation(Vec<String>),
    #[serde(rename = "t")]
    ToolCall(Part),
    #[serde(rename = "j")]
    Jump(u64),
    #[serde(rename = "a")]
    Started,
    #[serde(rename = "z")]
    Ended,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Delta(u32),
    Mark(StoredMark),
}

/// A part of a log, for the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogSlice {
    /// The text that its deltas and replacements carry, in order.
    pub text: String,
    /// The events' order, lengths and the rest, as JSON.
    pub marks: String,
}

/// The events of one turn so far.
#[derive(Debug, Clone, Default)]
pub struct EventLog {
    text: String,
    /// Where each event's text ends. It begins where the one's before ends; an event without text has none in between.
    ends: Vec<u32>,
    /// The events that are no deltas, with their index, in order.
    marks: Vec<(usize, Mark)>,
    /// Where the text that still holds begins: after the last replacement's start.
    current: u32,
    /// From this index on the numbers are higher: (index, number of the event at the index).
    jump: Option<(usize, u64)>,
    sources: Option<Arc<Vec<Source>>>,
    frames: VecDeque<Frame>,
    /// The call that gave the last frame.
    frame_call: Option<u32>,
    /// How many frames were forgotten; those in `frames` came after them.
    frames_forgotten: usize,
}

impl EventLog {
    /// The longest that all text of one log may be, replaced text included: what a `u32` can point at.
    pub const TEXT_BYTES_MAX: usize = u32::MAX as usize;

    /// A log that begins with the accepted turn.
    #[must_use]
    pub fn started(turn: Arc<Turn>) -> Self {
        let mut log = Self::default();
        log.mark(Mark::Started(turn));
        log
    }

    /// The number of the last event; 0 when there is none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.ends.len().checked_sub(1).map_or(0, |index| self.seq_at(index))
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether the end is in it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended().is_some()
    }

    /// The turn as it ended.
    #[must_use]
    pub fn ended(&self) -> Option<&Arc<Turn>> {
        match self.marks.last() {
            Some((at, Mark::Ended(turn))) if at.saturating_add(1) == self.ends.len() => Some(turn),
            _ => None,
        }
    }

    /// The text that holds: since the last replacement.
    #[must_use]
    pub fn current_text(&self) -> &str {
        self.text.get(self.current as usize..).unwrap_or_default()
    }

    /// Bytes of all text in it, replaced text included.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// The last list of sources.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        self.sources.as_ref().map_or(&[], |sources| sources.as_slice())
    }

    /// Whether a citation stands in the text that holds.
    #[must_use]
    pub fn has_citation(&self) -> bool {
        self.holding().any(|(_, mark)| matches!(mark, Mark::Citation(_)))
    }

    /// Whether a tool call stands in what holds.
    #[must_use]
    pub fn has_tool_call(&self) -> bool {
        self.holding().any(|(_, mark)| matches!(mark, Mark::ToolCall(_)))
    }

    /// Appends text. Nothing is appended for no text.
    pub fn delta(&mut self, text: &str) {
        if !text.is_empty()
            && let Some(end) = self.append(text)
        {
            self.ends.push(end);
        }
    }

    /// Puts `text` in place of all text, citations and tool calls so far.
    pub fn replace(&mut self, text: &str) {
        let start = self.end_of_text();
        if let Some(end) = self.append(text) {
            self.current = start;
            self.marks.push((self.ends.len(), Mark::Replaced));
            self.ends.push(end);
        }
    }

    /// Says once more what stands: its text in place of all that a reader may have, its citations again where they hold.
    ///
    /// Citations stand in the middle of text, so that the text is replaced by its beginning and the rest appended.
    pub fn say_again(&mut self) {
        let content = self.content();
        let mut parts = content.parts.into_iter().peekable();
        let first = match parts.next_if(|part| matches!(part, Part::Text { .. })) {
            Some(Part::Text { text }) => text,
            _ => String::new(),
        };
        self.replace(&first);
        for part in parts {
            match part {
                Part::Text { text } => self.delta(&text),
                Part::Citation { source_ids } => self.cite(source_ids),
                call @ Part::ToolCall { .. } => self.tool_call(call),
                Part::Image { .. } => {}
            }
        }
    }

    /// Appends a step.
    pub fn progress(&mut self, progress: Progress) {
        self.mark(Mark::Progress(Box::new(progress)));
    }

    /// Appends the list of sources, unless it is the one that holds already.
    pub fn set_sources(&mut self, sources: Vec<Source>) {
        if self.sources() != sources.as_slice() {
            let sources = Arc::new(sources);
            self.sources = Some(Arc::clone(&sources));
            self.mark(Mark::Sources(sources));
        }
    }

    /// Appends a citation.
    pub fn cite(&mut self, source_ids: Vec<String>) {
        self.mark(Mark::Citation(Arc::new(source_ids)));
    }

    /// Keeps a tool call at this place. It is no event of the native stream: readers of that see its number skipped.
    pub fn tool_call(&mut self, call: Part) {
        self.mark(Mark::ToolCall(Box::new(call)));
    }

    /// Keeps a frame. It is no event: it has no number, is not stored, and native readers never see it.
    pub fn frame(&mut self, frame: Frame) {
        self.frame_call = Some(frame.call);
        self.frames.push_back(frame);
    }

    /// How many frames there were so far.
    #[must_use]
    pub fn frame_count(&self) -> usize {
        self.frames_forgotten.saturating_add(self.frames.len())
    }

    /// How many of them were forgotten.
    #[must_use]
    pub fn frames_forgotten(&self) -> usize {
        self.frames_forgotten
    }

    /// The frames behind so many, in order, as far as they are not forgotten.
    pub fn frames_after(&self, count: usize) -> impl Iterator<Item = &Frame> {
        self.frames.iter().skip(count.saturating_sub(self.frames_forgotten))
    }

    /// The call that gave the last frame, forgotten or not.
    #[must_use]
    pub fn frame_call(&self) -> Option<u32> {
        self.frame_call
    }

    /// Forgets the first so many frames.
    pub fn forget_frames(&mut self, count: usize) {
        while self.frames_forgotten < count && self.frames.pop_front().is_some() {
            self.frames_forgotten = self.frames_forgotten.saturating_add(1);
        }
        if self.frames.is_empty() {
            // For most of a stream's time none is there.
            self.frames = VecDeque::new();
        }
    }

    /// Appends the end. Nothing may be appended after it.
    pub fn end(&mut self, turn: Arc<Turn>) {
        self.mark(Mark::Ended(turn));
    }

    /// Lets the numbers go on above `reserved`: what the crashed process can have given out.
    pub fn jump_above(&mut self, reserved: u64) {
        self.jump = Some((self.ends.len(), reserved.max(self.last_seq()).saturating_add(1)));
    }

    /// The reply as it stands: text, citations and tool calls since the last replacement.
    #[must_use]
    pub fn content(&self) -> Content {
        let mut parts: Vec<Part> = Vec::new();
        let mut begin = self.current;
        // All text between two of those that stand in its middle is one part.
        let mut text_to = |end: u32, parts: &mut Vec<Part>| {
            let text = self.slice(begin, end);
            begin = end;
            parts.extend((!text.is_empty()).then(|| Part::Text { text: text.to_owned() }));
        };
        for (index, mark) in self.holding() {
            let part = match mark {
                Mark::Citation(ids) => Part::Citation { source_ids: ids.as_ref().clone() },
                Mark::ToolCall(call) => call.as_ref().clone(),
                Mark::Replaced | Mark::Started(_) | Mark::Progress(_) | Mark::Sources(_) | Mark::Ended(_) => {
                    continue;
                }
            };
            text_to(self.text_ends_at(*index), &mut parts);
            parts.push(part);
        }
        text_to(self.end_of_text(), &mut parts);
        Content { parts }
    }

    /// The first event numbered above `after`, with its number; none when there is none yet.
    #[must_use]
    pub fn next_after(&self, after: u64) -> Option<(u64, EventRef<'_>)> {
        let mut index = self.index_above(after);
        while index < self.ends.len() {
            match self.mark_at(index) {
                Some(Mark::ToolCall(_)) => index = index.saturating_add(1),
                mark => return Some((self.seq_at(index), self.event(index, mark))),
            }
        }
        None
    }

    /// What a store needs to have the events numbered above `after`, and nothing else, once more.
    #[must_use]
    pub fn slice_after(&self, after: u64) -> LogSlice {
        self.slice_up_to(after, usize::MAX).0
    }

    /// The same of as many events as have so many bytes of text together, at least one: with the number of the last of them (`after`
    /// when there is none).
    #[must_use]
    pub fn slice_up_to(&self, after: u64, text_bytes: usize) -> (LogSlice, u64) {
        let first = self.index_above(after);
        let mut last = after;
        let mut slice = LogSlice::default();
        let mut stored = Vec::with_capacity(self.ends.len().saturating_sub(first));
        for index in first..self.ends.len() {
            if slice.text.len() >= text_bytes.max(1) {
                break;
            }
            last = self.seq_at(index);
            if let Some((_, seq)) = self.jump.filter(|(at, _)| *at == index) {
                stored.push(Stored::Mark(StoredMark::Jump(seq)));
            }
            let text = self.text_of(index);
            slice.text.push_str(text);
            // No event has more text than a `u32` counts.
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            let Some(mark) = self.mark_at(index) else {
                stored.push(Stored::Delta(length));
                continue;
            };
            stored.push(match mark {
                Mark::Replaced => Stored::Mark(StoredMark::Replaced(length)),
                Mark::Started(_) => Stored::Mark(StoredMark::Started),
                Mark::Progress(progress) => Stored::Mark(StoredMark::Progress(progress.as_ref().clone())),
                Mark::Sources(sources) => Stored::Mark(StoredMark::Sources(sources.as_ref().clone())),
                Mark::Citation(ids) => Stored::Mark(StoredMark::Citation(ids.as_ref().clone())),
                Mark::ToolCall(call) => Stored::Mark(StoredMark::ToolCall(call.as_ref().clone())),
                Mark::Ended(_) => Stored::Mark(StoredMark::Ended),
            });
        }
        // Serialising plain data into a string cannot fail.
        slice.marks = serde_json::to_string(&stored).unwrap_or_default();
        (slice, last)
    }

    /// The whole log and the end behind it, for the store: written before any reader is told of the end.
    #[must_use]
    pub fn slice_ended(&self) -> LogSlice {
        let mut slice = self.slice_after(0);
        if !self.is_ended() && slice.marks.pop() == Some(']') {
            slice.marks.push_str(if slice.marks.len() > 1 { ",\"z\"]" } else { "\"z\"]" });
        }
        slice
    }

    /// Whether any text was put in another's place: then the log holds more than the reply's text.
    #[must_use]
    pub fn has_replacement(&self) -> bool {
        self.marks.iter().any(|(_, mark)| matches!(mark, Mark::Replaced))
    }

    /// Reads a log back from its slices in order. `started` and `ended` are the turn as it was accepted and as it ended.
    ///
    /// # Errors
    /// The slices do not fit together or name more text than there is.
    pub fn restore<'a>(
        slices: impl IntoIterator<Item = (&'a str, &'a str)>,
        started: &Arc<Turn>,
        ended: Option<&Arc<Turn>>,
    ) -> Result<Self, LogError> {
        let mut log = Self::default();
        for (text, marks) in slices {
            let stored: Vec<Stored> = serde_json::from_str(marks).map_err(|_| LogError)?;
            log.take(text, stored, 0, started, ended)?;
        }
        Ok(log)
    }

    /// Appends what a slice of a running turn has beyond this log's end; `last` is the number of the slice's last event, and `ended`
    /// the turn as that shows it. False when events between the two are missing: then nothing is appended.
    ///
    /// # Errors
    /// The slice cannot be read.
    pub fn extend(
        &mut self,
        slice: &LogSlice,
        last: u64,
        started: &Arc<Turn>,
        ended: Option<&Arc<Turn>>,
    ) -> Result<bool, LogError> {
        let stored: Vec<Stored> = serde_json::from_str(&slice.marks).map_err(|_| LogError)?;
        let before = last.checked_sub(stored.len() as u64).ok_or(LogError)?;
        let Some(known) = self.last_seq().checked_sub(before) else { return Ok(false) };
        let known = usize::try_from(known).map_err(|_| LogError)?;
        if known < stored.len() {
            self.take(&slice.text, stored, known, started, ended)?;
        }
        Ok(true)
    }

    /// Appends stored marks but for the first `known` ones.
    fn take(
        &mut self,
        text: &str,
        stored: Vec<Stored>,
        known: usize,
        started: &Arc<Turn>,
        ended: Option<&Arc<Turn>>,
    ) -> Result<(), LogError> {
        let mut rest = text;
        let mut take = |length: u32| -> Result<&str, LogError> {
            let (piece, after) = rest.split_at_checked(length as usize).ok_or(LogError)?;
            rest = after;
            Ok(piece)
        };
        for (index, mark) in stored.into_iter().enumerate() {
            let is_known = index < known;
            match mark {
                Stored::Delta(length) | Stored::Mark(StoredMark::Replaced(length)) if is_known => {
                    take(length)?;
                }
                Stored::Mark(_) if is_known => {}
                Stored::Delta(length) => self.delta(take(length)?),
                Stored::Mark(StoredMark::Replaced(length)) => self.replace(take(length)?),
                Stored::Mark(StoredMark::Progress(progress)) => self.progress(progress),
                Stored::Mark(StoredMark::Sources(sources)) => {
                    let sources = Arc::new(sources);
                    self.sources = Some(Arc::clone(&sources));
                    self.mark(Mark::Sources(sources));
                }
                Stored::Mark(StoredMark::Citation(ids)) => self.cite(ids),
                Stored::Mark(StoredMark::ToolCall(call)) => self.tool_call(call),
                Stored::Mark(StoredMark::Jump(seq)) => self.jump = Some((self.ends.len(), seq)),
                Stored::Mark(StoredMark::Started) => self.mark(Mark::Started(Arc::clone(started))),
                Stored::Mark(StoredMark::Ended) => self.end(Arc::clone(ended.ok_or(LogError)?)),
            }
        }
        Ok(())
    }

    /// Appends an event without text.
    fn mark(&mut self, mark: Mark) {
        self.marks.push((self.ends.len(), mark));
        self.ends.push(self.end_of_text());
    }

    /// Appends text, and gives where it ends. None where it would be too long.
    fn append(&mut self, text: &str) -> Option<u32> {
        let end = u32::try_from(self.text.len().checked_add(text.len())?).ok()?;
        if self.text.capacity() - self.text.len() < text.len() {
            // By an eighth, not twice: thousands of replies grow at the same time, and half of the room would be empty.
            self.text.reserve_exact(text.len().max(self.text.len() / 8).max(TEXT_BYTES_MORE));
        }
        self.text.push_str(text);
        Some(end)
    }

    fn slice(&self, start: u32, end: u32) -> &str {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Where all text ends.
    fn end_of_text(&self) -> u32 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Where the text ends that there is with this event.
    fn text_ends_at(&self, index: usize) -> u32 {
        self.ends.get(index).copied().unwrap_or_default()
    }

    /// An event's text.
    fn text_of(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.text_ends_at(before));
        self.slice(start, self.text_ends_at(index))
    }

    /// What an event is; none: a delta.
    fn mark_at(&self, index: usize) -> Option<&Mark> {
        // Readers are mostly at the end, behind all of these.
        if self.marks.last().is_none_or(|(last, _)| *last < index) {
            return None;
        }
        let place = self.marks.binary_search_by_key(&index, |(at, _)| *at).ok()?;
        self.marks.get(place).map(|(_, mark)| mark)
    }

    /// The events that are no deltas since the last replacement, it included, with their index.
    fn holding(&self) -> impl Iterator<Item = &(usize, Mark)> {
        let first = self.marks.iter().rposition(|(_, mark)| matches!(mark, Mark::Replaced)).unwrap_or(0);
        self.marks.iter().skip(first)
    }

    fn seq_at(&self, index: usize) -> u64 {
        match self.jump {
            Some((at, seq)) if index >= at => seq.saturating_add((index - at) as u64),
            _ => (index as u64).saturating_add(1),
        }
    }

    /// The index of the first event numbered above `after`.
    fn index_above(&self, after: u64) -> usize {
        let plain = usize::try_from(after).unwrap_or(usize::MAX);
        match self.jump {
            Some((at, seq)) if after >= seq => {
                at.saturating_add(usize::try_from(after - seq).unwrap_or(usize::MAX)).saturating_add(1)
            }
            Some((at, _)) => plain.min(at),
            None => plain,
        }
    }

    fn event<'a>(&'a self, index: usize, mark: Option<&'a Mark>) -> EventRef<'a> {
        match mark {
            None => EventRef::Delta(self.text_of(index)),
            Some(Mark::Replaced) => EventRef::Replaced(self.text_of(index)),
            Some(Mark::Started(turn)) => EventRef::Started(turn),
            Some(Mark::Progress(progress)) => EventRef::Progress(progress),
            Some(Mark::Sources(sources)) => EventRef::Sources(sources),
            Some(Mark::Citation(ids)) => EventRef::Citation(ids),
            Some(Mark::Ended(turn)) => EventRef::Ended(turn),
            // Callers skip tool calls; an empty delta changes nothing for a reader.
            Some(Mark::ToolCall(_)) => EventRef::Delta(""),
        }
    }
}

#[cfg(test)]
mod tests;

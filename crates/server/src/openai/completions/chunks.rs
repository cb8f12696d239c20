//! A turn's event log, or what a provider of the same dialect sent, as chunks.
//!
//! Which of the two is decided by whose answer it is, once there is something to send: until then nothing is, so that a client's own
//! retry sees a real status. Where a provider's own chunks break off, ours go on as soon as another call's text does. A chunk that was
//! sent is not taken back: what does not continue it breaks the stream.

use bytes::Bytes;
use chat::{AssistantName, EventRef, Frame, Source, Turn, TurnError};
use engine::Seen;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

use super::answer::{ToolCall, tool_calls};
use super::frame::{self, Frames};
use crate::openai::sent::{Differs, Sent};
use crate::openai::shape::{self, Counts, Usage};
use crate::openai::watch::Script;

/// Whose words the chunks are.
#[derive(Debug)]
enum Stage {
    /// Not known yet: nothing is sent.
    Waiting,
    /// The provider's own.
    Frames(Frames),
    /// Ours.
    Events,
}

/// The chunks of one stream.
#[derive(Debug)]
pub(super) struct Chunks {
    include_usage: bool,
    /// The turn as it stood when that came which is written: the assistant is the one whose words they are.
    turn: Option<Turn>,
    stage: Stage,
    /// The call that runs; earlier ones have failed.
    call: u32,
    /// Calls that were told to follow another.
    told: u32,
    /// Frames of that call, while nothing is sent.
    held: Vec<Arc<str>>,
    sent: Sent,
    /// Another call's text can go on with what the provider's own chunks said.
    continuable: bool,
    /// Chunks of another call came and were not sent: if its text does not follow, the stream is not whole.
    passed_over: bool,
    upstream_model: Option<String>,
    /// Whose words the stream began with, and the provider's own model as far as it was known then.
    begun_by: Option<(AssistantName, Option<String>)>,
    out: Vec<u8>,
    end: Option<Option<TurnError>>,
}

/// OpenAI's `chat.completion.chunk`: a piece of a streamed completion.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletionChunk")]
pub(crate) struct Chunk<'a> {
    /// The turn's id with another prefix: the same in all chunks.
    #[schemars(extend("pattern" = "^chatcmpl-[0-9a-f]{32}$"))]
    id: &'a str,
    #[schemars(extend("const" = "chat.completion.chunk"))]
    object: &'static str,
    /// When it was asked for, in seconds since 1970.
    created: i64,
    /// The assistant that answers.
    model: &'a str,
    /// One, or none in the chunk that has the usage.
    choices: &'a [Choice<'a>],
    /// There only where the client asked for usage: null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    /// What the reply rests on, in the chunk that has the `finish_reason`: not OpenAI's.
    #[serde(skip_serializing_if = "<[Source]>::is_empty")]
    sources: &'a [Source],
}

/// What a chunk adds.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletionChunkChoice")]
struct Choice<'a> {
    /// Always 0.
    index: u8,
    delta: Delta<'a>,
    logprobs: (),
    /// Why it ended: null in all chunks but the last that has a choice.
    #[schemars(extend("enum" = ["stop", "length", "content_filter", "tool_calls", null]))]
    finish_reason: Option<&'static str>,
}

/// What is appended to the message.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletionDelta")]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("const" = "assistant"))]
    role: Option<&'static str>,
    /// Text to append.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

impl Chunks {
    pub(super) fn new(include_usage: bool) -> Self {
        Self {
            include_usage,
            turn: None,
            stage: Stage::Waiting,
            call: 0,
            told: 0,
            held: Vec::new(),
            sent: Sent::default(),
            continuable: true,
            passed_over: false,
            upstream_model: None,
            begun_by: None,
            out: Vec::new(),
            end: None,
        }
    }

    /// The assistant whose words the stream began with, and the provider's own model.
    pub(super) fn author(&self) -> Option<(&AssistantName, Option<&str>)> {
        let (assistant, model) = self.begun_by.as_ref()?;
        let later = || self.turn.as_ref().filter(|turn| turn.assistant == *assistant)?.model.as_deref();
        Some((assistant, self.upstream_model.as_deref().or(model.as_deref()).or_else(later)))
    }
}

impl Script for Chunks {
    fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Waiting)
    }

    fn ended(&self) -> Option<Option<&TurnError>> {
        self.end.as_ref().map(Option::as_ref)
    }

    fn take_out(&mut self) -> Bytes {
        std::mem::take(&mut self.out).into()
    }

    fn break_off(&mut self, error: TurnError) {
        if self.end.is_some() {
            return;
        }
        if self.has_begun() {
            self.put_line(&crate::openai::failure(&error));
        }
        self.end = Some(Some(error));
    }

    fn take(&mut self, seen: Seen<'_>) {
        if self.end.is_some() {
            return;
        }
        match seen {
            Seen::Standing(turn) if self.turn.as_ref() != Some(turn) => self.turn = Some(turn.clone()),
            Seen::Standing(_) => {}
            Seen::Frame(frame) => self.frame(frame),
            Seen::Event(_, event) => match event {
                EventRef::Progress(progress) if frame::is_another_call(&progress.step) => self.another_call(),
                EventRef::Delta(text) => self.text(|sent| sent.append(text)),
                EventRef::Replaced(text) => self.text(|sent| sent.replace(text)),
                EventRef::Ended(turn) => self.finish(turn),
                EventRef::Started(_)
                | EventRef::Progress(_)
                | EventRef::Sources(_)
                | EventRef::Citation(_) => {}
            },
        }
    }
}

impl Chunks {
    fn frame(&mut self, frame: &Frame) {
        if frame.call > self.call {
            if matches!(self.stage, Stage::Frames(_)) {
                // Text of the call before may still come: what happened to that is said behind it.
                self.passed_over = true;
                return;
            }
            self.next_call(frame.call);
        }
        if frame.call < self.call || self.end.is_some() {
            return;
        }
        match &self.stage {
            Stage::Frames(_) => self.put_frame(&frame.json),
            Stage::Events => {}
            Stage::Waiting => {
                self.held.push(Arc::clone(&frame.json));
                if Frame::says_something(&frame.json) {
                    self.begin();
                }
            }
        }
    }

    fn another_call(&mut self) {
        self.told += 1;
        if self.told > self.call {
            self.next_call(self.told);
        }
    }

    /// Another call has begun: what was held is of one that failed; what was sent of it is continued by events.
    fn next_call(&mut self, call: u32) {
        self.call = call;
        self.held.clear();
        if matches!(self.stage, Stage::Frames(_)) {
            if self.continuable {
                self.stage = Stage::Events;
            } else {
                self.break_off(shape::taken_back());
            }
        }
    }

    /// There is something to send.
    fn begin(&mut self) {
        let Some(turn) = &self.turn else { return };
        self.begun_by = Some((turn.assistant.clone(), turn.model.clone()));
        if self.held.is_empty() {
            self.stage = Stage::Events;
            let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
            self.put_choice(delta, None, &[]);
            return;
        }
        self.stage = Stage::Frames(Frames::new(turn.id, &turn.assistant));
        for frame in std::mem::take(&mut self.held) {
            self.put_frame(&frame);
        }
    }

    fn text<'a>(&mut self, take: impl FnOnce(&mut Sent) -> Result<&'a str, Differs>) {
        if !self.has_begun() {
            self.begin();
        }
        if matches!(self.stage, Stage::Frames(_)) {
            // The frame that it was made of has been sent.
            self.continuable &= take(&mut self.sent).is_ok();
            return;
        }
        match take(&mut self.sent) {
            Ok("") => {}
            Ok(text) => self.put_choice(Delta { content: Some(text), ..Delta::default() }, None, &[]),
            Err(Differs) => self.break_off(shape::taken_back()),
        }
    }

    fn finish(&mut self, turn: &Turn) {
        self.turn = Some(turn.clone());
        if let Some(error) = shape::broken(turn) {
            return self.break_off(error);
        }
        if !self.has_begun() {
            self.begin();
        }
        if matches!(self.stage, Stage::Frames(_)) && self.passed_over {
            return self.break_off(shape::taken_back());
        }
        if matches!(self.stage, Stage::Events) {
            if !self.sent.is_whole() {
                return self.break_off(shape::taken_back());
            }
            let calls = tool_calls(turn, Some);
            if !calls.is_empty() {
                self.put_choice(Delta { tool_calls: calls, ..Delta::default() }, None, &[]);
            }
            self.put_choice(Delta::default(), Some(shape::finish_reason(turn)), &turn.sources);
            if let Some(usage) = Counts::of(turn).filter(|_| self.include_usage) {
                self.put(&[], Some(usage.into()), &[]);
            }
        }
        self.put_line(b"[DONE]");
        self.end = Some(None);
    }

    fn put_frame(&mut self, json: &str) {
        let Stage::Frames(frames) = &self.stage else { return };
        if self.upstream_model.is_none() {
            self.upstream_model = frame::model(json);
        }
        let begin = self.out.len();
        self.out.extend_from_slice(b"data: ");
        if frames.write(json, &mut self.out) {
            self.out.extend_from_slice(b"\n\n");
            self.continuable &= !frame::calls_a_tool(json);
        } else {
            self.out.truncate(begin);
        }
    }

    fn put_choice(&mut self, delta: Delta<'_>, finish_reason: Option<&'static str>, sources: &[Source]) {
        let choice = Choice { index: 0, delta, logprobs: (), finish_reason };
        self.put(&[choice], None, sources);
    }

    fn put(&mut self, choices: &[Choice<'_>], usage: Option<Usage>, sources: &[Source]) {
        let Some(turn) = &self.turn else { return };
        let chunk = Chunk {
            id: &shape::id(super::PREFIX, turn.id),
            object: "chat.completion.chunk",
            created: shape::seconds(turn.created_at),
            model: turn.assistant.as_str(),
            choices,
            usage: self.include_usage.then_some(usage),
            sources,
        };
        let json = serde_json::to_vec(&chunk).unwrap_or_default();
        self.put_line(&json);
    }

    fn put_line(&mut self, json: &[u8]) {
        for part in [b"data: ", json, b"\n\n"] {
            self.out.extend_from_slice(part);
        }
    }
}

//! A turn's event log as OpenAI's events.
//!
//! Every reading goes through the log from its first event, so that an event has the same `sequence_number` whoever reads, and
//! whenever: what a client has seen is counted, and not sent. After a crash the log's own numbers jump above all that can have been
//! given out; these jump with them.

use bytes::{BufMut, Bytes, BytesMut};
use chat::{EventRef, Turn, TurnError, TurnStatus};
use engine::Seen;
use serde::Serialize;

use super::object::{self, Echo, Object};
use crate::openai::item::{Item, Piece};
use crate::openai::sent::{Differs, Sent};
use crate::openai::shape;
use crate::openai::watch::Script;

/// When the answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// At once.
    Accepted,
    /// With the first text, so that a client's own retry sees a real status.
    Speaking,
    /// With the end, of a turn that has ended: how many events it has decides on the status.
    Ended,
}

/// The events of one stream.
#[derive(Debug)]
pub(super) struct Events {
    begins: Begins,
    echo: Echo,
    /// The last number that the client has seen.
    after: Option<u64>,
    /// The next number.
    next: u64,
    /// The number of the log's last event.
    seq: u64,
    /// The id of the item that the reply is.
    item: String,
    accepted: bool,
    /// The turn as it was accepted.
    begun: Option<Turn>,
    speaking: bool,
    sent: Sent,
    out: BytesMut,
    end: Option<Option<TurnError>>,
}

#[derive(Serialize)]
struct Event<'a, T> {
    r#type: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct OfResponse<'a> {
    response: Object<'a>,
}

#[derive(Serialize)]
struct OfItem<'a> {
    output_index: usize,
    item: &'a Item,
}

#[derive(Serialize)]
struct OfPart<'a> {
    item_id: &'a str,
    output_index: usize,
    content_index: usize,
    part: Piece,
}

#[derive(Serialize)]
struct OfText<'a> {
    item_id: &'a str,
    output_index: usize,
    content_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: [(); 0],
}

#[derive(Serialize)]
struct OfArguments<'a> {
    item_id: &'a str,
    output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
}

/// OpenAI documents the fields beside each other and sends them in `error`, which is where its clients look.
#[derive(Serialize)]
struct OfError<'a> {
    code: chat::ErrorCode,
    message: &'a str,
    param: Option<&'a str>,
    error: crate::openai::Shown<'a>,
}

impl Events {
    pub(super) fn new(begins: Begins, echo: Echo, after: Option<u64>) -> Self {
        Self {
            begins,
            echo,
            after,
            next: 0,
            seq: 0,
            item: String::new(),
            accepted: false,
            begun: None,
            speaking: false,
            sent: Sent::default(),
            out: BytesMut::new(),
            end: None,
        }
    }

    /// The last event of a turn that has ended, where the client says that it has seen a later one.
    pub(super) fn too_short(&self) -> Option<u64> {
        let is_beyond = self.end.is_some() && self.after.is_some_and(|after| after >= self.next);
        is_beyond.then(|| self.next.saturating_sub(1))
    }

    /// The reply is, or will be, this message.
    pub(super) fn of_item(&mut self, id: chat::MessageId) {
        self.item = id.to_string();
    }

    fn started(&mut self, turn: &Turn) {
        self.accepted = true;
        self.begun = Some(turn.clone());
        let second =
            if turn.status == TurnStatus::Queued { "response.queued" } else { "response.in_progress" };
        self.put_response("response.created", turn);
        self.put_response(second, turn);
    }

    fn text<'a>(&mut self, take: impl FnOnce(&mut Sent) -> Result<&'a str, Differs>) {
        match take(&mut self.sent) {
            Ok("") => {}
            Ok(text) => {
                self.speak();
                let item = self.item.clone();
                self.put("response.output_text.delta", of_text(&item, Some(text), None));
            }
            Err(Differs) => self.fail(None),
        }
    }

    /// The reply's item begins, if it has not.
    fn speak(&mut self) {
        if std::mem::replace(&mut self.speaking, true) {
            return;
        }
        let id = self.item.clone();
        let item =
            Item::Message { id: id.clone(), status: "in_progress", role: "assistant", content: Vec::new() };
        self.put("response.output_item.added", OfItem { output_index: 0, item: &item });
        self.put("response.content_part.added", of_part(&id, ""));
    }

    fn finish(&mut self, turn: &Turn) {
        let broken = shape::broken(turn).filter(|_| turn.status != TurnStatus::Cancelled);
        if let Some(error) = broken {
            // Told as it is, for those who look at the response; and as an error, for those who only read on.
            self.put_response("response.failed", turn);
            return self.break_off(error);
        }
        if turn.status != TurnStatus::Cancelled && !self.sent.is_whole() {
            return self.fail(Some(turn));
        }
        for (place, item) in object::output(turn).iter().enumerate() {
            self.item_done(place, item);
        }
        let kind =
            if turn.status == TurnStatus::Completed { "response.completed" } else { "response.incomplete" };
        self.put_response(kind, turn);
        // Who is still to be told the status hears of the cancelling there.
        self.end = Some(shape::broken(turn));
    }

    /// Ends with a failed response: the reply is not what was sent, whatever has become of the turn.
    fn fail(&mut self, turn: Option<&Turn>) {
        let error = shape::taken_back();
        if let Some(mut failed) = turn.cloned().or_else(|| self.begun.take()) {
            // The client has another text than the turn's.
            (failed.status, failed.message) = (TurnStatus::Failed, None);
            failed.error = Some(error.clone());
            self.put_response("response.failed", &failed);
        }
        self.break_off(error);
    }

    fn item_done(&mut self, place: usize, item: &Item) {
        match item {
            Item::Message { id, content, .. } => {
                self.speak();
                let text = content.iter().find_map(|piece| match piece {
                    Piece::OutputText { text, .. } => Some(text.as_str()),
                    _ => None,
                });
                self.put("response.output_text.done", of_text(id, None, text));
                self.put("response.content_part.done", of_part(id, text.unwrap_or_default()));
            }
            Item::FunctionCall { id, call_id, name, arguments, .. } => {
                let begun = Item::FunctionCall {
                    id: id.clone(),
                    call_id: call_id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    status: "in_progress",
                };
                self.put("response.output_item.added", OfItem { output_index: place, item: &begun });
                let arguments = Some(arguments.as_str());
                let of = |delta, name, arguments| OfArguments {
                    item_id: id,
                    output_index: place,
                    delta,
                    name,
                    arguments,
                };
                self.put("response.function_call_arguments.delta", of(arguments, None, None));
                self.put("response.function_call_arguments.done", of(None, Some(name), arguments));
            }
        }
        self.put("response.output_item.done", OfItem { output_index: place, item });
    }

    fn put_response(&mut self, kind: &str, turn: &Turn) {
        let echo = self.echo.clone();
        self.put(kind, OfResponse { response: Object::of(turn, &echo) });
    }

    /// Writes the next event, unless the client has it.
    fn put(&mut self, kind: &str, rest: impl Serialize) {
        let number = self.next;
        self.next = number.saturating_add(1);
        if self.after.is_none_or(|after| number > after) {
            self.write(number, kind, rest);
        }
    }

    fn write(&mut self, number: u64, kind: &str, rest: impl Serialize) {
        let event = Event { r#type: kind, sequence_number: number, rest };
        let json = serde_json::to_vec(&event).unwrap_or_default();
        self.out.put_slice(b"event: ");
        self.out.put_slice(kind.as_bytes());
        self.out.put_slice(b"\ndata: ");
        self.out.put_slice(&json);
        self.out.put_slice(b"\n\n");
    }
}

fn of_text<'a>(item_id: &'a str, delta: Option<&'a str>, text: Option<&'a str>) -> OfText<'a> {
    OfText { item_id, output_index: 0, content_index: 0, delta, text, logprobs: [] }
}

fn of_part<'a>(item_id: &'a str, text: &str) -> OfPart<'a> {
    OfPart { item_id, output_index: 0, content_index: 0, part: Piece::output(text) }
}

impl Script for Events {
    fn take(&mut self, seen: Seen<'_>) {
        let Seen::Event(seq, event) = seen else { return };
        if self.end.is_some() {
            return;
        }
        // The log's numbers have a gap where one was lost in a crash.
        self.next = self.next.saturating_add(seq.saturating_sub(self.seq).saturating_sub(1));
        self.seq = seq;
        match event {
            EventRef::Started(turn) => self.started(turn),
            EventRef::Delta(text) => self.text(|sent| sent.append(text)),
            EventRef::Replaced(text) => self.text(|sent| sent.replace(text)),
            EventRef::Ended(turn) => self.finish(turn),
            EventRef::Progress(_) | EventRef::Sources(_) | EventRef::Citation(_) => {}
        }
    }

    fn has_begun(&self) -> bool {
        match self.begins {
            Begins::Accepted => self.accepted,
            Begins::Ended => self.end.is_some(),
            Begins::Speaking => self.speaking || matches!(self.end, Some(None)),
        }
    }

    fn ended(&self) -> Option<Option<&TurnError>> {
        self.end.as_ref().map(Option::as_ref)
    }

    fn take_out(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    fn break_off(&mut self, error: TurnError) {
        if self.end.is_some() {
            return;
        }
        let shown = OfError {
            code: error.code,
            message: &error.message,
            param: error.param.as_deref(),
            error: (&error).into(),
        };
        self.put("error", shown);
        self.end = Some(Some(error));
    }
}

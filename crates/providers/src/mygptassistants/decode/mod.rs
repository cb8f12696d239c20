//! Answers, in the gateway's words: pure.
//!
//! Whole are: a JSON answer at its end; a stream at a final event (`result`, `done`, `end`, `complete`, `final`, by its `event:` or
//! its `type`), at `[DONE]`, and at the clean end after an event that was the first to carry the conversation's or the message's id.
//! A stream of raw text has no such sign: it is not known to be whole.
//!
//! The documents do not say what the events of `/stream` hold. What is read here: the documented answer of `/message`, what
//! Dialoqbase sends (`chunk` events with pieces, a `result` with the whole), what is customary elsewhere, and raw text, which the
//! provider's own examples just print.

use chat::{
    Failure, Piece, ProviderError, Role, Timestamp, UpstreamConversation, UpstreamIds, UpstreamMessage,
    UpstreamPage,
};
use serde::Deserialize;

use super::failure::refusal;
use super::wire::{Answer, Conversations, Delta, Envelope, History, Message};
use crate::decoder::{Decoder, Step};
use crate::failure::Judge;
use crate::lenient;
use crate::loose::Id;
use crate::shape::Item;
use crate::text_mode::{Text, TextMode};

/// The names of events that carry the whole, or nothing, and come last.
const FINAL: &[&str] = &["result", "done", "end", "complete", "final"];

/// The names of events that say nothing.
const IDLE: &[&str] = &["ping", "heartbeat", "keepalive", "keep-alive"];

/// How long an id may be, in bytes: it is kept with the conversation.
const ID_BYTES_MAX: usize = 512;

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Decode {
    judge: Judge,
    text: Text,
    thread: Option<String>,
    message_id: Option<String>,
    /// An event with text carried an id: from then on ids tell nothing about the end.
    ids_with_text: bool,
    /// The last event with text or ids was the first to carry an id: the stream may end here.
    may_end: bool,
}

/// An event's text, by how far its place tells what it is.
enum Said {
    /// It stands where whole answers stand.
    Answer(String),
    /// It is a piece, or the whole.
    Words(String),
}

impl Decode {
    /// A decoder of an answer in this conversation, as far as it is known.
    pub(super) fn new(judge: Judge, mode: TextMode) -> Self {
        Self {
            judge,
            text: Text::new(mode),
            thread: None,
            message_id: None,
            ids_with_text: false,
            may_end: false,
        }
    }

    fn whole(&mut self, body: &[u8], pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        let mut answer: Answer = lenient::from_slice(body).map_err(|_| self.judge.unreadable())?;
        self.check(&answer)?;
        self.ids(&mut answer, pieces);
        if let Some(text) = answer_text(answer) {
            pieces.extend(self.text.whole(&text));
        }
        Ok(Step::Last)
    }

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        pieces: &mut Vec<Piece>,
    ) -> Result<Step, ProviderError> {
        let is = |name: &str, list: &[&str]| list.iter().any(|known| name.trim().eq_ignore_ascii_case(known));
        if data.trim().eq_ignore_ascii_case("[DONE]") {
            return Ok(Step::Last);
        }
        if name.is_some_and(|name| is(name, IDLE)) {
            return Ok(Step::Open);
        }
        let Some(mut answer) = self.parse(data)? else {
            return self.raw(name, data, pieces);
        };
        self.check(&answer)?;
        let name = name.map(str::to_owned).or_else(|| answer.kind.take()).unwrap_or_default();
        if is(&name, &["error"]) {
            let words = super::failure::read(&http::HeaderMap::new(), data.as_bytes());
            return Err(self.judge.said(words, Failure::Failed));
        }
        let carries_id = self.ids(&mut answer, pieces);
        let said = event_text(answer);
        if is(&name, FINAL) {
            pieces.extend(self.last_word(said));
            return Ok(Step::Last);
        }
        self.piece(said, carries_id, pieces);
        Ok(Step::Open)
    }

    /// An event's data as JSON; none when it is raw text.
    fn parse(&self, data: &str) -> Result<Option<Answer>, ProviderError> {
        let start = data.trim_start();
        if !start.starts_with('{') {
            return Ok(None);
        }
        match lenient::from_slice(start.as_bytes()) {
            Ok(answer) => Ok(Some(answer)),
            // Half an object is no text for people; a brace may be.
            Err(_) if start.trim_start_matches('{').trim_start().starts_with('"') => {
                Err(self.judge.unreadable())
            }
            Err(_) => Ok(None),
        }
    }

    /// Data that is no object: text as it is, or as a JSON string.
    fn raw(
        &mut self,
        name: Option<&str>,
        data: &str,
        pieces: &mut Vec<Piece>,
    ) -> Result<Step, ProviderError> {
        let is = |list: &[&str]| {
            name.is_some_and(|name| list.iter().any(|known| name.trim().eq_ignore_ascii_case(known)))
        };
        let text = serde_json::from_str::<String>(data.trim()).unwrap_or_else(|_| data.to_owned());
        if is(&["error"]) {
            let words = super::failure::read(&http::HeaderMap::new(), text.as_bytes());
            return Err(self.judge.said(words, Failure::Failed));
        }
        if is(FINAL) {
            pieces.extend(self.last_word(Some(Said::Words(text))));
            return Ok(Step::Last);
        }
        self.may_end = false;
        pieces.extend(self.text.append(&text));
        Ok(Step::Open)
    }

    /// The text of a final event. Where whole answers stand it has the last word; elsewhere it may be a remark (`finished`), and
    /// counts only where it agrees with what was said.
    fn last_word(&mut self, said: Option<Said>) -> Option<Piece> {
        match said? {
            Said::Answer(text) => self.text.whole(&text),
            Said::Words(text) if text.starts_with(self.text.said()) => self.text.whole(&text),
            Said::Words(_) => None,
        }
    }

    /// The text of any other event.
    fn piece(&mut self, said: Option<Said>, carries_id: bool, pieces: &mut Vec<Piece>) {
        let begun = !self.text.said().is_empty();
        let first_id = carries_id && !self.ids_with_text;
        match said {
            None => {
                // Ids before any text are a greeting, ids after it the end.
                self.may_end = if carries_id { begun && first_id } else { self.may_end };
                return;
            }
            Some(Said::Answer(text)) if first_id && begun => pieces.extend(self.text.whole(&text)),
            Some(Said::Words(text)) if first_id && begun && text.starts_with(self.text.said()) => {
                pieces.extend(self.text.whole(&text));
            }
            Some(Said::Answer(text) | Said::Words(text)) => pieces.extend(self.text.piece(&text)),
        }
        self.may_end = first_id;
        self.ids_with_text |= carries_id;
    }

    fn check(&self, answer: &Answer) -> Result<(), ProviderError> {
        refusal(answer).map_or(Ok(()), |words| Err(self.judge.said(words, Failure::Failed)))
    }

    /// Passes on the ids that are new; whether there are any at all.
    fn ids(&mut self, answer: &mut Answer, pieces: &mut Vec<Piece>) -> bool {
        let (mut thread, mut message) = (None, None);
        if let Some(data) = &mut answer.data {
            thread = data.conversation_id.take();
            message = data.message_id.take();
        }
        let thread = thread
            .or_else(|| answer.conversation_id.take())
            .or_else(|| answer.session_id.take())
            .or_else(|| answer.history_id.take())
            .and_then(id);
        let message = message.or_else(|| answer.message_id.take()).and_then(id);
        let any = thread.is_some() || message.is_some();
        let (new_thread, new_message) = (thread != self.thread, message != self.message_id);
        if let Some(thread) = thread.filter(|_| new_thread) {
            pieces.push(Piece::Upstream(UpstreamIds {
                conversation_id: Some(thread.clone()),
                ..UpstreamIds::default()
            }));
            pieces.push(Piece::Thread(thread.clone()));
            self.thread = Some(thread);
        }
        if let Some(message) = message.filter(|_| new_message) {
            pieces.push(Piece::Upstream(UpstreamIds {
                message_id: Some(message.clone()),
                ..UpstreamIds::default()
            }));
            self.message_id = Some(message);
        }
        any
    }
}

impl Decoder for Decode {
    fn item(&mut self, item: Item, pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        match item {
            Item::Json(body) => self.whole(&body, pieces),
            Item::Frame(frame) => self.event(frame.event.as_deref(), &frame.data, pieces),
            Item::Text(text) => {
                pieces.extend(self.text.append(&text));
                Ok(Step::Open)
            }
        }
    }

    fn end(&mut self, _: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        Ok(if self.may_end { Step::Whole } else { Step::Open })
    }
}

fn id(id: Id) -> Option<String> {
    let id = id.into_text()?;
    (id.len() <= ID_BYTES_MAX && !id.chars().any(char::is_control)).then_some(id)
}

fn full(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn delta_text(delta: Delta) -> Option<String> {
    match delta {
        Delta::Text(text) => Some(text),
        Delta::Content { content } => content,
    }
}

/// The text of a JSON answer.
fn answer_text(answer: Answer) -> Option<String> {
    let data = answer.data.unwrap_or_default();
    full(data.response)
        .or_else(|| full(answer.response))
        .or_else(|| full(data.message))
        .or_else(|| full(answer.bot.and_then(|bot| bot.text)))
        .or_else(|| full(answer.message))
}

/// The text of an event.
fn event_text(answer: Answer) -> Option<Said> {
    let data = answer.data.unwrap_or_default();
    let choice = answer.choices.into_iter().next().and_then(|choice| choice.delta);
    full(data.response)
        .or_else(|| full(answer.response))
        .map(Said::Answer)
        .or_else(|| {
            full(answer.delta.and_then(delta_text))
                .or_else(|| full(answer.token))
                .or_else(|| full(answer.message))
                .or_else(|| full(answer.text))
                .or_else(|| full(answer.content))
                .map(Said::Words)
        })
        .or_else(|| full(answer.bot.and_then(|bot| bot.text)).map(Said::Answer))
        .or_else(|| full(data.message).or_else(|| full(choice.and_then(delta_text))).map(Said::Words))
}

/// A conversation's messages.
///
/// # Errors
/// The answer says that it failed, or cannot be read.
pub(super) fn history(judge: &Judge, body: &[u8]) -> Result<Vec<UpstreamMessage>, ProviderError> {
    let history: History = data(judge, body)?;
    Ok(history.messages.into_iter().map(message).collect())
}

fn message(message: Message) -> UpstreamMessage {
    let role = message.role.unwrap_or_default();
    let known = |known: &str| role.trim().eq_ignore_ascii_case(known);
    // The platform hands over to people; whoever else speaks, it is not the end user.
    let (role, author) = if known("user") {
        (Role::User, None)
    } else if known("assistant") || role.trim().is_empty() {
        (Role::Assistant, None)
    } else {
        (Role::Assistant, Some(role.trim().to_owned()))
    };
    UpstreamMessage {
        id: message.id.and_then(id),
        role,
        author,
        text: message.content.unwrap_or_default(),
        created_at: time(message.timestamp),
    }
}

/// A page of conversations.
///
/// # Errors
/// The answer says that it failed, or cannot be read.
pub(super) fn conversations(
    judge: &Judge,
    body: &[u8],
    page: u32,
    limit: u32,
) -> Result<UpstreamPage, ProviderError> {
    let list: Conversations = data(judge, body)?;
    let pagination = list.pagination.unwrap_or_default();
    let shown = u64::from(page).saturating_mul(u64::from(limit));
    let has_more = pagination
        .has_more
        .or_else(|| pagination.total.map(|total| shown < total))
        .unwrap_or(u64::try_from(list.conversations.len()).ok() >= Some(u64::from(limit)));
    let item = |conversation: super::wire::Conversation| {
        Some(UpstreamConversation {
            id: id(conversation.id)?,
            preview: conversation.preview,
            message_count: conversation.message_count,
            created_at: time(conversation.created_at),
            updated_at: time(conversation.updated_at),
        })
    };
    Ok(UpstreamPage { items: list.conversations.into_iter().filter_map(item).collect(), has_more })
}

/// What stands under `data`, or the whole where there is no `data`.
fn data<'a, T: Deserialize<'a>>(judge: &Judge, body: &'a [u8]) -> Result<T, ProviderError> {
    if let Some(words) = lenient::from_slice::<Answer>(body).ok().as_ref().and_then(refusal) {
        return Err(judge.said(words, Failure::Failed));
    }
    let envelope: Envelope<'a> = serde_json::from_slice(body).map_err(|_| judge.unreadable())?;
    let data = envelope.data.map_or(body, |data| data.get().as_bytes());
    serde_json::from_slice(data).map_err(|_| judge.unreadable())
}

fn time(text: Option<String>) -> Option<Timestamp> {
    text?.trim().parse().ok()
}

#[cfg(test)]
mod tests;

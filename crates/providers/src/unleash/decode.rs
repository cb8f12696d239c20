//! Answers, in the gateway's words: pure.
//!
//! Whole are: a JSON answer at its end; a stream at its `Full` event, at `[DONE]` (which is not known to come), and, as the
//! provider sends no sign of the end, at the connection's clean end after text.
//!
//! Known from the provider's own code are the types of events, that frames are bare `data:` lines, and that parts stand at the top of
//! a `Message`. Not known: whether `Message` events add up or repeat ([`super::transcript`]), whether `Full` ends a stream or is only
//! the type of an answer in one piece, and how a failure in mid-stream looks. Types, names of parts and roles are compared without
//! regard to case; unknown types say nothing to us.

use chat::{Failure, Piece, Progress, ProviderError, UpstreamIds};

use super::failure::refusal;
use super::transcript::Transcript;
use super::wire::{Answer, OldAnswer, Part};
use crate::decoder::{Decoder, Step};
use crate::failure::Judge;
use crate::lenient;
use crate::loose::Id;
use crate::shape::Item;

/// How long an id may be, in bytes: it is kept with the conversation.
const ID_BYTES_MAX: usize = 512;

/// How long the name of a step may be, in characters: it is a word like `web_search`.
const STEP_CHARS_MAX: usize = 64;

/// Whether the provider's thread is to be kept for the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// It is continued.
    Kept,
    /// It is only named.
    Named,
}

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Decode {
    judge: Judge,
    transcript: Transcript,
    threads: Threads,
    ids: UpstreamIds,
    /// Text came in an event that says what it is: this provider names its events.
    typed: bool,
}

impl Decode {
    /// A decoder of one answer.
    pub(super) fn new(judge: Judge, transcript: Transcript, threads: Threads) -> Self {
        Self { judge, transcript, threads, ids: UpstreamIds::default(), typed: false }
    }

    /// An answer in one piece, whatever its type says; an answer before this contract has none.
    fn whole(&mut self, body: &[u8], pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        let answer: Answer = lenient::from_slice(body).map_err(|_| self.judge.unreadable())?;
        self.check(&answer)?;
        self.note(&answer, pieces);
        self.full(taken_apart(answer), pieces);
        Ok(Step::Last)
    }

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        pieces: &mut Vec<Piece>,
    ) -> Result<Step, ProviderError> {
        if data.trim().eq_ignore_ascii_case("[DONE]") {
            self.transcript.settle(pieces);
            return Ok(Step::Last);
        }
        let answer: Answer = lenient::from_slice(data.as_bytes()).map_err(|_| self.judge.unreadable())?;
        self.check(&answer)?;
        let kind = answer.kind.as_deref().or(name).unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "full" => {
                self.note(&answer, pieces);
                self.full(taken_apart(answer), pieces);
                return Ok(Step::Last);
            }
            "error" => {
                let words = super::failure::read(&http::HeaderMap::new(), data.as_bytes());
                return Err(self.judge.said(words, Failure::Failed));
            }
            "message" | "resources" | "references" | "request" | "" => {
                return Ok(self.part(answer, kind.is_empty(), pieces));
            }
            "progress" => {
                self.note(&answer, pieces);
                pieces.extend(answer.code.as_deref().and_then(step));
            }
            // Unknown: its ids are ids all the same.
            _ => self.note(&answer, pieces),
        }
        Ok(Step::Open)
    }

    /// An event that adds to the answer. What it points to is taken in before its text, so that citations find it.
    ///
    /// The answer in one piece has no type in the SDK: behind events that have one, it is the whole and not one more piece.
    fn part(&mut self, answer: Answer, untyped: bool, pieces: &mut Vec<Piece>) -> Step {
        self.note(&answer, pieces);
        let (parts, resources, references) = taken_apart(answer);
        if untyped && self.typed && self.transcript.is_repeated_by(&parts) {
            self.full((parts, resources, references), pieces);
            return Step::Last;
        }
        self.typed |= !untyped && !parts.is_empty();
        self.transcript.found(resources.unwrap_or_default(), pieces);
        if let Some(references) = references {
            self.transcript.refer(references, pieces);
        }
        self.transcript.piece(&parts, pieces);
        Step::Open
    }

    fn full(&mut self, (parts, resources, references): TakenApart, pieces: &mut Vec<Piece>) {
        self.transcript.found(resources.unwrap_or_default(), pieces);
        // Null, or nothing, does not take back what a stream said before.
        if let Some(references) = references.filter(|references| !references.is_empty()) {
            self.transcript.refer(references, pieces);
        }
        self.transcript.whole(&parts, pieces);
        self.transcript.settle(pieces);
    }

    /// Passes on the ids that are new.
    fn note(&mut self, answer: &Answer, pieces: &mut Vec<Piece>) {
        let new = UpstreamIds {
            request_id: answer
                .request_id
                .clone()
                .and_then(id)
                .filter(|id| self.ids.request_id.as_ref() != Some(id)),
            conversation_id: answer
                .thread_id
                .clone()
                .and_then(id)
                .filter(|id| self.ids.conversation_id.as_ref() != Some(id)),
            message_id: None,
        };
        if new == UpstreamIds::default() {
            return;
        }
        let thread = new.conversation_id.clone().filter(|_| self.threads == Threads::Kept);
        self.ids.merge(new.clone());
        pieces.push(Piece::Upstream(new));
        pieces.extend(thread.map(Piece::Thread));
    }

    fn check(&self, answer: &Answer) -> Result<(), ProviderError> {
        refusal(answer).map_or(Ok(()), |words| {
            let mut error = self.judge.said(words, Failure::Failed);
            error.sources = self.transcript.sources().to_vec();
            Err(error)
        })
    }
}

impl Decoder for Decode {
    fn item(&mut self, item: Item, pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        match item {
            Item::Json(body) => self.whole(&body, pieces),
            Item::Frame(frame) => self.event(frame.event.as_deref(), &frame.data, pieces),
            // Answers labelled as text are JSON as well; anything else is none of this provider's.
            Item::Text(_) => Err(self.judge.unreadable()),
        }
    }

    fn end(&mut self, pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        if self.transcript.is_empty() {
            return Ok(Step::Open);
        }
        self.transcript.settle(pieces);
        Ok(Step::Whole)
    }
}

type TakenApart = (Vec<Part>, Option<Vec<super::wire::Resource>>, Option<Vec<super::wire::Reference>>);

/// What an answer says: its parts, wherever they stand, unless they are somebody else's words.
fn taken_apart(answer: Answer) -> TakenApart {
    let Answer { message, role, parts, answer, resources, references, .. } = answer;
    let message = message.unwrap_or_default();
    let speaker = message.role.or(role);
    let own = speaker.is_none_or(|speaker| speaker.trim().eq_ignore_ascii_case("assistant"));
    let old = match answer {
        Some(OldAnswer::Text(text)) => Some(text),
        Some(OldAnswer::Object { answer }) => answer,
        None => None,
    };
    let bare = message
        .text
        .or(old)
        .map(|text| vec![Part { kind: Some("Text".to_owned()), text: Some(text), indices: Vec::new() }]);
    let said = |parts: Option<Vec<Part>>| parts.filter(|parts| !parts.is_empty());
    let parts = said(message.parts).or_else(|| said(parts)).or(bare).filter(|_| own);
    (parts.unwrap_or_default(), resources, references)
}

fn id(id: Id) -> Option<String> {
    let id = id.into_text()?;
    (id.len() <= ID_BYTES_MAX && !id.chars().any(char::is_control)).then_some(id)
}

fn step(code: &str) -> Option<Piece> {
    let step: String = code.trim().chars().filter(|c| !c.is_control()).take(STEP_CHARS_MAX).collect();
    (!step.is_empty()).then(|| Piece::Progress(Progress::step(step)))
}

//! Answers, in the gateway's words: pure.
//!
//! Whole are: `[DONE]`, a `finish_reason`, or the transfer's clean end, as nothing says what else could end an answer.
//!
//! Neither the shape of an answer nor that of a stream is documented, and which of them comes is the bot's setting: whatever comes is
//! read by what it is. Pieces of a stream are looked for as OpenAI has them (the bot's settings have its names), then in any JSON,
//! then taken as raw text.

use chat::{Failure, FinishReason, Piece, ProviderError, Source};
use serde_json::Value;

use super::extract::{self, AnswerPath, Found};
use super::failure::{OTHERWISE, refusal};
use crate::decoder::{Decoder, Step};
use crate::failure::Judge;
use crate::lenient;
use crate::shape::Item;
use crate::text_mode::{Text, TextMode};

/// How many documents are named: far above what anybody reads.
const SOURCES_MAX: usize = 1_000;

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Decode {
    judge: Judge,
    path: Option<AnswerPath>,
    text: Text,
    sources: Vec<Source>,
    finish_reason: Option<FinishReason>,
}

impl Decode {
    /// A decoder of one answer, with the operator's path to it.
    pub(super) fn new(judge: Judge, path: Option<AnswerPath>, mode: TextMode) -> Self {
        Self { judge, path, text: Text::new(mode), sources: Vec::new(), finish_reason: None }
    }

    fn whole(&mut self, body: &[u8], pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        let value: Value = lenient::from_slice(body).map_err(|_| self.judge.unreadable())?;
        self.check(&value)?;
        self.finish(&value);
        match extract::answer(&value, self.path.as_ref()) {
            Found::Text(text) => pieces.extend(self.text.whole(&text)),
            // An answer without a word: its sources go with the failure.
            Found::Documents(documents) => self.found(documents, pieces),
            Found::Nothing => {}
        }
        Ok(Step::Last)
    }

    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        pieces: &mut Vec<Piece>,
    ) -> Result<Step, ProviderError> {
        if data.trim().eq_ignore_ascii_case("[DONE]") {
            return Ok(Step::Last);
        }
        let value = self.parse(data)?;
        if name.is_some_and(|name| name.trim().eq_ignore_ascii_case("error")) {
            let words = super::failure::read(&http::HeaderMap::new(), data.as_bytes());
            return Err(self.judge.said(words, OTHERWISE));
        }
        let Some(value) = value else {
            pieces.extend(self.text.append(data));
            return Ok(Step::Open);
        };
        self.check(&value)?;
        self.found(extract::documents(&value), pieces);
        if let Some(text) = extract::piece(&value, self.path.as_ref()) {
            pieces.extend(self.text.piece(&text));
        }
        Ok(if self.finish(&value) { Step::Whole } else { Step::Open })
    }

    /// An event's data as JSON; none when it is raw text: a number or a `true` is a word of the answer.
    fn parse(&self, data: &str) -> Result<Option<Value>, ProviderError> {
        let start = data.trim_start();
        if !start.starts_with(['{', '[', '"']) {
            return Ok(None);
        }
        match lenient::from_slice(start.as_bytes()) {
            Ok(value) => Ok(Some(value)),
            // Half an object is no text for people; a brace may be.
            Err(_)
                if start.trim_start_matches(['{', '[']).trim_start().starts_with('"')
                    && !start.starts_with('"') =>
            {
                Err(self.judge.unreadable())
            }
            Err(_) => Ok(None),
        }
    }

    /// Takes in why the provider stopped; whether it did.
    fn finish(&mut self, value: &Value) -> bool {
        let Some(reason) = extract::finish_reason(value) else { return false };
        self.finish_reason = match reason.as_str() {
            "length" | "max_tokens" => Some(FinishReason::Length),
            "content_filter" => Some(FinishReason::ContentFilter),
            _ => Some(FinishReason::Stop),
        };
        true
    }

    /// Documents, beside those before.
    fn found(&mut self, documents: Vec<Source>, pieces: &mut Vec<Piece>) {
        let before = self.sources.len();
        for document in documents {
            if self.sources.len() < SOURCES_MAX && !self.sources.iter().any(|known| known.id == document.id) {
                self.sources.push(document);
            }
        }
        if self.sources.len() > before {
            pieces.push(Piece::Sources(self.sources.clone()));
        }
    }

    fn check(&self, value: &Value) -> Result<(), ProviderError> {
        refusal(value).map_or(Ok(()), |words| Err(self.judge.said(words, OTHERWISE)))
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
        Ok(Step::Whole)
    }

    fn finish_reason(&self) -> Option<FinishReason> {
        self.finish_reason
    }
}

/// What came of putting a message in: any 2xx will do, with a body or without one, unless it says that it failed.
///
/// # Errors
/// The provider says that it failed.
pub(super) fn injected(judge: &Judge, body: &[u8]) -> Result<(), ProviderError> {
    let value = lenient::from_slice::<Value>(body).ok();
    value.as_ref().and_then(refusal).map_or(Ok(()), |words| Err(judge.said(words, OTHERWISE)))
}

/// What came of asking for the bots.
///
/// # Errors
/// The answer is no list: whatever answered, it is not this provider.
pub(super) fn bots(judge: &Judge, body: &[u8]) -> Result<(), ProviderError> {
    match lenient::from_slice::<Value>(body) {
        Ok(value) => refusal(&value).map_or(Ok(()), |words| Err(judge.said(words, OTHERWISE))),
        Err(_) => Err(ProviderError::new(Failure::Protocol)),
    }
}

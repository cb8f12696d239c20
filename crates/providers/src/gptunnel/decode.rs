//! GPTunnel's answers into pieces.
//!
//! **Whole** is a reply with `[DONE]`, a `finish_reason`, `usage`, or at the transfer's clean end.
//!
//! The form of a stream is not documented: events of JSON are taken with their text in any of the places that OpenAI's chunks,
//! GPTunnel's own whole answer or common usage suggest; events that are no JSON, and raw text, are text. So are pieces that repeat
//! what was said (`text_mode`).

use chat::{Cost, Failure, FinishReason, Piece, ProviderError, UpstreamIds, Usage};
use http::{HeaderMap, StatusCode};
use serde_json::value::RawValue;
use upstream::Verdict;

use super::wire;
use crate::decoder::{Decoder, Step};
use crate::failure::{self, Judge, Words};
use crate::lenient;
use crate::shape::{Item, first_json};
use crate::text_mode::{Text, TextMode};

/// What GPTunnel's prices are in: its documentation of `/balance` says so, no answer does.
const CURRENCY: &str = "RUB";

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Answer {
    judge: Judge,
    text: Text,
    model: Option<String>,
    message_id: Option<String>,
    finish_reason: Option<FinishReason>,
}

impl Answer {
    pub(super) fn new(judge: Judge, text_mode: TextMode) -> Self {
        Self { judge, text: Text::new(text_mode), model: None, message_id: None, finish_reason: None }
    }

    /// A whole body, or an event. Gives whether it has the sign that the reply is whole.
    fn answer(&mut self, answer: &wire::Answer, pieces: &mut Vec<Piece>) -> bool {
        if let Some(model) =
            lenient::word(answer.model.as_deref()).filter(|model| self.model.as_ref() != Some(model))
        {
            self.model = Some(model.clone());
            pieces.push(Piece::Model(model));
        }
        if let Some(id) =
            lenient::word(answer.id.as_deref()).filter(|id| self.message_id.as_ref() != Some(id))
        {
            self.message_id = Some(id.clone());
            pieces.push(Piece::Upstream(UpstreamIds { message_id: Some(id), ..UpstreamIds::default() }));
        }
        let usage = usage(answer);
        let choice = first_choice(answer);
        if let Some(text) = text(answer, &choice) {
            // A last event may be the whole answer over again, after pieces that added up.
            let over_again =
                usage.is_some() && !self.text.said().is_empty() && text.starts_with(self.text.said());
            pieces.extend(if over_again { self.text.whole(&text) } else { self.text.piece(&text) });
        }
        let reason = choice.finish_reason.as_deref().or(answer.finish_reason.as_deref());
        let reason = lenient::string(reason).filter(|reason| !reason.is_empty());
        if let Some(reason) = &reason {
            self.finish_reason = finish_reason(reason).or(self.finish_reason);
        }
        let whole = usage.is_some() || reason.is_some();
        pieces.extend(usage.map(Piece::Usage));
        whole
    }

    fn event(
        &mut self,
        event: Option<&str>,
        data: &str,
        pieces: &mut Vec<Piece>,
    ) -> Result<Step, ProviderError> {
        let trimmed = data.trim();
        if trimmed.eq_ignore_ascii_case("[DONE]") {
            return Ok(Step::Last);
        }
        if trimmed.starts_with('{') {
            let answer = lenient::from_slice::<wire::Answer>(trimmed.as_bytes())
                .map_err(|_| self.judge.unreadable())?;
            if let Some(words) = refusal(&answer, event == Some("error")) {
                return Err(self.judge.said(words, Failure::Failed));
            }
            return Ok(if self.answer(&answer, pieces) { Step::Whole } else { Step::Open });
        }
        if event == Some("error") {
            let words = Words { message: Some(trimmed.to_owned()), ..Words::default() };
            return Err(self.judge.said(words, Failure::Failed));
        }
        let string = trimmed.starts_with('"').then(|| serde_json::from_str::<String>(trimmed).ok()).flatten();
        pieces.extend(self.text.piece(string.as_deref().unwrap_or(data)));
        Ok(Step::Open)
    }
}

impl Decoder for Answer {
    fn item(&mut self, item: Item, pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        match item {
            Item::Json(body) => {
                let answer =
                    lenient::from_slice::<wire::Answer>(&body).map_err(|_| self.judge.unreadable())?;
                if let Some(words) = refusal(&answer, false) {
                    return Err(self.judge.said(words, Failure::Failed));
                }
                self.answer(&answer, pieces);
                Ok(Step::Last)
            }
            Item::Frame(frame) => self.event(frame.event.as_deref(), &frame.data, pieces),
            Item::Text(text) => {
                pieces.extend(self.text.append(&text));
                Ok(Step::Open)
            }
        }
    }

    fn end(&mut self, _pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        Ok(Step::Whole)
    }

    fn finish_reason(&self) -> Option<FinishReason> {
        self.finish_reason
    }
}

/// GPTunnel's words in a refusal's body: JSON (perhaps with a trailing comma), else the text as it is.
pub(super) fn words(_: &HeaderMap, body: &[u8]) -> Words {
    let Ok(answer) = lenient::from_slice::<wire::Answer>(body) else {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        // A page says nothing to people who read a message.
        let message = (!text.is_empty() && !text.starts_with('<')).then(|| text.to_owned());
        return Words { message, ..Words::default() };
    };
    let mut words = error_words(&answer);
    // The status says what it is but for content, which hides behind a 400.
    words.meaning = words.meaning.filter(|meaning| *meaning == Failure::Filtered);
    words
}

/// Looks for a failure in a 2xx: GPTunnel's media API answers 200 to everything, and says in `code` what it means.
pub(super) fn classify(_: StatusCode, _: &HeaderMap, body: &[u8]) -> Verdict {
    let Ok(answer) = lenient::from_slice::<wire::Answer>(first_json(body)) else { return Verdict::Fine };
    match refusal(&answer, false).map(|words| words.meaning.unwrap_or(Failure::Failed)) {
        None => Verdict::Fine,
        Some(failure) => Judge::verdict(&ProviderError::new(failure)),
    }
}

/// What a whole 2xx body says that it failed for.
pub(super) fn refused(judge: &Judge, body: &[u8]) -> Option<ProviderError> {
    let answer = lenient::from_slice::<wire::Answer>(body).ok()?;
    refusal(&answer, false).map(|words| judge.said(words, Failure::Failed))
}

/// The words of a 2xx body or event that says that it failed: it has an `error`, or a `code` that is not zero and nothing of an
/// assistant's answer (a `message` is then the error's own).
fn refusal(answer: &wire::Answer, is_error: bool) -> Option<Words> {
    let has_error =
        answer.error.as_deref().is_some_and(|error| !matches!(error.get(), "\"\"" | "{}" | "false" | "[]"));
    let is_answer = answer.usage.is_some()
        || answer.model.is_some()
        || answer.chat_id.is_some()
        || answer.assistant_id.is_some()
        || answer.choices.is_some();
    let says = lenient::string(answer.message.as_deref()).is_some_and(|message| !message.is_empty());
    let code = lenient::word(answer.code.as_deref()).is_some_and(|code| !matches!(code.trim(), "0" | "200"));
    (has_error || is_error || (code && !(is_answer && says))).then(|| error_words(answer))
}

fn error_words(answer: &wire::Answer) -> Words {
    let error: wire::Error = lenient::value(answer.error.as_deref()).unwrap_or_default();
    let message = [&error.message, &answer.error, &answer.message]
        .into_iter()
        .find_map(|field| lenient::string(field.as_deref()).filter(|text| !text.trim().is_empty()));
    let codes: Vec<String> = [&error.code, &error.kind, &answer.code]
        .into_iter()
        .filter_map(|field| lenient::word(field.as_deref()))
        .collect();
    let not_found = || {
        let found =
            message.as_deref().is_some_and(|message| message.to_ascii_lowercase().contains("not found"));
        found.then_some(Failure::NotFound)
    };
    let meaning = codes
        .iter()
        .find_map(|code| of_number(code))
        .or_else(not_found)
        .or_else(|| codes.iter().find_map(|code| failure::of_code(code)));
    Words { message, codes, request_id: None, meaning }
}

/// GPTunnel's numbers. Source: docs.gptunnel.ru/media-api/models.
fn of_number(code: &str) -> Option<Failure> {
    Some(match code {
        "1" | "500" => Failure::Failed,
        // 7: the organisation may not.
        "2" | "7" => Failure::Credentials,
        // 99: an unknown method.
        "3" | "99" => Failure::Rejected,
        "4" => Failure::NotFound,
        "5" => Failure::Account,
        "6" => Failure::Unavailable { retry_after: None },
        "1001" | "1002" => Failure::Filtered,
        _ => return None,
    })
}

fn first_choice(answer: &wire::Answer) -> wire::Choice {
    let choices: Vec<wire::Choice> = lenient::value(answer.choices.as_deref()).unwrap_or_default();
    choices.into_iter().next().unwrap_or_default()
}

/// The text of an answer or event, in whatever place it stands.
fn text(answer: &wire::Answer, choice: &wire::Choice) -> Option<String> {
    let inner = |field: &Option<Box<RawValue>>| {
        let content: wire::Content = lenient::value(field.as_deref())?;
        lenient::string(content.content.as_deref())
    };
    let plain = |field: &Option<Box<RawValue>>| lenient::string(field.as_deref());
    inner(&choice.delta)
        .or_else(|| inner(&choice.message))
        .or_else(|| plain(&answer.delta))
        .or_else(|| inner(&answer.delta))
        .or_else(|| plain(&answer.message))
        .or_else(|| inner(&answer.message))
        .or_else(|| plain(&answer.content))
        .or_else(|| plain(&answer.text))
}

/// What an answer reports of tokens and money: the number's own digits, as no float may round them.
fn usage(answer: &wire::Answer) -> Option<Usage> {
    let usage: wire::Usage = lenient::value(answer.usage.as_deref()).unwrap_or_default();
    let usage = Usage {
        input_tokens: lenient::count(usage.prompt_tokens.as_deref()),
        output_tokens: lenient::count(usage.completion_tokens.as_deref()),
        total_tokens: lenient::count(usage.total_tokens.as_deref().or(answer.spend_token_count.as_deref())),
        cost: lenient::word(usage.total_cost.as_deref()).and_then(|amount| Cost::parse(&amount, CURRENCY)),
    };
    (!usage.is_empty()).then_some(usage)
}

fn finish_reason(reason: &str) -> Option<FinishReason> {
    Some(match reason {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        _ => return None,
    })
}

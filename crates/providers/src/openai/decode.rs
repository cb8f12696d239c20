//! Completions and their chunks into pieces.
//!
//! **Whole** is a reply with a `finish_reason` or `[DONE]`; a completion in one piece is whole as it is. The clean end of a stream
//! alone is not: the dialect has its own.

use std::borrow::Cow;
use std::sync::LazyLock;

use chat::{Failure, FinishReason, Part, Piece, ProviderError, UpstreamIds, Usage};
use http::{HeaderMap, StatusCode};
use memchr::memmem;
use serde_json::value::RawValue;
use upstream::Verdict;

use super::encode::PassedThrough;
use super::pattern::Pattern;
use super::wire;
use crate::decoder::{Decoder, Step};
use crate::failure::{self, Judge, Words};
use crate::lenient;
use crate::shape::{Item, first_json};
use crate::text_mode::{Text, TextMode};

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Answer {
    judge: Judge,
    text: Text,
    /// A stream was asked for.
    stream: bool,
    passed_through: PassedThrough,
    model: Option<String>,
    id: Option<String>,
    finish_reason: Option<FinishReason>,
    /// A `finish_reason` was seen, known or not.
    finished: bool,
    /// Tool calls as far as their pieces have come, by their index.
    calls: Vec<Call>,
    pattern: Pattern,
}

#[derive(Debug, Default)]
struct Call {
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

/// How many tool calls one reply may have: each costs memory until the reply is whole.
const CALLS_MAX: usize = 1024;

impl Answer {
    pub(super) fn new(
        judge: Judge,
        text_mode: TextMode,
        stream: bool,
        passed_through: PassedThrough,
    ) -> Self {
        Self {
            judge,
            text: Text::of_pieces_alone(text_mode),
            stream,
            passed_through,
            model: None,
            id: None,
            finish_reason: None,
            finished: false,
            calls: Vec::new(),
            pattern: Pattern::default(),
        }
    }

    /// Also its text, where that is JSON as it came.
    fn read<'a>(
        &self,
        json: &'a str,
        mended: &'a mut String,
    ) -> Result<(wire::Completion<'a>, Option<&'a str>), ProviderError> {
        let (completion, as_it_came) =
            lenient::from_str(json, mended).map_err(|_| self.judge.unreadable())?;
        match refusal(&completion) {
            Some(words) => Err(self.judge.said(words, Failure::Failed)),
            None => Ok((completion, as_it_came.then(|| json.trim()))),
        }
    }

    /// Takes in a completion or a chunk; `raw` is its text, for the OpenAI dialect. None where that is no JSON as it came.
    fn completion(
        &mut self,
        completion: wire::Completion<'_>,
        raw: Option<&str>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), ProviderError> {
        let choices = completion.choices.unwrap_or_default();
        let usage_alone = choices.is_empty() && completion.usage.is_some();
        if let Some(raw) = raw.filter(|_| self.passes(usage_alone)) {
            pieces.push(Piece::Extension(raw.into()));
        }
        if let Some(model) = news(completion.model, &mut self.model) {
            pieces.push(Piece::Model(model));
        }
        if let Some(id) = news(completion.id, &mut self.id) {
            pieces.push(Piece::Upstream(UpstreamIds { message_id: Some(id), ..UpstreamIds::default() }));
        }
        // With `n` above 1 the other choices are for those alone who asked for them.
        if let Some(choice) = choices.into_iter().find(|choice| choice.index.unwrap_or(0) == 0) {
            self.choice(choice, pieces)?;
        }
        pieces.extend(usage(completion.usage).map(Piece::Usage));
        Ok(())
    }

    fn choice(&mut self, choice: wire::Choice<'_>, pieces: &mut Vec<Piece>) -> Result<(), ProviderError> {
        for (said, is_whole) in [(choice.delta, false), (choice.message, true)] {
            let Some(said) = said else { continue };
            for text in [content(said.content), lenient::text(said.refusal)].into_iter().flatten() {
                pieces.extend(if is_whole { self.text.append(&text) } else { self.text.piece(&text) });
            }
            for (place, call) in said.tool_calls.unwrap_or_default().into_iter().enumerate() {
                // A server that leaves the index out sends its calls whole.
                let place = u64::try_from(self.calls.len().saturating_add(place)).unwrap_or(u64::MAX);
                self.call(call.index.unwrap_or(place), call.id, call.function)?;
            }
            if said.function_call.is_some() {
                self.call(0, None, said.function_call)?;
            }
        }
        match choice.finish_reason.as_deref() {
            None | Some("") => {}
            // OpenRouter: the model behind it failed.
            Some("error") => return Err(Failure::Failed.into()),
            Some(reason) => {
                self.finished = true;
                self.finish_reason = finish_reason(reason);
                self.give_calls(pieces);
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        index: u64,
        id: Option<String>,
        function: Option<wire::Function<'_>>,
    ) -> Result<(), ProviderError> {
        let place = match self.calls.iter().position(|call| call.index == index) {
            Some(place) => place,
            None if self.calls.len() >= CALLS_MAX => return Err(self.judge.unreadable()),
            None => {
                self.calls.push(Call { index, ..Call::default() });
                self.calls.len().saturating_sub(1)
            }
        };
        let Some(call) = self.calls.get_mut(place) else { return Ok(()) };
        if let Some(id) = id.filter(|_| call.id.is_empty()) {
            call.id = id;
        }
        let function = function.unwrap_or_default();
        call.name.push_str(&function.name.unwrap_or_default());
        // A string by the book; some servers write the arguments themselves.
        let arguments =
            function.arguments.map(|raw| lenient::string(Some(raw)).unwrap_or_else(|| raw.get().to_owned()));
        call.arguments.push_str(&arguments.unwrap_or_default());
        Ok(())
    }

    /// Gives the tool calls once they are whole.
    fn give_calls(&mut self, pieces: &mut Vec<Piece>) {
        let calls = std::mem::take(&mut self.calls).into_iter().filter(|call| !call.name.is_empty());
        pieces.extend(
            calls.map(|Call { id, name, arguments, .. }| {
                Piece::ToolCall(Part::ToolCall { id, name, arguments })
            }),
        );
    }

    fn passes(&self, usage_alone: bool) -> bool {
        match self.passed_through {
            PassedThrough::No => false,
            PassedThrough::WithoutUsage => !(self.stream && usage_alone),
            PassedThrough::All => true,
        }
    }
}

impl Decoder for Answer {
    fn item(&mut self, item: Item, pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        match item {
            Item::Json(body) => {
                let body = str::from_utf8(&body).map_err(|_| self.judge.unreadable())?;
                let mut mended = String::new();
                let (completion, raw) = self.read(body, &mut mended)?;
                if completion.choices.is_none() {
                    return Err(self.judge.unreadable());
                }
                if self.stream {
                    // A client that reads chunks cannot read this: it is told by the pieces alone.
                    self.passed_through = PassedThrough::No;
                }
                self.completion(completion, raw, pieces)?;
                self.give_calls(pieces);
                Ok(Step::Last)
            }
            Item::Frame(frame) => {
                let data = frame.data.trim();
                if data.eq_ignore_ascii_case("[DONE]") {
                    self.give_calls(pieces);
                    return Ok(Step::Last);
                }
                if data.is_empty() {
                    return Ok(if self.finished { Step::Whole } else { Step::Open });
                }
                if !self.stream {
                    // A client that reads a completion cannot read chunks.
                    self.passed_through = PassedThrough::No;
                }
                if let Some(text) = self.pattern.text(data) {
                    if self.passes(false) {
                        pieces.push(Piece::Extension(data.into()));
                    }
                    pieces.extend(self.text.piece(text));
                    return Ok(if self.finished { Step::Whole } else { Step::Open });
                }
                let mut mended = String::new();
                let (completion, raw) = self.read(data, &mut mended)?;
                if raw.is_some() {
                    self.pattern.learn(data, &completion);
                }
                self.completion(completion, raw, pieces)?;
                Ok(if self.finished { Step::Whole } else { Step::Open })
            }
            Item::Text(_) => Err(self.judge.unreadable()),
        }
    }

    fn end(&mut self, _pieces: &mut Vec<Piece>) -> Result<Step, ProviderError> {
        Ok(if self.finished { Step::Whole } else { Step::Open })
    }

    fn finish_reason(&self) -> Option<FinishReason> {
        self.finish_reason
    }
}

/// What a field says, if it says something else than before.
fn news(field: Option<&RawValue>, before: &mut Option<String>) -> Option<String> {
    let word = lenient::word_in_place(field).filter(|word| before.as_deref() != Some(word))?;
    *before = Some(word.clone().into_owned());
    Some(word.into_owned())
}

/// A server's words in a refusal's body.
pub(super) fn words(_: &HeaderMap, body: &[u8]) -> Words {
    let (body, mut mended) = (String::from_utf8_lossy(body), String::new());
    let Ok((completion, _)) = lenient::from_str::<wire::Completion<'_>>(&body, &mut mended) else {
        let text = body.trim();
        let message = (!text.is_empty() && !text.starts_with('<')).then(|| text.to_owned());
        return Words { message, ..Words::default() };
    };
    // The status says what it is.
    Words { meaning: None, ..error_words(&completion) }
}

/// Looks for a failure in a 2xx.
pub(super) fn classify(_: StatusCode, _: &HeaderMap, body: &[u8]) -> Verdict {
    let body = first_json(body);
    // Nearly all are fine, and long: whatever says that it failed has the word in it.
    static ERROR: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("error"));
    if ERROR.find(body).is_none() {
        return Verdict::Fine;
    }
    let mut mended = String::new();
    let completion = str::from_utf8(body).ok();
    let completion =
        completion.and_then(|body| lenient::from_str::<wire::Completion<'_>>(body, &mut mended).ok());
    let Some((completion, _)) = completion else { return Verdict::Fine };
    match refusal(&completion).map(|words| words.meaning.unwrap_or(Failure::Failed)) {
        None => Verdict::Fine,
        Some(failure) => Judge::verdict(&ProviderError::new(failure)),
    }
}

/// What a whole 2xx body says that it failed for.
pub(super) fn refused(judge: &Judge, body: &[u8]) -> Option<ProviderError> {
    let (body, mut mended) = (str::from_utf8(body).ok()?, String::new());
    let (completion, _) = lenient::from_str::<wire::Completion<'_>>(body, &mut mended).ok()?;
    refusal(&completion).map(|words| judge.said(words, Failure::Failed))
}

/// The words of a 2xx body or chunk that says that it failed.
fn refusal(completion: &wire::Completion<'_>) -> Option<Words> {
    let has_error =
        completion.error.is_some_and(|error| !matches!(error.get(), "\"\"" | "{}" | "false" | "[]"));
    let is_error = lenient::text(completion.object).is_some_and(|object| object == "error");
    (has_error || is_error).then(|| error_words(completion))
}

fn error_words(completion: &wire::Completion<'_>) -> Words {
    let error: wire::Error<'_> = lenient::value(completion.error).unwrap_or_default();
    let message = [error.message, completion.error, completion.message, completion.detail]
        .into_iter()
        .find_map(|field| lenient::string(field).filter(|text| !text.trim().is_empty()));
    let mut codes: Vec<String> = [error.code, error.kind, completion.code, completion.kind]
        .into_iter()
        .filter_map(lenient::word)
        .collect();
    // vLLM and its likes have no code for it; the sentence is OpenAI's own.
    if message.as_deref().is_some_and(|message| message.contains("maximum context length")) {
        codes.push("context_length_exceeded".to_owned());
    }
    let meaning = codes.iter().find_map(|code| failure::of_code(code));
    Words { message, codes, request_id: None, meaning }
}

/// The text of a content: a string, or the text parts of several.
fn content(content: Option<&RawValue>) -> Option<Cow<'_, str>> {
    lenient::text(content).or_else(|| {
        let parts: Vec<wire::SaidPart> = lenient::value(content)?;
        let texts =
            parts.into_iter().filter(|part| matches!(part.kind.as_deref(), Some("text" | "output_text")));
        Some(texts.filter_map(|part| part.text).collect())
    })
}

fn usage(usage: Option<&RawValue>) -> Option<Usage> {
    let usage: wire::Usage<'_> = lenient::value(usage)?;
    let usage = Usage {
        input_tokens: lenient::count(usage.prompt_tokens),
        output_tokens: lenient::count(usage.completion_tokens),
        total_tokens: lenient::count(usage.total_tokens),
        // The dialect has no money.
        cost: None,
    };
    (!usage.is_empty()).then_some(usage)
}

fn finish_reason(reason: &str) -> Option<FinishReason> {
    Some(match reason {
        "stop" | "eos" | "end_turn" | "stop_sequence" => FinishReason::Stop,
        "length" | "max_tokens" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        _ => return None,
    })
}

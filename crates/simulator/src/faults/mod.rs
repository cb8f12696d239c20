//! Everything that can be made to go wrong, and how it is asked for.
//!
//! The upstream id chooses: GPTunnel's `assistantCode`, MyGPTAssistants' bot id, Unleash's `assistantId`, gigachat.ai's
//! chatbot id, the OpenAI-compatible server's `model`. The table of all ids stands in [`TABLE`] and, the same, in the
//! documentation of this crate; a test compares them.

mod read;

use std::time::Duration;

use crate::script::Framing;

/// The form of an id, and what it does. `N`, `MS`, `S`, `P` stand for numbers.
pub const TABLE: &[(&str, &str)] = &[
    // What is answered instead.
    ("fault-STATUS", "the provider's error body with a status from 400 to 599"),
    ("fault-STATUS-retry-after-S", "the same with `Retry-After: S`"),
    ("fault-STATUS-reset-S", "the same with `X-RateLimit-Reset`: the Unix time in S seconds, in seconds"),
    ("fault-STATUS-reset-ms-S", "the same, in milliseconds"),
    ("fault-too-long", "400 `context_length_exceeded`"),
    ("fault-content-filter", "400 `content_filter`"),
    (
        "fault-code-N",
        "200 with an integer `code` and no answer (GPTunnel's sibling API: 5 no balance, 6 busy, 1001 filtered)",
    ),
    ("fault-success-false", "200 with the provider's error body (MyGPTAssistants: `success: false`)"),
    ("fault-html-STATUS", "an HTML page with a status from 200 to 599"),
    ("fault-redirect", "302 to `/_simulator/redirected`, which writes down who follows"),
    // The connection.
    ("fault-reset", "the connection is reset before the headers"),
    ("fault-close", "the connection is closed before the headers"),
    ("fault-silence", "the request is read and nothing is answered"),
    ("fault-slow-headers-MS", "the headers come after MS milliseconds"),
    ("fault-headers-only", "the headers, then nothing, for ever"),
    ("fault-reset-after-N", "the connection is reset after N pieces of text"),
    ("fault-cut-after-N", "the connection is closed after N pieces, without the end of the body"),
    ("fault-stall-after-N", "nothing more after N pieces, the connection stays open"),
    (
        "fault-hold-after-N",
        "nothing more after N pieces until `POST /_simulator/release?upstream_id=…` with this id",
    ),
    ("fault-end-after-N", "a clean end of the body after N pieces, without the sign of completion"),
    ("fault-slow-text-MS", "the first text comes MS milliseconds after the headers"),
    ("fault-slow-pieces-MS", "MS milliseconds before each piece of text"),
    ("fault-pings-MS", "a comment (for JSON: white space) every MS milliseconds and never a text"),
    // The body.
    ("fault-garbage-after-N", "bytes that are neither JSON nor UTF-8 after N pieces, then the rest"),
    ("fault-error-after-N", "the provider's error as an event after N pieces, then a clean end"),
    ("fault-json-for-stream", "JSON, whatever was asked"),
    ("fault-stream-for-json", "a stream, whatever was asked"),
    ("fault-label-text", "the right body labelled `text/plain`"),
    ("fault-label-json", "the right body labelled `application/json`"),
    ("fault-label-events", "the right body labelled `text/event-stream`"),
    ("fault-label-none", "the right body without a label"),
    ("fault-text-as-events", "the bare text labelled `text/event-stream`"),
    ("fault-empty-body", "200 and no bytes"),
    ("fault-empty-text", "a complete answer whose text is empty"),
    ("fault-no-text", "a complete answer without its text field, a stream without text"),
    ("fault-endless-line", "after the first piece of text a line that does not end (at most 1 GiB)"),
    // The text.
    ("fault-cumulative", "each piece repeats all of the text before it"),
    ("fault-final-differs", "where the end repeats the whole text, it is another text"),
    ("fault-huge-N", "a text of N bytes (at most 64 MiB)"),
    ("fault-big-frame", "a text of 1 MiB in one piece"),
    ("fault-finish-length", "the text is half as long and ends with `finish_reason: length`"),
    ("fault-finish-filter", "the text is half as long and ends with `finish_reason: content_filter`"),
    // The framing of an event stream.
    ("fault-framing-cr", "lines end in CR"),
    ("fault-framing-crlf", "lines end in CR LF"),
    ("fault-framing-bom", "a byte order mark in front"),
    ("fault-framing-no-space", "`data:` without a space"),
    ("fault-framing-several-data", "a JSON document over three `data:` lines"),
    ("fault-framing-comments", "comments, `id:` and `retry:` between and inside the events"),
    ("fault-framing-no-blank-end", "no blank line after the last event"),
    ("fault-framing-no-blanks", "no blank lines at all"),
    ("fault-framing-one-byte", "every byte in a write of its own"),
    ("fault-framing-split", "every character of several bytes in two writes"),
    // Now and then.
    ("flaky-P", "P of 100 calls fail: 429, 500, 502, 503, reset, close or cut-after-2, by the seed"),
];

/// What the documents leave open, as alternatives to the default form: the provider, the id, what it means.
pub const SHAPES: &[(&str, &str, &str)] = &[
    ("", "no-memory", "earlier messages are not remembered (gigachat.ai: `memory_size` 0 taken as none [U])"),
    ("gptunnel", "json", "`stream: true` is ignored and JSON answered [U]"),
    ("gptunnel", "ndjson", "a stream of one JSON document a line [U]"),
    ("gptunnel", "raw-text", "a stream of bare text [U]"),
    ("gptunnel", "no-usage", "no `usage` [O]"),
    ("gptunnel", "2024", "`spendTokenCount`, `historyMessageCount`, no `usage`, no `model` [O]"),
    ("gptunnel", "trailing-comma", "error bodies with the trailing comma of the documentation [D]"),
    ("mygptassistants", "bot-chunks", "`event: chunk` with `bot.text` and `history` [I]"),
    ("mygptassistants", "raw-data", "events whose data is bare text [U]"),
    ("mygptassistants", "raw-text", "a stream of bare text [U]"),
    ("mygptassistants", "no-id", "a stream that never says the `conversationId` [I]"),
    ("mygptassistants", "id-first", "a stream that says the `conversationId` in its first event [U]"),
    ("mygptassistants", "error-null", "`error: null` beside a success [D]"),
    ("mygptassistants", "flat", "`response` at the top of the answer [D]"),
    ("mygptassistants", "error-code", "errors as `{error:{code,message}}` [P]"),
    ("mygptassistants", "error-text", "errors as `{error:text,message,statusCode}` [P]"),
    ("mygptassistants", "error-message", "errors as `{message}` [P]"),
    ("unleash", "flat-message", "`role` and `parts` at the top of a `Message` event [P]"),
    ("unleash", "lower-case", "part types in lower case [P]"),
    ("unleash", "no-full", "no `Full` at the end of a stream [U]"),
    ("unleash", "done", "`[DONE]` at the end of a stream [U]"),
    ("unleash", "no-type", "an answer without `type` [P]"),
    ("unleash", "no-thread", "an answer without `threadId` [U]"),
    ("unleash", "header-id", "the request id in the header alone [O]"),
    ("unleash", "one-based", "`indices` counted from 1 [U]"),
    ("unleash", "references-last", "`References` behind the text, not before it [U]"),
    ("unleash", "2024", "the answer of `POST /chat` of 2024 [P]"),
    ("gigachat", "array", "rows of messages and of documents, mixed [I]"),
    ("gigachat", "documents", "the array of documents of the documentation [D], no answer"),
    ("gigachat", "json-string", "the answer is a JSON string [U]"),
    ("gigachat", "openai-chunks", "a stream of OpenAI's chunks [I]"),
    ("gigachat", "raw-text", "a stream of bare text [I]"),
    ("gigachat", "put-in-json", "`{}` instead of an empty body for a message put in [U]"),
    ("gigachat", "error-object", "errors as `{error:{message}}` [U]"),
];

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    Status(u16, Wait),
    TooLong,
    Filtered,
    Code(i64),
    ErrorUnder200,
    Html(u16),
    Redirect,
    ResetBefore,
    CloseBefore,
    Silence,
    SlowHeaders(Duration),
    After(usize, Break),
    Hold(usize),
    HeadersOnly,
    SlowText(Duration),
    SlowPieces(Duration),
    Pings(Duration),
    JsonForStream,
    StreamForJson,
    Label(Option<&'static str>),
    TextAsEvents,
    EmptyBody,
    EndlessLine,
    Text(Twist),
}

/// How long a refusal asks to wait, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Unsaid,
    RetryAfter(u64),
    Reset(u64),
    ResetMillis(u64),
}

/// What happens after so many pieces of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    Reset,
    Cut,
    Stall,
    End,
    Garbage,
    Error,
}

/// What is done to the text itself, which each provider then writes in its own form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    Empty,
    Absent,
    Cumulative,
    FinalDiffers,
    Huge(usize),
    BigFrame,
    Length,
    Filter,
}

/// What an id asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) fault: Fault,
    /// The fault happens in the first so many calls; always if none.
    pub(crate) times: Option<u64>,
    /// The fault is drawn anew for each call and happens in so many of 100.
    pub(crate) flaky: Option<u8>,
    pub(crate) framing: Framing,
    shapes: Vec<&'static str>,
}

impl Plan {
    /// Reads `id` for `provider`, which knows `assistants` by name. Nothing if it means nothing.
    pub(crate) fn parse(provider: &str, assistants: &[&str], id: &str) -> Option<Self> {
        read::plan(provider, assistants, id)
    }

    /// Whether the alternative form `shape` was asked for.
    pub(crate) fn has(&self, shape: &str) -> bool {
        self.shapes.contains(&shape)
    }

    /// Settles what the call number `call` (from 0) of this id meets; `chance` is any number.
    pub(crate) fn settle(&mut self, call: u64, chance: u64) {
        if let Some(percent) = self.flaky {
            let kinds = [
                Fault::Status(429, Wait::Unsaid),
                Fault::Status(500, Wait::Unsaid),
                Fault::Status(502, Wait::Unsaid),
                Fault::Status(503, Wait::Unsaid),
                Fault::ResetBefore,
                Fault::CloseBefore,
                Fault::After(2, Break::Cut),
            ];
            let kind = usize::try_from((chance >> 32) % kinds.len() as u64).unwrap_or(0);
            let hit = chance % 100 < u64::from(percent);
            self.fault = if hit { kinds.get(kind).copied().unwrap_or_default() } else { Fault::None };
        }
        if self.times.is_some_and(|times| call >= times) {
            self.fault = Fault::None;
            self.framing = Framing::Plain;
        }
    }
}

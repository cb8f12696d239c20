//! What the contract says of each fault: §3.2, §3.3, §3.5 and §4.2, written by hand and not by what the code does.

use std::time::Duration;

use super::stage::Way;

/// The providers by their first letters. `O` and `U` (which replays) have no effect to repeat; the others do.
pub const ALL: &str = "OUGMC";

/// How often one provider is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Once, whoever it is: nothing to try again, or nothing to hope for.
    One,
    /// Three times, whoever it is: the first calls certainly had no effect.
    Three,
    /// Three times where there is no effect to repeat or the operator says `retry.ambiguous`, else once.
    Ambiguous,
    /// Three times, and none arrives.
    Unsent,
}

/// How the turn ends that has no fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `failed`, and an answer in one piece has this status.
    Failed(u16),
    /// `incomplete` with the error: text came before.
    Broken,
    /// `incomplete` with this `finish_reason` and no error: the provider's own word.
    Short(&'static str),
    /// `completed`.
    Fine,
}

/// A fault and what becomes of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The simulator's id.
    pub id: &'static str,
    /// Whom it is for.
    pub whom: &'static str,
    /// Only with a stream, or only without.
    pub stream: Option<bool>,
    pub way: Way,
    pub calls: Calls,
    /// The code and the HTTP status of each call that did not give the answer: of its head, where one came.
    pub outcome: (&'static str, Option<u64>),
    pub end: End,
    /// Whether the fallback is asked.
    pub falls_back: bool,
    /// `retry-after`, at least so many seconds; 0: it is not looked at.
    pub retry_after: u64,
}

fn row(id: &'static str, calls: Calls, code: &'static str, status: impl Into<Option<u64>>, end: End) -> Row {
    let outcome = (code, status.into());
    let (stream, way) = (None, Way::default());
    Row { id, whom: ALL, stream, way, calls, outcome, end, falls_back: true, retry_after: 0 }
}

impl Row {
    fn whom(self, whom: &'static str) -> Self {
        Self { whom, ..self }
    }

    fn streamed(self) -> Self {
        Self { stream: Some(true), ..self }
    }

    fn whole(self) -> Self {
        Self { stream: Some(false), ..self }
    }

    fn way(self, way: Way) -> Self {
        Self { way, ..self }
    }

    fn without_recovery(self) -> Self {
        Self { falls_back: false, ..self }
    }

    fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: seconds, ..self }
    }
}

/// A clock that runs out: long enough for a loaded machine to get to the fault, which never ends by itself.
const SHORT: Duration = Duration::from_millis(150);

fn first_text() -> Way {
    Way { first_text: SHORT, ..Way::default() }
}

fn idle() -> Way {
    Way { idle: SHORT, ..Way::default() }
}

/// An answer whose status says what it is (§3.5, last part).
fn statuses() -> Vec<Row> {
    use Calls::{Ambiguous, One, Three};
    use End::Failed;
    let hour = 3_590;
    vec![
        row("fault-400", One, "provider_rejected", 400, Failed(422)),
        row("fault-401", One, "provider_auth", 401, Failed(502)),
        row("fault-402", One, "provider_account", 402, Failed(502)),
        row("fault-403", One, "provider_auth", 403, Failed(502)),
        row("fault-404", One, "provider_not_found", 404, Failed(502)),
        row("fault-408", One, "provider_rejected", 408, Failed(422)),
        row("fault-409", One, "provider_rejected", 409, Failed(422)),
        row("fault-413", One, "context_too_long", 413, Failed(422)),
        row("fault-422", One, "provider_rejected", 422, Failed(422)),
        // MyGPTAssistants tells with each answer when the minute ends, and a 429 waits for that.
        row("fault-429", Three, "provider_rate_limit", 429, Failed(429)).retry_after(1).whom("OUGC"),
        // Longer than the turn may take: not waited for, and passed on.
        row("fault-429-retry-after-3600", One, "provider_rate_limit", 429, Failed(429)).retry_after(hour),
        row("fault-429-reset-3600", One, "provider_rate_limit", 429, Failed(429)).retry_after(hour),
        row("fault-429-reset-ms-3600", One, "provider_rate_limit", 429, Failed(429)).retry_after(hour),
        row("fault-429-retry-after-0", Three, "provider_rate_limit", 429, Failed(429)),
        row("fault-500", Ambiguous, "provider_error", 500, Failed(502)),
        row("fault-502", Ambiguous, "provider_error", 502, Failed(502)),
        row("fault-504", Ambiguous, "provider_error", 504, Failed(502)),
        row("fault-529", Ambiguous, "provider_error", 529, Failed(502)),
        row("fault-503", Three, "provider_error", 503, Failed(502)),
        row("fault-503-retry-after-0", Three, "provider_error", 503, Failed(502)),
        row("fault-503-retry-after-3600", One, "provider_error", 503, Failed(502)).retry_after(hour),
        row("fault-redirect", One, "provider_protocol", 302, Failed(502)),
        row("fault-html-503", Three, "provider_error", 503, Failed(502)),
        row("fault-html-502", Ambiguous, "provider_error", 502, Failed(502)),
        row("fault-html-404", One, "provider_not_found", 404, Failed(502)),
        row("fault-too-long", One, "context_too_long", 400, Failed(422)),
        // Passed on, not routed around.
        row("fault-content-filter", One, "content_refused", 400, Failed(422)).without_recovery(),
    ]
}

/// Connections and clocks.
fn transport() -> Vec<Row> {
    use Calls::{Ambiguous, One, Unsent};
    use End::{Broken, Failed};
    let refused = Way { refused: true, ..Way::default() };
    let headers = Way { headers: SHORT, ..Way::default() };
    let total = Way { total: SHORT * 3, ..Way::default() };
    // Between two pieces there are two pieces: what comes before the first is the first text's clock alone.
    let both = Way { idle: SHORT, first_text: SHORT * 4, ..Way::default() };
    vec![
        row("fault-500~refused", Unsent, "provider_error", None, Failed(502)).way(refused),
        row("fault-reset", Ambiguous, "provider_error", None, Failed(502)),
        row("fault-close", Ambiguous, "provider_error", None, Failed(502)),
        // A silent provider is not waited for twice. gigachat.ai's calls and those without a stream have no clock to the headers.
        row("fault-silence~h", One, "headers_timeout", None, Failed(504))
            .way(headers.clone())
            .streamed()
            .whom("OUGM"),
        row("fault-silence~f", One, "first_text_timeout", None, Failed(504))
            .way(first_text())
            .streamed()
            .whom("C"),
        row("fault-silence~w", One, "first_text_timeout", None, Failed(504)).way(first_text()).whole(),
        row("fault-silence~t", One, "total_timeout", None, Failed(504)).way(total).without_recovery(),
        row("fault-slow-headers-5000", One, "headers_timeout", None, Failed(504))
            .way(headers)
            .streamed()
            .whom("OUGM"),
        row("fault-headers-only", One, "first_text_timeout", 200, Failed(504)).way(first_text()),
        row("fault-headers-only~both", One, "first_text_timeout", 200, Failed(504)).way(both.clone()),
        row("fault-slow-text-5000", One, "first_text_timeout", 200, Failed(504)).way(first_text()),
        // A provider's own pings count as life, not as text.
        row("fault-pings-5", One, "first_text_timeout", 200, Failed(504)).way(first_text()),
        row("fault-stall-after-2~s", One, "idle_timeout", 200, Broken).way(idle()).streamed().whom("OUGM"),
        row("fault-stall-after-2+shape-openai-chunks", One, "idle_timeout", 200, Broken)
            .way(idle())
            .whom("C"),
        row("fault-stall-after-2~w", One, "idle_timeout", 200, Failed(504)).way(idle()).whole(),
    ]
}

/// Bodies that break, after text (`streamed`) or before any (`whole`: JSON is read at its end).
fn bodies() -> Vec<Row> {
    use Calls::{Ambiguous, One};
    use End::{Broken, Failed, Fine};
    let chunks = "fault-cut-after-2+shape-openai-chunks";
    vec![
        row("fault-cut-after-2~s", One, "provider_error", 200, Broken).streamed().whom("OUGM"),
        row(chunks, One, "provider_error", 200, Broken).whom("C"),
        row("fault-reset-after-2~s", One, "provider_error", 200, Broken).streamed().whom("OUGM"),
        // A head and no text: as if it had broken before. gigachat.ai streams by the bot's setting.
        row("fault-cut-after-0~s", Ambiguous, "provider_error", 200, Failed(502)).streamed().whom("OUGM"),
        row("fault-cut-after-0+shape-openai-chunks", Ambiguous, "provider_error", 200, Failed(502)).whom("C"),
        row("fault-reset-after-0~s", Ambiguous, "provider_error", 200, Failed(502)).streamed().whom("OUGM"),
        row("fault-error-after-0~s", Ambiguous, "provider_error", 200, Failed(502)).streamed().whom("OUGM"),
        // Who is silent is not waited for twice, and who ends without a word has answered.
        row("fault-stall-after-0~s", One, "first_text_timeout", 200, Failed(504))
            .way(first_text())
            .streamed()
            .whom("OUGM"),
        row("fault-garbage-after-0~s", One, "provider_protocol", 200, Failed(502)).streamed().whom("OUGM"),
        row("fault-cut-after-2~w", Ambiguous, "provider_error", 200, Failed(502)).whole(),
        row("fault-reset-after-2~w", Ambiguous, "provider_error", 200, Failed(502)).whole(),
        // What counts as whole where the sign is missing (§3.2).
        row("fault-end-after-2~s", One, "provider_protocol", 200, Broken).streamed().whom("OM"),
        row("fault-end-after-2~s", One, "", None, Fine).streamed().whom("UG"),
        row("fault-end-after-2+shape-openai-chunks", One, "", None, Fine).whom("C"),
        row("fault-end-after-2~w", One, "provider_protocol", 200, Failed(502)).whole(),
        row("fault-garbage-after-2~s", One, "provider_protocol", 200, Broken).streamed().whom("OUGM"),
        row("fault-garbage-after-2+shape-openai-chunks", One, "provider_protocol", 200, Broken).whom("C"),
        row("fault-garbage-after-2~w", One, "provider_protocol", 200, Failed(502)).whole(),
        row("fault-error-after-2~s", One, "provider_error", 200, Broken).streamed().whom("OUGM"),
        row("fault-error-after-2+shape-openai-chunks+shape-error-object", One, "provider_error", 200, Broken)
            .whom("C"),
        row("fault-endless-line~s", One, "provider_protocol", 200, Broken).streamed().whom("OUGM"),
        row("fault-endless-line~w", One, "provider_protocol", 200, Failed(502)).whole(),
        row("fault-html-200", One, "provider_protocol", 200, Failed(502)),
        row("fault-empty-body", One, "provider_empty", 200, Failed(502)),
        row("fault-empty-text", One, "provider_empty", 200, Failed(502)),
        row("fault-no-text", One, "provider_empty", 200, Failed(502)),
    ]
}

/// Answers that say something else than the text.
fn words() -> Vec<Row> {
    use Calls::{Ambiguous, One, Three};
    use End::{Broken, Failed, Fine, Short};
    let chunks = "OG";
    vec![
        // By what it says: a request that is refused.
        row("fault-success-false", One, "provider_rejected", 200, Failed(422)).whom("OUGM"),
        // gigachat.ai's own form of an error cannot be told from an answer; the other form says nothing but that it failed.
        row("fault-success-false", One, "", None, Fine).whom("C"),
        row("fault-success-false+shape-error-object", Ambiguous, "provider_error", 200, Failed(502))
            .whom("C"),
        row("fault-code-5", One, "provider_account", 200, Failed(502)).whom("G"),
        row("fault-code-6", Three, "provider_error", 200, Failed(502)).whom("G"),
        row("fault-code-1001", One, "content_refused", 200, Failed(422)).whom("G").without_recovery(),
        row("fault-finish-length~s", One, "", None, Short("length"))
            .streamed()
            .whom(chunks)
            .without_recovery(),
        row("fault-finish-length~w", One, "", None, Short("length")).whole().whom("O").without_recovery(),
        row("fault-finish-length+shape-openai-chunks", One, "", None, Short("length"))
            .whom("C")
            .without_recovery(),
        row("fault-finish-filter~s", One, "", None, Short("content_filter"))
            .streamed()
            .whom(chunks)
            .without_recovery(),
        row("fault-finish-filter~w", One, "", None, Short("content_filter"))
            .whole()
            .whom("O")
            .without_recovery(),
        // Half a text without a word why is all that these can say.
        row("fault-finish-length~n", One, "", None, Fine).whom("UM"),
        // Beyond `max_reply`: cut, and no fallback is asked.
        row("fault-huge-300000", One, "provider_protocol", 200, Broken).without_recovery(),
        row("fault-big-frame", One, "provider_protocol", 200, Broken).without_recovery(),
    ]
}

/// All of them.
pub fn rows() -> Vec<Row> {
    [statuses(), transport(), bodies(), words()].concat()
}

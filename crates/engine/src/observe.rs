//! What can be seen of turns from outside: numbers through the `metrics` facade, spans through `tracing`.
//!
//! Both cost next to nothing while nobody listens. Spans have the target [`SPANS`], so that the log can leave them out and an exporter
//! can take them alone; their fields are OpenTelemetry's for generative AI. Nothing here holds what anybody said.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chat::{AssistantName, LedgerRow, ProviderError, ProviderName, Turn, TurnStatus, Usage};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use crate::call::Facts;
use crate::catalog::Assistant;
use crate::meters;

/// The target of all spans that are meant for tracing systems.
pub const SPANS: &str = "otel";

/// Tells the headers by which a span's trace goes on elsewhere (W3C trace context); none while no spans are kept.
pub type TraceHeaders = fn(&Span) -> Vec<(&'static str, String)>;

/// How traces go on at providers, once somebody said how.
#[derive(Debug, Default, Clone)]
pub(crate) struct Propagation(Arc<OnceLock<TraceHeaders>>);

impl Propagation {
    pub(crate) fn set(&self, headers: TraceHeaders) {
        // The first one stands, as a process has one tracing system.
        let _ = self.0.set(headers);
    }

    fn headers(&self, span: &Span) -> Vec<(&'static str, String)> {
        match self.0.get() {
            Some(headers) if !span.is_disabled() => headers(span),
            _ => Vec::new(),
        }
    }
}

/// A turn while it runs.
#[derive(Debug)]
pub(crate) struct TurnWatch {
    pub(crate) span: Span,
    pub(crate) propagation: Propagation,
    began: Instant,
    has_text: bool,
}

impl TurnWatch {
    /// The turn was accepted just now.
    pub(crate) fn new(turn: &Turn, propagation: Propagation) -> Self {
        let span = tracing::info_span!(
            target: SPANS,
            "turn",
            otel.name = Empty,
            otel.status_code = Empty,
            gen_ai.operation.name = "invoke_agent",
            gen_ai.agent.name = turn.assistant.as_str(),
            gen_ai.conversation.id = Empty,
            gen_ai.response.model = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            "error.type" = Empty,
            switchboard.turn.id = Empty,
            switchboard.turn.status = Empty,
            switchboard.answered_by = Empty,
            switchboard.provider = Empty,
        );
        if !span.is_disabled() {
            span.record("otel.name", format!("invoke_agent {}", turn.assistant));
            span.record("switchboard.turn.id", turn.id.to_string());
            if let Some(id) = turn.conversation_id {
                span.record("gen_ai.conversation.id", id.to_string());
            }
        }
        Self { span, propagation, began: Instant::now(), has_text: false }
    }

    /// Text came that readers see.
    pub(crate) fn text(&mut self, assistant: &Assistant) {
        if !std::mem::replace(&mut self.has_text, true) {
            assistant.first_text().record(self.began.elapsed());
        }
    }

    /// The turn has ended so. `asked` are those whom it may have asked.
    pub(crate) fn ended(&self, turn: &Turn, rows: &[LedgerRow], asked: &[Arc<Assistant>]) {
        let find = |assistant: &AssistantName, provider: &ProviderName| {
            asked.iter().find(|one| one.name == *assistant && one.provider.name == *provider)
        };
        let (assistant, provider) = (turn.assistant.as_str(), turn.provider.as_str());
        let author = find(&turn.assistant, &turn.provider);
        match author {
            Some(author) if turn.status == TurnStatus::Completed => author.completed_turns().increment(1),
            _ => meters::turns(assistant, provider, turn.status.as_str()).increment(1),
        }
        match author {
            Some(author) => author.turn_duration().record(self.began.elapsed()),
            None => meters::turn_duration(assistant).record(self.began.elapsed()),
        }
        for row in rows {
            if let Some(tokens) = row.usage.as_ref().and_then(Usage::tokens) {
                match find(&row.assistant, &row.provider) {
                    Some(asked) => asked.tokens().increment(tokens),
                    None => meters::tokens(row.assistant.as_str(), row.provider.as_str()).increment(tokens),
                }
            }
        }
        if self.span.is_disabled() {
            return;
        }
        self.span.record("switchboard.turn.status", turn.status.as_str());
        self.span.record("switchboard.answered_by", turn.assistant.as_str());
        self.span.record("switchboard.provider", turn.provider.as_str());
        if let Some(model) = &turn.model {
            self.span.record("gen_ai.response.model", model.as_str());
        }
        record_usage(&self.span, turn.usage.as_ref());
        if let Some(error) = &turn.error {
            self.span.record("error.type", error.code.as_str());
        }
        if turn.status == TurnStatus::Failed || turn.error.is_some() {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct CallWatch {
    assistant: Arc<Assistant>,
    turn: Span,
    propagation: Propagation,
}

impl CallWatch {
    pub(crate) fn new(assistant: Arc<Assistant>, turn: &TurnWatch) -> Self {
        // So that it is shown from its first call on, whether that says anything or not.
        assistant.piece_gap();
        Self { assistant, turn: turn.span.clone(), propagation: turn.propagation.clone() }
    }

    /// An attempt begins.
    pub(crate) fn attempt(&self, number: u32) -> Span {
        let Assistant { name, provider, upstream_id, .. } = self.assistant.as_ref();
        let span = tracing::info_span!(
            target: SPANS,
            parent: &self.turn,
            "attempt",
            otel.name = Empty,
            otel.kind = "client",
            otel.status_code = Empty,
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = provider.kind,
            gen_ai.request.model = upstream_id.as_str(),
            gen_ai.response.model = Empty,
            gen_ai.response.id = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            http.response.status_code = Empty,
            "error.type" = Empty,
            switchboard.assistant = name.as_str(),
            switchboard.provider = provider.name.as_str(),
            switchboard.attempt = number,
            switchboard.outcome = Empty,
        );
        if !span.is_disabled() {
            span.record("otel.name", format!("chat {upstream_id}"));
        }
        span
    }

    /// The headers by which the provider may go on with the trace.
    pub(crate) fn headers(&self, attempt: &Span) -> Vec<(&'static str, String)> {
        self.propagation.headers(attempt)
    }

    /// A piece of text came so long after the one before it.
    pub(crate) fn gap(&self, gap: Duration) {
        self.assistant.piece_gap().record(gap);
    }

    /// An attempt has ended; its span ends with this.
    #[expect(clippy::needless_pass_by_value, reason = "a span ends when it is dropped: here")]
    pub(crate) fn ended(&self, span: Span, outcome: &str, status: Option<u16>, facts: Option<&Facts>) {
        match outcome {
            "completed" => self.assistant.completed_attempts().increment(1),
            _ => meters::attempts(self.assistant.provider.name.as_str(), outcome).increment(1),
        }
        if span.is_disabled() {
            return;
        }
        span.record("switchboard.outcome", outcome);
        if let Some(status) = status {
            span.record("http.response.status_code", status);
        }
        if let Some(facts) = facts {
            if let Some(model) = &facts.model {
                span.record("gen_ai.response.model", model.as_str());
            }
            if let Some(id) = &facts.upstream.request_id {
                span.record("gen_ai.response.id", id.as_str());
            }
            record_usage(&span, facts.usage.as_ref());
        }
        if !FINE.contains(&outcome) {
            span.record("error.type", outcome);
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// Ends of an attempt that are nobody's fault.
const FINE: [&str; 5] = ["completed", "incomplete", "hedged", "cancelled", "draining"];

fn record_usage(span: &Span, usage: Option<&Usage>) {
    let Some(usage) = usage else { return };
    if let Some(tokens) = usage.input_tokens {
        span.record("gen_ai.usage.input_tokens", tokens);
    }
    if let Some(tokens) = usage.output_tokens {
        span.record("gen_ai.usage.output_tokens", tokens);
    }
}

/// A line of the log for an attempt that failed: what, never in whose words.
pub(crate) fn log_failure(turn: chat::TurnId, assistant: &Assistant, error: &ProviderError) {
    tracing::info!(
        turn.id = %turn,
        assistant = assistant.name.as_str(),
        provider.name = assistant.provider.name.as_str(),
        outcome = error.failure.code().as_str(),
        status = error.status,
        "a provider failed"
    );
    if let Some(words) = &error.message {
        let provider = assistant.provider.name.as_str();
        tracing::info!(target: CONTENT, { turn.id = %turn, provider.name = provider, words }, "a provider said");
    }
}

/// The target of all that may hold what users, assistants or providers said: left out of the log unless the operator wants it there.
pub const CONTENT: &str = "content";

/// What was asked and what was answered, for operators that want it in the log.
pub(crate) fn log_content(turn: chat::TurnId, role: &'static str, content: &chat::Content) {
    if tracing::enabled!(target: CONTENT, tracing::Level::INFO) {
        let text = content.text();
        tracing::info!(target: CONTENT, { turn.id = %turn, role, text = text.as_ref() }, "was said");
    }
}

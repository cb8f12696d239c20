//! An assistant's numbers, looked up among all that a process counts once for each assistant instead of once for each turn: names,
//! labels and hashes cost several times as much as counting does.
//!
//! What is seldom counted is counted by name where it happens ([`crate::observe`]).

use std::fmt;
use std::sync::{Arc, OnceLock};

use metrics::{Counter, Histogram};

use crate::catalog::Assistant;

/// Where an assistant's numbers are counted, once it was found out. Those of a copy are the same.
///
/// Nothing is found out before the first turn: what counts must be set up by then.
#[derive(Clone, Default)]
pub struct Meters(Arc<Found>);

#[derive(Default)]
struct Found {
    completed_attempts: OnceLock<Counter>,
    completed_turns: OnceLock<Counter>,
    tokens: OnceLock<Counter>,
    turn_duration: OnceLock<Histogram>,
    first_text: OnceLock<Histogram>,
    piece_gap: OnceLock<Histogram>,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

impl Assistant {
    /// Attempts at its provider that came to their end.
    pub(crate) fn completed_attempts(&self) -> &Counter {
        self.meters.0.completed_attempts.get_or_init(|| attempts(self.provider.name.as_str(), "completed"))
    }

    /// Turns that it has answered to their end.
    pub(crate) fn completed_turns(&self) -> &Counter {
        let (name, provider) = (self.name.as_str(), self.provider.name.as_str());
        self.meters.0.completed_turns.get_or_init(|| turns(name, provider, "completed"))
    }

    /// The tokens that its calls took.
    pub(crate) fn tokens(&self) -> &Counter {
        self.meters.0.tokens.get_or_init(|| tokens(self.name.as_str(), self.provider.name.as_str()))
    }

    /// How long its turns take.
    pub(crate) fn turn_duration(&self) -> &Histogram {
        self.meters.0.turn_duration.get_or_init(|| turn_duration(self.name.as_str()))
    }

    /// How long its first text takes.
    pub(crate) fn first_text(&self) -> &Histogram {
        self.meters.0.first_text.get_or_init(|| {
            metrics::histogram!("switchboard_first_text_seconds",
                "assistant" => self.name.to_string(), "provider" => self.provider.name.to_string())
        })
    }

    /// How long it is from a piece of its provider's to the next.
    pub(crate) fn piece_gap(&self) -> &Histogram {
        self.meters.0.piece_gap.get_or_init(|| {
            metrics::histogram!("switchboard_piece_gap_seconds", "provider" => self.provider.name.to_string())
        })
    }
}

/// Attempts at a provider that came to this.
pub(crate) fn attempts(provider: &str, outcome: &str) -> Counter {
    metrics::counter!("switchboard_attempts_total",
        "provider" => provider.to_owned(), "outcome" => outcome.to_owned())
}

/// Turns that this assistant and provider answered, and that ended so.
pub(crate) fn turns(assistant: &str, provider: &str, status: &'static str) -> Counter {
    metrics::counter!("switchboard_turns_total",
        "assistant" => assistant.to_owned(), "provider" => provider.to_owned(), "status" => status)
}

/// How long the turns take that this assistant answers.
pub(crate) fn turn_duration(assistant: &str) -> Histogram {
    metrics::histogram!("switchboard_turn_duration_seconds", "assistant" => assistant.to_owned())
}

/// The tokens that calls of this assistant and provider took.
pub(crate) fn tokens(assistant: &str, provider: &str) -> Counter {
    metrics::counter!("switchboard_tokens_total",
        "assistant" => assistant.to_owned(), "provider" => provider.to_owned())
}

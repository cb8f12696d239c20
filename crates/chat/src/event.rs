//! The event stream of a turn: `Started`, pieces, exactly one end, nothing after.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::{Metadata, Source, Turn, TurnStatus};

/// What a provider, or the gateway for its sake, is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The step: `web_search`, `retry`, `fallback`.
    pub step: String,
    /// What belongs to it, beside `step` in the event: `assistant` of a fallback.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub detail: Metadata,
}

impl Progress {
    /// A step with nothing beside it.
    #[must_use]
    pub fn step(step: impl Into<String>) -> Self {
        Self { step: step.into(), detail: Metadata::new() }
    }

    /// The same with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }
}

/// An event of a turn, owned.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The turn is accepted and durable. Once, first.
    Started(Box<Turn>),
    /// What is being done.
    Progress(Progress),
    /// All sources known so far, in place of the list before.
    Sources(Vec<Source>),
    /// Text to append.
    Delta(String),
    /// At this place in the text these sources are cited.
    Citation(Vec<String>),
    /// In place of all the text so far. Drops the citations before it.
    Replaced(String),
    /// The end: once, last. The turn's status says which.
    Ended(Box<Turn>),
}

/// An event of a turn where it stands in a log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EventRef<'a> {
    /// See [`Event::Started`].
    Started(&'a Turn),
    /// See [`Event::Progress`].
    Progress(&'a Progress),
    /// See [`Event::Sources`].
    Sources(&'a [Source]),
    /// See [`Event::Delta`].
    Delta(&'a str),
    /// See [`Event::Citation`].
    Citation(&'a [String]),
    /// See [`Event::Replaced`].
    Replaced(&'a str),
    /// See [`Event::Ended`].
    Ended(&'a Turn),
}

impl<'a> EventRef<'a> {
    /// The event's type as clients see it: the `event:` line.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => "turn.started",
            Self::Progress(_) => "turn.progress",
            Self::Sources(_) => "turn.sources",
            Self::Delta(_) => "message.delta",
            Self::Citation(_) => "message.citation",
            Self::Replaced(_) => "message.replaced",
            Self::Ended(turn) => match turn.status {
                TurnStatus::Completed => "turn.completed",
                TurnStatus::Incomplete => "turn.incomplete",
                TurnStatus::Cancelled => "turn.cancelled",
                TurnStatus::Failed | TurnStatus::Queued | TurnStatus::InProgress => "turn.failed",
            },
        }
    }

    /// Whether this is the last event of its turn.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// The event's `data`: one line of JSON that repeats type and number.
    #[must_use]
    pub fn data(self, seq: u64) -> Data<'a> {
        Data { event: self, seq }
    }

    /// A copy that stands alone.
    #[must_use]
    pub fn to_owned(&self) -> Event {
        match *self {
            Self::Started(turn) => Event::Started(Box::new(turn.clone())),
            Self::Progress(progress) => Event::Progress(progress.clone()),
            Self::Sources(sources) => Event::Sources(sources.to_vec()),
            Self::Delta(text) => Event::Delta(text.to_owned()),
            Self::Citation(ids) => Event::Citation(ids.to_vec()),
            Self::Replaced(text) => Event::Replaced(text.to_owned()),
            Self::Ended(turn) => Event::Ended(Box::new(turn.clone())),
        }
    }
}

/// An event and its number, as the JSON of a `data:` line.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    event: EventRef<'a>,
    seq: u64,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", self.event.kind())?;
        map.serialize_entry("seq", &self.seq)?;
        match self.event {
            EventRef::Started(turn) | EventRef::Ended(turn) => map.serialize_entry("turn", turn)?,
            EventRef::Progress(progress) => {
                map.serialize_entry("step", &progress.step)?;
                for (name, value) in &progress.detail {
                    map.serialize_entry(name, value)?;
                }
            }
            EventRef::Sources(sources) => map.serialize_entry("sources", sources)?,
            EventRef::Delta(text) | EventRef::Replaced(text) => map.serialize_entry("text", text)?,
            EventRef::Citation(ids) => map.serialize_entry("source_ids", ids)?,
        }
        map.end()
    }
}

//! Turns that run, as other gateways watch them: what passes between gateways that share more than a store.
//!
//! All of it may be lost at any time. What must not be is in the store: whoever follows a turn that is kept reads on there.

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use futures_util::Stream;
use serde::{Deserialize, Serialize};

use crate::{AssistantName, LogSlice, MessageId, TenantId, Turn, TurnId, UserId};

/// Entries of one turn in order, as they come; ends when nothing more can come.
pub type LiveEntries = Pin<Box<dyn Stream<Item = LiveEntry> + Send>>;

/// Turns that somebody wants stopped, as it is said; ends with the gateway.
pub type LiveStops = Pin<Box<dyn Stream<Item = TurnId> + Send>>;

/// Nothing was published: what is shared is away, slow or full. What was to be said may be there all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("other gateways cannot be told")]
pub struct LiveError;

/// What a gateway says of a turn that runs there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LiveEntry {
    /// Whose turn it is: in the first entry, and wherever all is said anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Box<LiveHead>>,
    /// Events behind those of the entry before; none as a sign of life.
    pub slice: LogSlice,
    /// The number of the last event in it.
    pub last_seq: u64,
    /// It has ended: that of a turn that is kept is in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Box<LiveEnd>>,
}

/// Whose a turn is, and how it began: enough to show it to those who may see it, and to nobody else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveHead {
    /// Whose.
    pub tenant: TenantId,
    /// The end user.
    pub user: Option<UserId>,
    /// The assistant that was asked.
    pub assistant: AssistantName,
    /// The id that the reply has, or will have.
    pub reply_id: MessageId,
    /// Whether it is kept in the store.
    pub stored: bool,
    /// The turn as it was accepted.
    pub started: Turn,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LiveEnd {
    /// The turn, where it is not kept.
    pub turn: Option<Turn>,
    /// Not a part of its error's own JSON.
    pub retry_after: Option<u64>,
}

/// What gateways tell each other of turns that run. Bounded in time, in memory and in what stays behind.
#[async_trait]
pub trait LiveTurns: Send + Sync + fmt::Debug + 'static {
    /// Whether others can be told now.
    fn is_up(&self) -> bool;

    /// Appends to what others know of a turn that runs here. At most one call at a time for each turn.
    ///
    /// # Errors
    /// Others cannot be told now.
    async fn publish(&self, id: TurnId, entry: LiveEntry) -> Result<(), LiveError>;

    /// What is said of a turn, from the oldest entry that is there on; waits for the first one if need be. Dropped, it is read no
    /// more.
    ///
    /// # Errors
    /// As many are followed as can be.
    fn follow(&self, id: TurnId) -> Result<LiveEntries, LiveError>;

    /// Says that a turn that runs elsewhere is read here. Holds for a few seconds: said again each second.
    async fn watch(&self, id: TurnId);

    /// Whether a turn that runs here is read elsewhere; false when nobody can say.
    async fn is_watched(&self, id: TurnId) -> bool;

    /// Wants a turn stopped at once, wherever it runs. If nobody hears it nothing happens.
    async fn wish_stop(&self, id: TurnId);

    /// The turns that others want stopped, from now on. Once for a gateway.
    fn stops(&self) -> LiveStops;
}

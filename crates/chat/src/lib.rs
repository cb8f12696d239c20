//! The words of Switchboard: what a turn, a message, an event, a provider and a store are.
//!
//! This crate does no I/O and depends on no other crate of the workspace. Everything that crosses the border between two
//! crates is one of these types or traits, so that the crates on both sides can be read, tested and replaced alone.
//!
//! Text from outside is parsed once, at the edge, into the types of this crate; from there on it is trusted.

mod caller;
mod conversation;
mod error;
mod event;
mod fields;
mod frame;
mod id;
mod ledger;
mod limits;
mod live;
mod log;
mod message;
mod name;
mod provider;
mod reply;
mod source;
mod store;
mod time;
mod turn;
mod usage;

pub use caller::{AllowedAssistants, Caller, Lease, Permission, Permissions};
pub use conversation::{Conversation, ConversationChange, ConversationFilter, Page, PageRequest};
pub use error::{ErrorCode, ErrorKind, TurnError};
pub use event::{Data, Event, EventRef, Progress};
pub use fields::fields;
pub use frame::Frame;
pub use id::{ConversationId, KeyId, MessageId, ParseIdError, TurnId};
pub use ledger::{LedgerRow, UsageRange, UsageSum};
pub use limits::{
    Admission, Hit, Pot, Rate, RateState, Room, SharedLimits, Span, Spent, Taken, Unit, billionths,
};
pub use live::{LiveEnd, LiveEntries, LiveEntry, LiveError, LiveHead, LiveStops, LiveTurns};
pub use log::{EventLog, LogError, LogSlice};
pub use message::{Content, Delivery, Message, MessageStatus, Part, Role};
pub use name::{AssistantName, NameError, ProviderName, TenantId, UserId};
pub use provider::{
    AttemptObserver, AttemptReport, Capabilities, Clock, Effect, Emulated, Failure, HistoryMessage,
    Injection, Memory, Offer, Piece, PieceStream, Probe, Provider, ProviderError, ProviderStatus, Request,
    Thread, UpstreamConversation, UpstreamMessage, UpstreamPage,
};
pub use reply::{GrammarError, Reply};
pub use source::Source;
pub use store::{
    Acceptance, Accepted, Checkpoint, ConversationStore, Fork, Idempotency, KeyRecord, Maintenance,
    NewConversation, NewKey, NewMessage, NewTurn, Peer, Roll, StoreError, StoreStatus, StoredThread,
    StoredTurn, ThreadSeed, ThreadUpdate, TurnEnd, TurnNews, TurnTarget, Unsettled, UsageSumOfKey, WhenBusy,
};
pub use time::Timestamp;
pub use turn::{
    Attempt, AttemptOutcome, FinishReason, Metadata, OtherOutcome, Turn, TurnMessage, TurnObject, TurnStatus,
    UpstreamIds,
};
pub use usage::{Cost, Usage};

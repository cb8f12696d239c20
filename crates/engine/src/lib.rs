//! One turn, start to finish: route it, record it, recover it. No HTTP, no SQL, no provider's name.
//!
//! **The turn is the object; connections only watch it.** [`Engine::chat`] accepts a turn, which is durable from then on, and
//! gives back a [`Reader`] of its events: one of any number. A task of the engine's own runs the turn to its end, whoever reads.

mod accept;
mod ask;
mod call;
mod catalog;
mod conversations;
mod describe;
mod doubt;
mod engine;
mod follow;
mod guard;
mod lookup;
mod membership;
mod meters;
mod observe;
mod publish;
mod question;
mod record;
mod recover;
mod refused;
mod registry;
mod running;
mod settle;
mod sync;
mod tasks;
mod thread;
mod turn;
mod unread;
mod unstored;

pub use ask::{Ask, Extension, NewConversationAsk, Prompt, PutMessage};
pub use catalog::{Assistant, AssistantView, Catalog, CatalogError, Clocks, ProviderEntry, ProviderView};

pub use engine::{Engine, OnDisconnect, Settings};
pub use meters::Meters;
pub use observe::{CONTENT, SPANS, TraceHeaders};
pub use refused::Refused;
pub use running::{Read, Reader, Seen};
pub use sync::UpstreamConversationView;

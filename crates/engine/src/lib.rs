//! One turn, start to finish: route it, record it, recover it. No HTTP, no SQL, no provider's name.
//!
//! **The turn is the object; connections only watch it.** [`Engine::chat`] accepts a turn, which is durable from then on, and
//! gives back a [`Reader`] of its events: one of any number. A task of the engine's own runs the turn to its end, whoever reads.

mod ask;
mod catalog;
mod conversations;
mod engine;
mod refused;
mod running;
mod tasks;

pub use ask::{Ask, NewConversationAsk, Prompt, PutMessage};
pub use catalog::{Assistant, AssistantView, Catalog, CatalogError, Clocks, ProviderEntry, ProviderView};
pub use conversations::UpstreamConversationView;
pub use engine::{Engine, OnDisconnect, Settings};
pub use refused::Refused;
pub use running::{Read, Reader};

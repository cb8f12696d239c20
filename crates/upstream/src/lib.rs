//! HTTP out: one pooled client per provider behind one onion of layers, and the reader of event streams.
//!
//! This crate knows nothing of chat. A provider is handed an [`Upstream`]; it cannot make a connection of its own.

mod around;
mod attempt;
mod breaker;
mod call;
mod client;
mod config;
mod failure;
mod gzip;
mod h1;
mod judge;
mod permit;
mod retry;
mod retry_after;
pub mod sse;
mod stack;
mod tasks;
mod tls;
mod upstream;
mod watch;
mod window;

pub use breaker::Hint;
pub use call::{Answered, Body, Call, Classifier, Observer, Repeat, Response, Retried, Verdict};
pub use client::Client;
pub use config::{BreakerConfig, BuildError, Config, RetryConfig};
pub use failure::{Cause, Clock, Failure, Lost, Refusal};
pub use tls::Authorities;
pub use upstream::{LastFailure, Status, Upstream};

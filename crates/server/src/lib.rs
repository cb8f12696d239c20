//! HTTP in: routes, keys, limits, event streams. The only crate that knows the public HTTP face; `error.rs` alone chooses a status.
//!
//! A request passes the layers of `stack.rs`, outermost first, and reaches one of the routes listed in `routes/mod.rs`.

mod app;
mod around;
mod body;
mod config;
mod error;
mod idempotency;
mod key;
mod keys;
mod limits;
mod listener;
mod live;
mod metrics;
mod middleware;
mod openai;
mod openapi;
mod places;
mod preface;
mod progress;
mod protocol;
mod query;
mod refusal;
mod routes;
mod scan;
mod scrape;
mod series;
mod server;
mod sse;
mod stack;
mod stall;
mod streams;
mod takeover;
mod tasks;
mod text;
mod tls;
mod token;

pub use config::{Config, Tls};
pub use key::{
    Budget, KeySpec, Limits, LimitsError, Per, Reserve, SECRET_PREFIX, Unknowable, hash_secret, new_secret,
};
pub use metrics::count;
pub use middleware::trace::AdoptTrace;
pub use openapi::openapi;
pub use server::{BindError, Bound, Reload, Reloaded, Server, Shutdown};

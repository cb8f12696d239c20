//! HTTP in: routes, keys, limits, event streams. The only crate that knows the public HTTP face; `error.rs` alone chooses a status.
//!
//! A request passes the layers of `stack.rs`, outermost first, and reaches one of the routes listed in `routes/mod.rs`.

mod config;
mod key;
mod server;

pub use config::{Config, Tls};
pub use key::{Budget, KeySpec, Limits, LimitsError, Per, Reserve, SECRET_PREFIX, hash_secret, new_secret};
pub use server::{BindError, Bound, Reload, Reloaded, Server, Shutdown};

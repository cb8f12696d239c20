//! One layer a file, each an `async fn`; `stack.rs` puts them in order.

pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod catch_panic;
pub(crate) mod compress;
pub(crate) mod cors;
pub(crate) mod load_shed;
pub(crate) mod rate_limit;
pub(crate) mod request_id;
pub(crate) mod trace;
pub(crate) mod unread;

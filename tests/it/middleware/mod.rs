//! The layers around the routes, as a caller sees them.

mod auth;
mod cors;
mod order;
mod rate_limit;

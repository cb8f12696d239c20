//! The layers around the routes, as a caller sees them.

mod auth;
mod compress;
mod cors;
mod leases;
mod order;
mod rate_limit;
mod secrecy;
mod shed;

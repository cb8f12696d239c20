//! One test binary: a file or folder for each part, see `crates/README.md`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests: a failed expectation is a panic, and nothing here is public"
)]

mod browser;
mod cassette;
mod clients;
mod cluster_limits;
mod config;
mod crash;
mod degraded;
mod deploy;
mod engine;
mod faults;
mod gateway;
mod grammar;
mod kit;
mod listener;
mod middleware;
mod model;
mod observe;
mod openai;
mod openapi;
mod providers;
mod replicas;
mod rolling;
mod routes;
mod simulator;
mod size;
mod smoke;
mod store;
mod tidy;
mod upstream;

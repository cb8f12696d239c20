//! The process: flags, configuration, logs, wiring. The only crate that sees all others.

pub mod config;

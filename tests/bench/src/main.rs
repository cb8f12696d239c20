//! The benchmark: the gateway as a process, a stand-in upstream, nginx as the yardstick, and a load generator, on one machine.
//!
//! `tests/bench/run` builds and starts it; `tests/bench/README.md` says what is measured and how.

mod cases;
mod clock;
mod commits;
mod conditions;
mod dialect;
mod events;
mod goals;
mod grow;
mod http;
mod json;
mod machine;
mod plan;
mod postgres;
mod report;
mod rounds;
mod slow;
mod streams;
mod targets;
mod tasks;
mod timed;
mod tls;
mod upstream;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was answered was whole.
fn run(words: &[String]) -> anyhow::Result<bool> {
    match words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("upstream", [threads, tls @ ..])) => {
            upstream::serve(threads.parse().context("threads")?, tls.first().map(Path::new))?;
            Ok(true)
        }
        Some(("run", options)) => cases::run(&plan::Plan::parse(options)?),
        _ => bail!("started by tests/bench/run"),
    }
}

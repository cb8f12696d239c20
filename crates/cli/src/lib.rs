//! The process: flags, configuration, logs, wiring. The only crate that sees all others.

mod commands;
pub mod config;
mod files;
mod hints;
mod log_line;
mod log_writer;
mod logging;
mod output;
mod reload;
mod signals;
mod tasks;
mod traces;
mod wiring;
mod workers;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// Self-hosted gateway between your applications and assistant services: one API, one store of conversations, one place for
/// keys, limits and costs.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, max_term_width = 100, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Runs the program with these arguments, the first of them its name. 0: done; 1: the work failed; 2: the words were wrong.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to standard output, mistakes to standard error. A closed pipe is nobody's mistake.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(arguments.command.run());
    // A thread that still waits for a line of standard input would hold the process.
    runtime.shutdown_background();
    log_writer::flush();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::problem(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

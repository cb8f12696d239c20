//! `switchboard openapi`: what the API is, for programs.

use std::process::ExitCode;

use clap::Args;

use crate::output;

/// Prints the API's description.
#[derive(Debug, Args)]
pub(crate) struct OpenApi {}

impl OpenApi {
    pub(super) fn run(self) -> ExitCode {
        output::piece(server::openapi());
        ExitCode::SUCCESS
    }
}

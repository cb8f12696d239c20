//! `switchboard healthcheck`: exit 0 if the gateway is ready, for a container without a shell.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Address;
use crate::output;

/// Shorter than the patience of those who ask (Docker's default is 30 s).
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the gateway is ready.
#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    #[command(flatten)]
    address: Address,
}

impl Healthcheck {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // The gateway's own neighbourhood: a proxy of the environment is for the world outside.
        let mut client = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
        if !self.address.url.starts_with("https:") {
            // Plain text needs no authorities, and an image may have none.
            client = client.tls_certs_only([]);
        }
        match client.build()?.get(self.address.route("/readyz")).send().await {
            Ok(answer) if answer.status().is_success() => Ok(ExitCode::SUCCESS),
            Ok(answer) => {
                output::problem(&format!("not ready: the gateway answers {}", answer.status()));
                Ok(ExitCode::FAILURE)
            }
            Err(error) => {
                output::problem(&format!("not ready: {}", super::chat::reason(&error)));
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

//! `switchboard serve`: the gateway.

use std::process::ExitCode;

use clap::Args;

use super::ConfigFile;
use crate::config::Config;
use crate::logging;
use crate::signals::Signals;
use crate::wiring::Gateway;

/// The gateway.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let traces = logging::start(&config.observability)?;
        let outcome = Box::pin(self.serve(config)).await;
        if let Some(traces) = traces {
            traces.flush().await;
        }
        outcome
    }

    async fn serve(self, config: Config) -> anyhow::Result<ExitCode> {
        // Caught before the listeners open: whoever sees the gateway listen may already ask it to leave.
        let signals = Signals::catch()?;
        let gateway = Gateway::open(config, &self.config.file).await?;
        let bound = gateway.bind().await?;
        let admin = bound.admin_address.map(|address| address.to_string());
        tracing::info!(address = %bound.address, admin_address = admin, "listening");
        gateway.watch_files();
        Ok(gateway.run(bound, signals).await)
    }
}

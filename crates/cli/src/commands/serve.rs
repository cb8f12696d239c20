//! `switchboard serve`: the gateway.

use std::process::ExitCode;

use clap::Args;

use super::ConfigFile;
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
        logging::start(&config.observability);
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

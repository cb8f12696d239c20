//! `switchboard migrate`: brings the store's schema up to date and leaves.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use secrecy::ExposeSecret as _;

use super::ConfigFile;
use crate::logging;

/// Brings the store's schema up to date.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    config: ConfigFile,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        logging::start_log(&config.observability, None);
        let store = store::Config::new(config.storage.url.expose_secret());
        store::migrate(&store).await.context("the store's schema cannot be brought up to date")?;
        tracing::info!("the store's schema is up to date");
        Ok(ExitCode::SUCCESS)
    }
}

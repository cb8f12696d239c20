//! `switchboard simulate`: the simulated providers alone.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;

use super::Pace;
use crate::output;
use crate::signals::Signals;
use crate::wiring::url_of;

/// The simulated providers.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Where to listen. Port 0: one that the system chooses.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// How fast assistants speak.
    #[arg(long, value_enum, default_value = "human")]
    pace: Pace,
    /// Chooses the texts: the same seed and the same calls give the same answers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Simulate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::catch()?;
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen on {}", self.listen))?;
        let url = url_of(listener.local_addr()?);
        output::line(&format!("Simulated providers on {url} (key: {})", simulator::KEY));
        for provider in &simulator::PROVIDERS {
            let ids = provider.assistants.join(", ");
            output::line(&format!("  {:16} base_url = \"{url}{}\"  {ids}", provider.name, provider.path));
        }
        output::line(&format!(
            "What was asked: {url}/_simulator/calls  What can go wrong: {url}/_simulator/faults"
        ));
        let options =
            simulator::Options { seed: self.seed, pace: self.pace.into(), ..simulator::Options::default() };
        simulator::serve(listener, options, signals.leave()).await;
        Ok(ExitCode::SUCCESS)
    }
}

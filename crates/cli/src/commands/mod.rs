//! The subcommands, a file each.

mod chat;
mod check;
mod demo;
mod healthcheck;
mod keys;
mod migrate;
mod openapi;
mod serve;
mod simulate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::{Config, DEFAULT_FILE, Process};

/// What the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it: the gateway, simulated providers and a throw-away store in one process.
    Demo(demo::Demo),
    /// Run the gateway.
    Serve(serve::Serve),
    /// Check the configuration and name every problem.
    Check(check::Check),
    /// Bring the store's schema up to date and leave.
    Migrate(migrate::Migrate),
    /// Run the simulated providers alone.
    Simulate(simulate::Simulate),
    /// Make, list and revoke keys in the store.
    Keys(keys::Keys),
    /// Talk to an assistant of a running gateway.
    Chat(chat::Chat),
    /// Print the OpenAPI 3.1 document of the API.
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
    /// Ask a running gateway whether it is ready.
    Healthcheck(healthcheck::Healthcheck),
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(demo) => Box::pin(demo.run()).await,
            Self::Serve(serve) => Box::pin(serve.run()).await,
            Self::Check(check) => check.run().await,
            Self::Migrate(migrate) => migrate.run().await,
            Self::Simulate(simulate) => simulate.run().await,
            Self::Keys(keys) => Box::pin(keys.run()).await,
            Self::Chat(chat) => Box::pin(chat.run()).await,
            Self::OpenApi(openapi) => Ok(openapi.run()),
            Self::Healthcheck(healthcheck) => healthcheck.run().await,
        }
    }
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration.
    #[arg(long = "config", value_name = "FILE", env = "SWITCHBOARD_CONFIG", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

impl ConfigFile {
    /// Reads it. Everything that is wrong is in the error.
    fn load(&self) -> anyhow::Result<Config> {
        Ok(Config::load(&self.file, &Process, &[])?)
    }
}

/// Which gateway to call.
#[derive(Debug, Args)]
pub(crate) struct Address {
    /// The running gateway.
    #[arg(long, value_name = "URL", env = "SWITCHBOARD_URL", default_value = "http://127.0.0.1:8080",
        value_parser = address)]
    url: String,
}

fn address(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.map(|_| text.trim().to_owned()).ok_or_else(|| "a URL such as http://127.0.0.1:8080".to_owned())
}

impl Address {
    /// The URL of a route.
    fn route(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }
}

/// How fast simulated assistants speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pace {
    /// As a person reads.
    Human,
    /// At once.
    Instant,
}

impl From<Pace> for simulator::Pace {
    fn from(pace: Pace) -> Self {
        match pace {
            Pace::Human => Self::Human,
            Pace::Instant => Self::Instant,
        }
    }
}

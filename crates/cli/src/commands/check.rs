//! `switchboard check`: everything that is wrong with a configuration.

use std::process::ExitCode;

use chat::Probe;
use clap::Args;
use futures_util::future::join_all;

use super::ConfigFile;
use crate::config::{Config, LoadError, Process, json_schema, reference};
use crate::output;

/// Checks the configuration.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    config: ConfigFile,
    /// Also ask each provider whether its credential works, where the provider has a free way to ask.
    #[arg(long)]
    probe: bool,
    /// Show the effective configuration, with secrets blotted out.
    #[arg(long)]
    print: bool,
    /// Show every key there is, with type, unit and default, and read no configuration.
    #[arg(long, conflicts_with_all = ["probe", "print"])]
    reference: bool,
    /// Show the configuration's JSON Schema, for editors, and read no configuration.
    #[arg(long, conflicts_with_all = ["probe", "print", "reference"])]
    schema: bool,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        if self.reference {
            output::piece(&reference());
            return Ok(ExitCode::SUCCESS);
        }
        if self.schema {
            output::piece(&json_schema());
            return Ok(ExitCode::SUCCESS);
        }
        let config = match Config::load(&self.config.file, &Process, &[]) {
            Ok(config) => config,
            Err(LoadError::Invalid(invalid)) => {
                for problem in &invalid.0 {
                    output::line(&problem.to_string());
                }
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error.into()),
        };
        if self.print {
            output::piece(&config.printed);
        } else {
            output::line(&format!(
                "{}: no problem found ({}, {}, {})",
                self.config.file.display(),
                many(config.providers().len(), "provider"),
                many(config.catalog.assistants().count(), "assistant"),
                many(config.keys.len(), "key"),
            ));
        }
        if self.probe && !probe(&config).await {
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn many(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Asks all providers at once; says whether none refused.
async fn probe(config: &Config) -> bool {
    let asked = config.providers().iter().map(async |entry| (entry, entry.provider.probe().await));
    let mut well = true;
    for (entry, outcome) in join_all(asked).await {
        let words = match outcome {
            Ok(Probe::Works) => "the credential works".to_owned(),
            Ok(Probe::NotOffered) => "not asked: there is no free way to ask".to_owned(),
            Err(error) => {
                well = false;
                let said = error.message.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
                format!("{error}{said}")
            }
        };
        output::line(&format!("providers.{} ({}): {words}", entry.name, entry.kind));
    }
    well
}

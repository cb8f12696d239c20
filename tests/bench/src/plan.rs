//! What is to be run, for how long, where.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The binary of the gateway.
    pub(crate) gateway: PathBuf,
    /// Where configurations, logs and stores are put; must be on a disk for the numbers of the store to mean something.
    pub(crate) work: PathBuf,
    /// Where results are kept.
    pub(crate) results: PathBuf,
    /// Of the sources, as `git describe` says it.
    pub(crate) commit: String,
    /// Everything short: shows that it works, measures little.
    pub(crate) quick: bool,
    /// Whether the run is written to the results.
    pub(crate) keep: bool,
    /// For so many minutes memory is watched under load; half a minute of rounds when zero.
    pub(crate) minutes: u64,
    /// Only cases whose name begins with one of these; all when empty.
    pub(crate) only: Vec<String>,
}

impl Plan {
    /// Reads the command line.
    pub(crate) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut plan = Self {
            gateway: PathBuf::new(),
            work: PathBuf::new(),
            results: PathBuf::new(),
            commit: "unknown".to_owned(),
            quick: false,
            keep: false,
            minutes: 0,
            only: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--gateway" => plan.gateway = value()?.into(),
                "--work" => plan.work = value()?.into(),
                "--results" => plan.results = value()?.into(),
                "--commit" => plan.commit = value()?,
                "--minutes" => plan.minutes = value()?.parse().context("--minutes wants a number")?,
                "--only" => plan.only.push(value()?),
                "--quick" => plan.quick = true,
                "--keep" => plan.keep = true,
                other => bail!("{other}: unknown; --quick, --keep, --minutes N, --only CASE"),
            }
        }
        Ok(plan)
    }

    /// Whether a case is to be run.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| case.starts_with(name.as_str()))
    }

    /// The length of a measurement: a fifth in a quick run, at least one second.
    pub(crate) fn seconds(&self, full: u64) -> Duration {
        Duration::from_secs(if self.quick { (full / 5).max(1) } else { full })
    }
}

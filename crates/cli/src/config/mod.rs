//! The configuration: read, checked as a whole, printed.
//!
//! Reading goes by one table of keys (`schema`). What the table can't say (names that must point somewhere, keys that exclude
//! each other) is checked in `check`; what only a provider can say about its own settings, in `build`. Every problem is collected
//! with its line, and all are told at once.

mod build;
mod check;
mod interpolate;
mod json_schema;
mod print;
mod problem;
mod quantity;
mod read;
mod reference;
mod schema;
mod seen;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{Catalog, ProviderEntry, Settings};
use secrecy::SecretString;
use server::KeySpec;

pub use build::Built;
pub use interpolate::{Environment, Process};
pub use json_schema::json_schema;
pub use problem::{Invalid, Problem};
pub(crate) use quantity::duration;
pub use reference::reference;
pub use seen::Seen;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "config/switchboard.toml";

/// A configuration without a problem.
#[derive(Debug)]
pub struct Config {
    /// What clients and operators call.
    pub server: server::Config,
    /// How the process leaves.
    pub drain: Drain,
    /// Where conversations are kept.
    pub storage: Storage,
    /// The Redis of a cluster.
    pub cluster: Option<cluster::Config>,
    /// How turns are run.
    pub turns: Settings,
    /// Assistants and providers.
    pub catalog: Arc<Catalog>,
    /// The providers, to be taken over by the next configuration where their settings stay the same.
    pub built: Vec<Built>,
    /// Keys.
    pub keys: Vec<KeySpec>,
    /// What is logged.
    pub observability: Observability,
    /// Everything that was read: the file itself, secrets in files of their own, certificates.
    pub files: Vec<Seen>,
    /// The file with its defaults filled in and its secrets blotted out.
    pub printed: String,
}

/// How the process leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// How long turns are still accepted after the signal.
    pub delay: Duration,
    /// How long running turns may go on after that.
    pub timeout: Duration,
}

/// Where conversations are kept.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The store's URL; may hold a password.
    pub url: SecretString,
    /// Conversations unchanged for longer are erased; none: they are kept.
    pub retention: Option<Duration>,
}

/// What is logged.
#[derive(Debug, Clone)]
pub struct Observability {
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// Whether messages may stand in the log.
    pub log_content: bool,
    /// Where spans are sent, a URL that may hold a password; none: nowhere.
    pub otlp_endpoint: Option<SecretString>,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// A JSON object.
    #[default]
    Json,
    /// Text for people.
    Text,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`: {why}", .file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why. No `source`: whoever prints the whole chain would print it twice.
        why: std::io::Error,
    },
    /// It is read and wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Config {
    /// Reads and checks a file. Providers whose settings are those of one `before` are taken over with their connections,
    /// breakers and places.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong: then everything that is wrong is told.
    pub fn load(file: &Path, environment: &dyn Environment, before: &[Built]) -> Result<Self, LoadError> {
        let text =
            std::fs::read_to_string(file).map_err(|why| LoadError::File { file: file.to_owned(), why })?;
        let mut config = Self::parse(&file.display().to_string(), &text, environment, before)?;
        config.files.push(Seen::holding(file, text.as_bytes()));
        Ok(config)
    }

    /// Reads and checks a text; `file` is what it is called in problems.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        file: &str,
        text: &str,
        environment: &dyn Environment,
        before: &[Built],
    ) -> Result<Self, Invalid> {
        let mut reader = read::Reader::new(file, text, environment);
        let config = reader.file(text).map(|mut values| {
            let config = check::config(&mut values, &mut reader, before);
            (config, values)
        });
        let files = std::mem::take(&mut reader.files);
        reader.problems.finish()?;
        match config {
            Some((Some(mut config), values)) => {
                config.files.extend(files);
                config.printed = print::file(&values, &build::is_secret);
                Ok(config)
            }
            // Without a problem there is a configuration; this is for the compiler.
            _ => Err(Invalid(Vec::new())),
        }
    }

    /// The providers as configured.
    #[must_use]
    pub fn providers(&self) -> &[Arc<ProviderEntry>] {
        self.catalog.providers()
    }

    /// What clients call.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.server.listen
    }
}

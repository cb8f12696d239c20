//! Translations: what the gateway asks, into each provider's own words, and their answers back.
//!
//! A provider is a folder: `Config` (its own settings), `encode` (a request into a call: pure), `decode` (items of an answer into
//! pieces: pure) and a few lines that put them together. It imports `chat`, `upstream`, the shared parts of this crate and itself,
//! never a sibling. The shared parts, one idea a file:
//!
//! - `link`: a provider's way out; sends a call and runs the answer through shape and decoder.
//! - `shape`: what an answer's body really is (JSON, events, lines, text), told by label and first bytes.
//! - `decoder`: what a provider's decoder is, and the driver that makes a stream of pieces from it.
//! - `text_mode`: whether pieces of text add up or repeat what was said.
//! - `quote`: history and instructions told inside the message, for providers that take neither.
//! - `failure`: what went wrong, in the words of `chat`, by the contract's table.
//! - `blotter`: what may be passed on of a provider's words.
//! - `credential`: API keys as operators paste them.
//! - `lenient`: JSON as providers really write it.
//! - `loose`: fields whose type the providers' documents leave open.
//! - `section`: a provider's table of the configuration.
//! - `health`: the last error, for admins.

mod again;
mod blotter;
mod credential;
mod decoder;
mod failure;
mod gigachat;
mod gptunnel;
mod health;
mod lenient;
mod link;
mod loose;
mod mygptassistants;
mod openai;
mod quote;
mod redaction;
mod section;
mod shape;
mod text_mode;
mod unleash;

use std::sync::Arc;

use chat::Provider;
use secrecy::SecretString;
use upstream::Upstream;

pub use section::BuildError;

/// A sort of provider: one row of [`KINDS`].
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// What `[providers.x] kind` says.
    pub name: &'static str,
    /// Where the provider is found when `base_url` is left out.
    pub default_base_url: &'static str,
    /// The provider's own settings as a JSON Schema with descriptions and defaults: for the reference, and to name the nearest
    /// right key. Secrets are `writeOnly`.
    pub settings: fn() -> schemars::Schema,
    /// Makes a provider from its own settings.
    pub build: Build,
}

/// Makes a provider from its own settings, its way out, and what it is made with beside.
pub type Build = fn(toml::Table, Upstream, Context) -> Result<Arc<dyn Provider>, BuildError>;

/// What a provider is made with beside its settings and its way out.
#[derive(Debug, Clone)]
pub struct Context {
    /// Every secret of the whole configuration: blotted out of the providers' words.
    pub secrets: Arc<[SecretString]>,
    /// How much text of a reply the gateway takes (`[server] max_reply`), in bytes: the bound of bodies follows from it.
    pub reply_bytes_max: usize,
}

/// All sorts of providers there are.
pub const KINDS: &[Kind] =
    &[gptunnel::KIND, mygptassistants::KIND, unleash::KIND, gigachat::KIND, openai::KIND];

/// The row of [`KINDS`] with this name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Makes a provider of this kind. `section` is the `[providers.x]` table without what belongs to the gateway (`kind`, `base_url`,
/// the clocks, `retry`, `breaker`, limits, `proxy`, `ca_file`, `headers`).
///
/// # Errors
/// No such kind, or the section cannot be used: the error names the key.
pub fn build(
    kind_name: &str,
    section: toml::Table,
    upstream: Upstream,
    context: Context,
) -> Result<Arc<dyn Provider>, BuildError> {
    let row =
        kind(kind_name).ok_or_else(|| BuildError::at("kind", format!("no such kind: `{kind_name}`")))?;
    (row.build)(section, upstream, context)
}

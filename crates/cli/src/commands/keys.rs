//! `switchboard keys`: keys in the store.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chat::{
    AssistantName, KeyId, KeyRecord, Maintenance as _, NewKey, Permission, StoreError, TenantId, Timestamp,
};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use server::{Limits, hash_secret, new_secret};
use tokio_util::task::TaskTracker;

use super::ConfigFile;
use crate::config::{self, Config};
use crate::{logging, output, wiring};

/// How long writes have to become durable before the command gives up.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Keys in the store.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print its secret, once.
    Create(Create),
    /// List the keys of the store.
    List(List),
    /// Revoke a key: it stops working within a second. Turns that run with it finish.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    /// What the key is called in logs and metrics.
    #[arg(long, value_parser = name)]
    name: String,
    /// Whose conversations, turns and usage it sees; its own name when left out.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// An assistant that it may use; may be given several times. All when left out.
    #[arg(long = "assistant", value_name = "ASSISTANT")]
    assistants: Vec<AssistantName>,
    /// Something else that it may do; may be given several times.
    #[arg(long = "may", value_name = "PERMISSION", value_parser = permission)]
    may: Vec<Permission>,
    /// Open the admin routes to it.
    #[arg(long)]
    admin: bool,
    /// When it ends, counted from now: `90d`.
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    expires: Option<Duration>,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The key's id: `key_…`.
    id: KeyId,
    #[command(flatten)]
    config: ConfigFile,
}

/// A key's name: it is its tenant's as well, where none is named.
fn name(text: &str) -> Result<String, String> {
    text.parse::<TenantId>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn permission(word: &str) -> Result<Permission, String> {
    let known = Permission::ALL.iter().find(|permission| permission.as_str() == word);
    known.copied().ok_or_else(|| {
        let all: Vec<_> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
        format!("one of {}", all.join(", "))
    })
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match config::duration(text) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("a duration such as 90d or 12h".to_owned()),
    }
}

impl Keys {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Create(create) => create.run().await,
            Action::List(list) => list.run().await,
            Action::Revoke(revoke) => revoke.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        if let Some(unknown) = self.assistants.iter().find(|name| config.catalog.assistant(name).is_none()) {
            bail!("the configuration has no assistant `{unknown}`");
        }
        let tenant = match self.tenant {
            Some(tenant) => tenant,
            None => self.name.parse().with_context(|| format!("`{}` is no name of a tenant", self.name))?,
        };
        let secret = new_secret();
        let now = Timestamp::now();
        let key = NewKey {
            name: self.name,
            hash: hash_secret(secret.expose_secret()),
            tenant,
            assistants: (!self.assistants.is_empty()).then_some(self.assistants),
            may: self.may.into_iter().collect(),
            admin: self.admin,
            expires_at: self.expires.map(|lifetime| now.plus(lifetime)),
            limits: serde_json::to_string(&Limits::default())?,
        };
        let record = with_store(&config, async |store| store.create_key(key, now).await).await?;
        audit(&config, "keys create", &record);
        output::note(&format!("Key {} ({}). Its secret is shown this once:", record.id, record.key.name));
        output::line(secret.expose_secret());
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let keys = with_store(&config, async |store| store.keys().await).await?;
        let heading = ["ID", "NAME", "TENANT", "ASSISTANTS", "MAY", "CREATED", "STATE"].map(str::to_owned);
        let now = Timestamp::now();
        let rows: Vec<_> = std::iter::once(heading).chain(keys.iter().map(|key| row(key, now))).collect();
        let widths: Vec<usize> = (0..7)
            .map(|column| {
                rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
            })
            .map(Option::unwrap_or_default)
            .collect();
        for row in rows {
            let cells: Vec<_> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}", width = *width))
                .collect();
            output::line(cells.join("  ").trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(record: &KeyRecord, now: Timestamp) -> [String; 7] {
    let key = &record.key;
    let listed = |words: Vec<&str>, none: &str| {
        if words.is_empty() { none.to_owned() } else { words.join(",") }
    };
    let assistants = key.assistants.as_ref().map_or_else(
        || "all".to_owned(),
        |names| listed(names.iter().map(AssistantName::as_str).collect(), "none"),
    );
    let mut may: Vec<_> = key.may.list().iter().map(|permission| permission.as_str()).collect();
    if key.admin {
        may.push("admin");
    }
    let state = match (record.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) if at <= now => format!("expired {at}"),
        (None, Some(at)) => format!("until {at}"),
        (None, None) => "in use".to_owned(),
    };
    let (name, tenant) = (key.name.clone(), key.tenant.to_string());
    [record.id.to_string(), name, tenant, assistants, listed(may, "-"), record.created_at.to_string(), state]
}

impl Revoke {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let id = self.id;
        match with_store(&config, async |store| store.revoke_key(id, Timestamp::now()).await).await {
            Ok(record) => {
                audit(&config, "keys revoke", &record);
                output::line(&format!("revoked {} ({})", record.id, record.key.name));
                Ok(ExitCode::SUCCESS)
            }
            Err(error) if matches!(error.downcast_ref(), Some(StoreError::NoKey)) => {
                let in_file = config.keys.iter().any(|key| key.id == id);
                let hint = if in_file { ": it stands in the configuration, take it out there" } else { "" };
                bail!("there is no key {id} in the store{hint}")
            }
            Err(error) => Err(error),
        }
    }
}

/// What an admin did is a line of the log here as it is at the gateway: standard error is collected together.
fn audit(config: &Config, action: &str, record: &KeyRecord) {
    logging::start_log(&config.observability, None);
    tracing::info!(target: "audit", {
        action,
        by = "command line",
        outcome = "done",
        key.id = %record.id,
        key.name = record.key.name,
        tenant = %record.key.tenant,
    }, "an admin changed something");
}

/// Opens the configuration's store for one call, and closes it once what was written is durable.
async fn with_store<T>(
    config: &Config,
    call: impl AsyncFnOnce(&store::Store) -> Result<T, StoreError>,
) -> anyhow::Result<T> {
    let store = wiring::open_store(&config.storage, &TaskTracker::new()).await?;
    let outcome = call(&store).await;
    store.close(CLOSE_MAX).await.context("the store did not close in time")?;
    Ok(outcome?)
}

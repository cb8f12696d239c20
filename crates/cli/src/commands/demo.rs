//! `switchboard demo`: the gateway, simulated providers and a throw-away store in one process.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use secrecy::ExposeSecret as _;
use server::{Bound, new_secret};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Pace;
use crate::config::{Config, LogFormat, Process};
use crate::signals::Signals;
use crate::wiring::{Gateway, url_of};
use crate::{logging, output, tasks};

/// The key of a demo that nobody but this machine can reach.
const LOOPBACK_KEY: &str = "demo-key-for-this-machine";

/// An assistant of the demo.
struct Assistant {
    name: &'static str,
    description: &'static str,
    /// A further setting of its provider: one that streams only if it is told to is told to.
    setting: &'static str,
    /// What is appended to the id upstream: the bot that streams, where that is the bot's own setting.
    form: &'static str,
}

/// The demo's assistants: one for each simulated provider, in their order.
const ASSISTANTS: [Assistant; 5] = [
    Assistant {
        name: "support",
        description: "Answers customers",
        setting: "stream_upstream = true\n",
        form: "",
    },
    Assistant { name: "sales", description: "Knows the catalogue", setting: "", form: "" },
    Assistant {
        name: "docs",
        description: "Searches the company's documents and cites them",
        setting: "",
        form: "",
    },
    Assistant {
        name: "concierge",
        description: "Speaks for the house",
        setting: "",
        form: "+shape-openai-chunks",
    },
    Assistant { name: "model", description: "A bare language model", setting: "", form: "" },
];

/// Try it.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where to listen; port 8080 of this machine when left out, or one that is free.
    #[arg(long, value_name = "ADDR", env = "SWITCHBOARD_LISTEN")]
    listen: Option<SocketAddr>,
    /// How fast the simulated assistants speak.
    #[arg(long, value_enum, default_value = "human")]
    pace: Pace,
}

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        logging::start_with(LogFormat::Text, "warn", false, None);
        let signals = Signals::catch()?;
        let folder = tempfile::tempdir().context("no folder for the demo's store")?;
        let listen = self.listen.unwrap_or_else(usual_or_free);
        let key = if listen.ip().is_loopback() {
            LOOPBACK_KEY.to_owned()
        } else {
            new_secret().expose_secret().to_owned()
        };
        let (simulator, simulated) = self.simulate().await?;

        let text = configuration(listen, &key, &url_of(simulated), folder.path());
        let config = Config::parse("the demo's configuration", &text, &Process, &[])?;
        let gateway = Gateway::open(config, Path::new("")).await?;
        let bound = gateway.bind().await?;
        output::line(&banner(&bound, &key, simulated));
        let code = gateway.run(bound, signals).await;
        simulator.cancel();
        Ok(code)
    }

    /// Runs the simulated providers on a port of their own, until the token says to stop.
    async fn simulate(&self) -> anyhow::Result<(CancellationToken, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let options = simulator::Options { pace: self.pace.into(), ..simulator::Options::default() };
        let stopped = stop.clone().cancelled_owned();
        tasks::spawn(&TaskTracker::new(), simulator::serve(listener, options, stopped));
        Ok((stop, address))
    }
}

/// The port that the examples name, if it is free.
fn usual_or_free() -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    match StdListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

fn configuration(listen: SocketAddr, key: &str, simulated: &str, folder: &Path) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let store = format!("sqlite:{}", folder.join("demo.db").display());
    let mut text = format!(
        "[server]\nlisten = \"{listen}\"\nadmin_listen = \"127.0.0.1:0\"\ndrain_timeout = \"5s\"\n\
         [storage]\nurl = {}\n\
         [[keys]]\nname = \"demo\"\nsecret = {}\nadmin = true\nmay = [\"operator\", \"adopt\", \"tokens\"]\n",
        quoted(&store.replace("${", "$${")),
        quoted(key),
    );
    for (provider, Assistant { name, description, setting, form }) in
        simulator::PROVIDERS.iter().zip(ASSISTANTS)
    {
        let upstream_id = provider.assistants.first().copied().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[providers.{provider}]\nkind = \"{provider}\"\nbase_url = \"{simulated}{path}\"\napi_key = \"{key}\"\n{setting}\
             [assistants.{name}]\nprovider = \"{provider}\"\nupstream_id = \"{upstream_id}{form}\"\ndescription = \"{description}\"\n",
            provider = provider.name,
            path = provider.path,
            key = simulator::KEY,
        );
    }
    text
}

fn banner(bound: &Bound, key: &str, simulated: SocketAddr) -> String {
    let url = url_of(bound.address);
    let headers = format!("-H 'authorization: Bearer {key}' -H 'content-type: application/json'");
    let mut assistants = String::new();
    for (provider, Assistant { name, description, .. }) in simulator::PROVIDERS.iter().zip(ASSISTANTS) {
        let _ = writeln!(assistants, "  {name:10} {description} ({}, simulated)", provider.name);
    }
    let admin = bound.admin_address.map(|address| format!("{}/metrics", url_of(address))).unwrap_or_default();
    format!(
        "\
Switchboard demo: nothing is kept, no provider is called for real.

  address    {url}
  key        {key}
  metrics    {admin}
  asked      {}/_simulator/calls

Assistants:
{assistants}
A reply in one piece:

  curl -s {url}/v1/chat {headers} -d '{{\"assistant\": \"support\", \"message\": \"Hello! My name is Ada.\"}}'

The same, as it is spoken:

  curl -sN {url}/v1/chat {headers} -d '{{\"assistant\": \"docs\", \"message\": \"What is our holiday policy?\", \"stream\": true}}'

A conversation that goes on:

  id=$(curl -s {url}/v1/chat {headers} -d '{{\"assistant\": \"support\", \"message\": \"My name is Ada.\"}}' | grep -o 'conv_[0-9a-f]*' | head -n 1)
  curl -s {url}/v1/chat {headers} -d \"{{\\\"conversation_id\\\": \\\"$id\\\", \\\"message\\\": \\\"What is my name?\\\"}}\"

Or talk: switchboard chat --url {url} --key {key} --assistant support

Ctrl-C ends the demo.",
        url_of(simulated),
    )
}

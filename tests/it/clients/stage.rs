//! A gateway over the simulator, and programs of others that call it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::crash::bed::{Bed, Gateway, SECRET};
use crate::smoke::program::PATIENCE;

/// The id of the simulator that holds a reply back after its first piece.
pub const HELD: &str = "fault-hold-after-1";

/// The secret of a key that may ask once every five seconds.
const LIMITED: &str = "a-key-with-limits";

/// What runs a script.
#[derive(Debug, Clone, Copy)]
pub enum Tool {
    Python,
    LiteLlm,
    Node,
    Shell,
}

/// A gateway and what is behind it.
pub struct Stage {
    pub bed: Bed,
    pub gateway: Gateway,
    folder: PathBuf,
}

/// Where the clients are installed; none when the environment names no folder.
pub fn installed() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration to read the folder from")]
    let Ok(folder) = std::env::var("SWITCHBOARD_TEST_CLIENTS") else {
        eprintln!("skipped: SWITCHBOARD_TEST_CLIENTS names no folder; tests/clients/install makes it");
        return None;
    };
    Some(folder.into())
}

impl Stage {
    /// A gateway whose assistant `support` has this id at this provider. None when no clients are installed.
    pub async fn open(support: (&str, &str)) -> Option<Self> {
        let folder = installed()?;
        let assistants = [
            ("support", support.0, support.1),
            ("seeing", "gptunnel", "ai08158128"),
            ("blind", "unleash", "default"),
            ("model", "openai", "sim-model"),
            ("cut", "unleash", "fault-cut-after-2"),
            ("cut-model", "openai", "fault-cut-after-2"),
            ("held", "unleash", HELD),
        ];
        let bed = Bed::new(&assistants, "heartbeat = \"200ms\"", "").await;
        // Clients are shown many failures here, and each is to be told as itself.
        bed.change("[defaults]\n", "[defaults]\nbreaker = { minimum = 100000 }\n");
        bed.change("kind = \"gptunnel\"\n", "kind = \"gptunnel\"\nstream_upstream = true\n");
        let limited = format!(
            "[[keys]]\nname = \"limited\"\nsecret = \"{LIMITED}\"\nrequests_per_minute = 12\nburst = 1\n[[keys]]\n"
        );
        bed.change("[[keys]]\n", &limited);
        let gateway = bed.start().await;
        Some(Self { bed, gateway, folder })
    }

    /// Lets the simulator go on with what it holds back.
    pub async fn release(&self) {
        let url = format!("{}/_simulator/release?upstream_id={HELD}", self.bed.simulator);
        assert_eq!(self.gateway.client.post(url).send().await.unwrap().status(), 204);
    }

    /// Runs a file of the repository to its good end, and gives what it wrote to standard output.
    pub async fn run(&self, tool: Tool, file: &str) -> String {
        self.run_at(tool, file, &self.gateway.url).await
    }

    /// The same with the gateway at another address.
    pub async fn run_at(&self, tool: Tool, file: &str, url: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        // Node looks for packages beside the file.
        let beside = tempfile::tempdir_in(self.folder.join("node")).unwrap();
        let mut command = match tool {
            Tool::Python => Command::new(self.folder.join("python/bin/python")),
            Tool::LiteLlm => Command::new(self.folder.join("litellm/bin/python")),
            Tool::Node => Command::new("node"),
            Tool::Shell => Command::new("bash"),
        };
        match tool {
            Tool::Node => command.arg(copied(&path, beside.path())),
            _ => command.arg(&path),
        };
        let unwanted = [
            "http_proxy",
            "HTTP_PROXY",
            "all_proxy",
            "ALL_PROXY",
            "PYTHONPATH",
            "NODE_OPTIONS",
            "OPENAI_API_KEY",
        ];
        for name in unwanted.iter().chain(&[
            "OPENAI_BASE_URL",
            "OPENAI_LOG",
            "LANGSMITH_TRACING",
            "LANGCHAIN_TRACING_V2",
        ]) {
            command.env_remove(name);
        }
        command
            .env("SWITCHBOARD_URL", url)
            .env("SWITCHBOARD_KEY", SECRET)
            .env("SWITCHBOARD_LIMITED_KEY", LIMITED)
            .env("SIMULATOR_URL", &self.bed.simulator)
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // What was sent and when, to be read when a step fails: on standard error in Python, in Node among what is printed.
            .env("OPENAI_LOG", if matches!(tool, Tool::Node) { "off" } else { "info" })
            // Whatever would leave this machine finds nobody there.
            .env("https_proxy", "http://127.0.0.1:9")
            .env("no_proxy", "127.0.0.1,localhost")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE * 3, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{file} does not end")).unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{file}: {}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// What the assistant said last, of all that was kept.
    pub async fn last_reply(&self) -> String {
        let (_, list) = self.gateway.get("/v1/conversations?limit=1").await;
        let id = list["data"][0]["id"].as_str().unwrap_or_else(|| panic!("nothing was kept: {list}"));
        let (_, messages) = self.gateway.get(&format!("/v1/conversations/{id}/messages?order=desc")).await;
        let is_reply = |message: &&Value| message["role"] == "assistant";
        let reply = messages["data"].as_array().unwrap().iter().find(is_reply).unwrap();
        assert_eq!(reply["status"], "completed", "{reply}");
        reply["text"].as_str().unwrap().to_owned()
    }
}

/// Copies a script, and the modules that stand beside it, into this folder.
fn copied(script: &Path, into: &Path) -> PathBuf {
    for entry in std::fs::read_dir(script.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            std::fs::copy(&path, into.join(path.file_name().unwrap())).unwrap();
        }
    }
    into.join(script.file_name().unwrap())
}

//! A Redis for tests: the one that the environment names, or one of a test's own that it may stop, pause and end.

use std::path::Path;
use std::process::Stdio;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::smoke::program::PATIENCE;

/// The Redis of this run: `host:port`. None when the environment names none.
pub fn shared() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration to read the server from")]
    let Ok(url) = std::env::var("SWITCHBOARD_TEST_REDIS") else {
        eprintln!("skipped: SWITCHBOARD_TEST_REDIS names no server");
        return None;
    };
    Some(url.trim_start_matches("redis://").trim_end_matches('/').to_owned())
}

/// A Redis of a test's own. Ends with the test.
pub struct Redis {
    child: Child,
    pub port: u16,
    folder: tempfile::TempDir,
    options: Vec<String>,
}

impl Redis {
    pub async fn start() -> Option<Self> {
        Self::with(&[]).await
    }

    /// With further options; those of TLS take `PORT` for its port.
    pub async fn with(options: &[&str]) -> Option<Self> {
        // Where tests/run has not been, there may be no Redis at all.
        shared()?;
        let folder = tempfile::tempdir().unwrap();
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        // A port is anybody's until it is listened on: one that was taken meanwhile is not tried twice.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            if let Some(child) = run(folder.path(), port, &options).await {
                return Some(Self { child, port, folder, options });
            }
        }
        panic!("redis-server does not start: {}", log(folder.path()));
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As a power cut would: it remembers nothing.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Another one in its place.
    pub async fn start_again(&mut self) {
        let child = run(self.folder.path(), self.port, &self.options).await;
        self.child = child.unwrap_or_else(|| panic!("{}", log(self.folder.path())));
    }

    /// `STOP` or `CONT`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    /// Asks it something in its own words.
    pub async fn cli(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

async fn run(folder: &Path, port: u16, options: &[String]) -> Option<Child> {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let number = port.to_string();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]).arg(folder);
    if !options.iter().any(|option| option == "--port") {
        command.args(["--port", &number]);
    }
    command.args(options.iter().map(|option| if option == "PORT" { &number } else { option }));
    let mut child =
        command.stdout(Stdio::from(log)).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let listening = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::task::yield_now().await;
        }
        true
    };
    let listens = tokio::time::timeout(PATIENCE, listening).await.expect("it listens or ends");
    listens.then_some(child)
}

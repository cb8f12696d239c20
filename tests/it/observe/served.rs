//! The program as a gateway, with all that it logs.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::smoke::program::{PATIENCE, client, command};

/// The secret of the key that tests call with.
pub const KEY: &str = "swk-canary-of-the-client";
/// The secret of a key that is an admin.
pub const ADMIN: &str = "swk-canary-of-the-admin";

/// A running gateway. Ends with the test.
pub struct Served {
    pub url: String,
    pub admin: String,
    pub folder: tempfile::TempDir,
    child: Child,
    log: Arc<Mutex<String>>,
    reading: JoinSet<()>,
    stopped: CancellationToken,
    client: reqwest::Client,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Served {
    /// A gateway with this configuration behind addresses, store and keys.
    pub async fn start(config: &str) -> Self {
        Self::with(config, &[]).await
    }

    /// The same in this environment.
    pub async fn with(config: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), config);
        let mut command = command(&["serve", "--config"]);
        command.arg(folder.path().join("switchboard.toml")).envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (log, (listens, listening)) = (Arc::new(Mutex::new(String::new())), oneshot::channel());
        let mut reading = JoinSet::new();
        let kept = Arc::clone(&log);
        let stopped = CancellationToken::new();
        let stop = stopped.clone();
        reading.spawn(async move {
            let mut listens = Some(listens);
            while let Some(Ok(Some(line))) = stop.run_until_cancelled(lines.next_line()).await {
                if line.contains("listening") && line.contains("admin_address") {
                    let _ = listens.take().map(|listens| listens.send(line.clone()));
                }
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
            // Kept until the test ends: a pipe that is closed is no pipe that is full.
            if stop.is_cancelled() {
                std::future::pending::<()>().await;
            }
        });
        let line = tokio::time::timeout(PATIENCE, listening).await.expect("it listens");
        let line = line.unwrap_or_else(|_| panic!("it has ended: {}", log.lock().unwrap()));
        let mut addresses = line.split("127.0.0.1:").skip(1).map(|rest| {
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            format!("http://127.0.0.1:{port}")
        });
        let (url, admin) = (addresses.next().unwrap(), addresses.next().unwrap());
        Self { url, admin, folder, child, log, reading, stopped, client: client() }
    }

    /// Reads no more of what it logs, and leaves the pipe open.
    pub fn stop_reading(&mut self) {
        self.stopped.cancel();
    }

    /// Writes the configuration anew.
    pub fn write(&self, config: &str) {
        write(self.folder.path(), config);
    }

    /// Asks as the client.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(KEY);
        send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// Asks the admin listener.
    pub async fn admin(&self, method: &str, path: &str, key: &str, body: &str) -> Answer {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.admin)).bearer_auth(key);
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        send(request).await
    }

    pub async fn metrics(&self) -> String {
        self.admin("GET", "/metrics", "", "").await.text
    }

    /// Ends it as an orchestrator does; how it left, and its whole log.
    pub async fn stop(mut self) -> (ExitStatus, String, tempfile::TempDir) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it leaves").unwrap();
        self.reading.join_next().await.unwrap().unwrap();
        let log = std::mem::take(&mut *self.log.lock().unwrap());
        (status, log, self.folder)
    }
}

pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    Answer { status, text: answer.text().await.unwrap() }
}

fn write(folder: &Path, config: &str) {
    let head = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndrain_timeout = \"5s\"\n\
         [storage]\nurl = \"sqlite:{}\"\n\
         [[keys]]\nname = \"client\"\nsecret = \"{KEY}\"\nmay = [\"tokens\"]\n\
         budgets = [{{ per = \"day\", tokens = 1000000 }}]\n\
         [[keys]]\nname = \"boss\"\nsecret = \"{ADMIN}\"\nadmin = true\n",
        folder.join("store.db").display()
    );
    std::fs::write(folder.join("switchboard.toml"), head + config).unwrap();
}

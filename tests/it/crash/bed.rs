//! A simulator in this process and a program over a store in a folder, which can be killed and started again.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use simulator::Journal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::smoke::program::{PATIENCE, command};

use super::Stream;

pub const SECRET: &str = "a-key-of-the-file";

/// What stays when the gateway is killed: its providers and its store.
pub struct Bed {
    pub journal: Journal,
    /// Where the providers are played.
    pub simulator: String,
    folder: tempfile::TempDir,
    tracker: TaskTracker,
}

impl Bed {
    /// With assistants `NAME = (provider, upstream id)`, and whatever else is to stand in `[server]` and `[turns]`.
    pub async fn new(assistants: &[(&str, &str, &str)], server: &str, turns: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = format!("http://{}", listener.local_addr().unwrap());
        let (journal, tracker) = (simulator::journal(), TaskTracker::new());
        let options =
            simulator::Options { journal: journal.clone(), pace: simulator::Pace::Instant, seed: 7 };
        tracker.spawn(simulator::serve(listener, options, std::future::pending::<()>()));
        let bed = Self { journal, simulator, folder: tempfile::tempdir().unwrap(), tracker };
        std::fs::write(bed.file(), bed.configuration(assistants, server, turns)).unwrap();
        bed
    }

    fn configuration(&self, assistants: &[(&str, &str, &str)], server: &str, turns: &str) -> String {
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"\"\n{server}\n[turns]\n{turns}\n\
             [storage]\nurl = \"sqlite:{}\"\n[defaults]\nmax_concurrency = 2000\n\
             [[keys]]\nname = \"app\"\nsecret = \"{SECRET}\"\n",
            self.store().display()
        );
        for provider in simulator::PROVIDERS {
            text += &format!(
                "[providers.{0}]\nkind = \"{0}\"\nbase_url = \"{1}{2}\"\napi_key = \"{3}\"\n",
                provider.name,
                self.simulator,
                provider.path,
                simulator::KEY
            );
        }
        for (name, provider, upstream_id) in assistants {
            text +=
                &format!("[assistants.{name}]\nprovider = \"{provider}\"\nupstream_id = \"{upstream_id}\"\n");
        }
        text
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("switchboard.toml")
    }

    /// Changes the configuration for the next start.
    pub fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file()).unwrap();
        assert!(text.contains(from));
        std::fs::write(self.file(), text.replace(from, to)).unwrap();
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    /// Starts the program; resolves once it listens.
    pub async fn start(&self) -> Gateway {
        let mut command = command(&["serve", "--config"]);
        command.arg(self.file());
        self.run(command).await
    }

    /// Starts the program where the configuration asks for `${SWITCHBOARD_LISTEN}`.
    pub async fn start_on(&self, address: &str) -> Gateway {
        let mut command = command(&["serve", "--config"]);
        command.arg(self.file()).env("SWITCHBOARD_LISTEN", address);
        self.run(command).await
    }

    /// Starts the program from a shell that has done this before, such as setting a limit.
    pub async fn start_under(&self, before: &str) -> Gateway {
        let mut command = Command::new("sh");
        let script = format!("{before}; exec \"$0\" serve --config \"$1\"");
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_switchboard-under-test")).arg(self.file());
        command.kill_on_drop(true);
        self.run(command).await
    }

    async fn run(&self, mut command: Command) -> Gateway {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Read all the time: a log that nobody reads would hold the program up.
        let (log, mut lines) = (Log::default(), BufReader::new(child.stderr.take().unwrap()).lines());
        let writing = log.clone();
        self.tracker.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                writing.0.lines.lock().unwrap().push(line);
                writing.0.news.notify_waiters();
            }
            writing.0.lines.lock().unwrap().push("the log has ended".to_owned());
            writing.0.news.notify_waiters();
        });
        let line = log.wait_for("listening").await;
        let address = line["address"].as_str().unwrap();
        Gateway { child, log, url: format!("http://{address}"), client: client() }
    }

    /// Another connection to the store, as another process would have it.
    pub fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.store()).unwrap()
    }

    /// How many calls of each turn the ledger has.
    pub fn ledger(&self) -> std::collections::HashMap<String, Vec<String>> {
        let connection = self.connection();
        let mut rows =
            connection.prepare("SELECT lower(hex(turn_id)), outcome FROM ledger ORDER BY number").unwrap();
        let rows =
            rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
        let mut ledger = std::collections::HashMap::<_, Vec<_>>::new();
        for (turn, outcome) in rows.map(Result::unwrap) {
            ledger.entry(format!("turn_{turn}")).or_default().push(outcome);
        }
        ledger
    }
}

/// A client that goes through no proxy, and opens a connection for each request that has none.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE * 2).build().unwrap()
}

/// What the program has logged.
#[derive(Clone, Default)]
pub struct Log(Arc<Lines>);

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    news: Notify,
}

impl Log {
    /// Waits for a line with this message.
    pub async fn wait_for(&self, message: &str) -> Value {
        let waiting = async {
            loop {
                let news = self.0.news.notified();
                let entry = |line: &String| serde_json::from_str::<Value>(line).unwrap_or_default();
                let found =
                    self.0.lines.lock().unwrap().iter().map(entry).find(|line| line["message"] == message);
                match found {
                    Some(line) => return line,
                    None => news.await,
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("no `{message}` in {}", self.text()))
    }

    pub fn text(&self) -> String {
        self.0.lines.lock().unwrap().join("\n")
    }
}

/// A running program.
pub struct Gateway {
    child: Child,
    pub log: Log,
    pub url: String,
    pub client: reqwest::Client,
}

impl Gateway {
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    /// Ends it as a power cut would: nothing of it runs any more when this returns.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it leaves").unwrap()
    }

    pub fn request(&self, method: http::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(SECRET)
    }

    pub fn posting(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request(http::Method::POST, path)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Status and JSON of an answer.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answered(self.posting(path, body)).await
    }

    /// Status and JSON of an answer.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        answered(self.request(http::Method::GET, path)).await
    }

    /// Asks for a turn as a stream, which must be accepted.
    pub async fn stream(&self, mut body: Value) -> Stream {
        body["stream"] = json!(true);
        let answer = self.posting("/v1/chat", &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Stream::new(answer)
    }

    /// Reads a turn's stream after this event; none when there is nothing after it.
    pub async fn resume(&self, turn: &str, after: u64) -> Option<Stream> {
        let request = self.request(http::Method::GET, &format!("/v1/chat/{turn}/events"));
        let answer = request.header("last-event-id", after.to_string()).send().await.unwrap();
        match answer.status().as_u16() {
            200 => Some(Stream::new(answer)),
            204 => None,
            status => panic!("{status} {}", answer.text().await.unwrap()),
        }
    }

    /// The texts of a conversation, with roles and statuses.
    pub async fn messages(&self, conversation: &str) -> Vec<(String, String, String)> {
        let (status, list) = self.get(&format!("/v1/conversations/{conversation}/messages?limit=100")).await;
        assert_eq!(status, 200, "{list:#}");
        let word = |message: &Value, name: &str| message[name].as_str().unwrap().to_owned();
        let message =
            |message: &Value| (word(message, "role"), word(message, "text"), word(message, "status"));
        list["data"].as_array().unwrap().iter().map(message).collect()
    }
}

pub async fn answered(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

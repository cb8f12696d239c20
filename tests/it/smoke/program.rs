//! A running program, and calls of it.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// Far above what anything here takes: a bound, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A program that was started. Ends with the test.
pub struct Program {
    child: Child,
    /// Where its gateway answers.
    pub url: String,
    /// Where its admin listener answers.
    pub admin: String,
    /// The key that it printed, or that the test gave.
    pub key: String,
    /// Standard output so far.
    pub printed: String,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

/// The command itself, with nothing of this machine's environment that it would read.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard-under-test"));
    for name in ["SWITCHBOARD_CONFIG", "SWITCHBOARD_LISTEN", "SWITCHBOARD_URL", "SWITCHBOARD_KEY", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    command.args(arguments).kill_on_drop(true);
    command
}

/// Runs a command to its end: status, standard output, standard error.
pub async fn run(command: &mut Command, input: impl AsRef<[u8]>) -> (ExitStatus, String, String) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that reads nothing may be gone by now.
    let _ = stdin.write_all(input.as_ref()).await;
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout), text(output.stderr))
}

impl Program {
    /// The demo, on ports of its own.
    pub async fn demo() -> Self {
        let mut command = command(&["demo", "--listen", "127.0.0.1:0", "--pace", "instant"]);
        let mut program = Self::start(&mut command);
        while !program.printed.contains("Ctrl-C ends") {
            program.read_out().await;
        }
        let field = |name: &str| {
            let line = program.printed.lines().find_map(|line| line.trim_start().strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {}", program.printed)).trim().to_owned()
        };
        let (url, key) = (field("address "), field("key "));
        let admin = field("metrics ").replace("/metrics", "");
        Self { url, key, admin, ..program }
    }

    /// The gateway with this configuration, once it listens.
    pub async fn serve(config: &std::path::Path, key: &str) -> Self {
        Self::served(command(&["serve", "--config"]).arg(config), key).await
    }

    /// The same, where only so many files may be open.
    pub async fn serve_with_files(config: &std::path::Path, key: &str, files: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" serve --config \"$1\""));
        shell.arg(env!("CARGO_BIN_EXE_switchboard-under-test")).arg(config).env_remove("RUST_LOG");
        Self::served(shell.kill_on_drop(true), key).await
    }

    async fn served(command: &mut Command, key: &str) -> Self {
        let mut program = Self::start(command);
        let line = program.logged("listening").await;
        let address =
            |name: &str| line[name].as_str().map(|address| format!("http://{address}")).unwrap_or_default();
        Self { url: address("address"), admin: address("admin_address"), key: key.to_owned(), ..program }
    }

    /// Where the demo's simulated providers tell what they were asked.
    pub fn journal(&self) -> String {
        let line = self.printed.lines().find_map(|line| line.trim_start().strip_prefix("asked "));
        line.unwrap().trim().to_owned()
    }

    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let err = BufReader::new(child.stderr.take().unwrap()).lines();
        let empty = String::new;
        Self { child, url: empty(), admin: empty(), key: empty(), printed: empty(), out, err }
    }

    async fn read_out(&mut self) {
        let line = tokio::time::timeout(PATIENCE, self.out.next_line()).await.expect("it goes on").unwrap();
        let Some(line) = line else {
            let mut rest = String::new();
            self.err.get_mut().read_to_string(&mut rest).await.unwrap();
            panic!("it has ended: {}{rest}", self.printed);
        };
        self.printed.push_str(&line);
        self.printed.push('\n');
    }

    /// Waits for a line of the log with this message.
    pub async fn logged(&mut self, message: &str) -> Value {
        let mut before = String::new();
        loop {
            let line = tokio::time::timeout(PATIENCE, self.err.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no `{message}` after {before}")).unwrap();
            let line = line.unwrap_or_else(|| panic!("it has ended without `{message}`: {before}"));
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == message {
                return entry;
            }
            before.push_str(&line);
            before.push('\n');
        }
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it leaves").unwrap()
    }
}

/// A client that goes through no proxy.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

/// An answer: its status and its JSON.
pub async fn get(program: &Program, path: &str) -> (u16, Value) {
    let answer =
        client().get(format!("{}{path}", program.url)).bearer_auth(&program.key).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

/// The JSON of an answer that must be a success.
pub async fn post(program: &Program, path: &str, body: &Value) -> Value {
    let answer = send(program, path, body).await;
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{status} {text}");
    serde_json::from_str(&text).unwrap()
}

pub async fn send(program: &Program, path: &str, body: &Value) -> reqwest::Response {
    let url = format!("{}{path}", program.url);
    let request = client().post(url).bearer_auth(&program.key).header("content-type", "application/json");
    request.body(body.to_string()).send().await.unwrap()
}

/// The reply's text.
pub fn text_of(turn: &Value) -> &str {
    turn["message"]["text"].as_str().unwrap_or_else(|| panic!("no text in {turn:#}"))
}

/// The events of a turn.
pub struct Events(pub Vec<Value>);

impl Events {
    /// Asks for a turn as a stream and reads it to its end.
    pub async fn of(program: &Program, mut body: Value) -> Self {
        body["stream"] = json!(true);
        let answer = send(program, "/v1/chat", &body).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let text = answer.text().await.unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        Self(data.map(|data| serde_json::from_str(data).unwrap()).collect())
    }
}

/// Holds a stream to the contract's grammar; gives back the turn at its end.
pub fn check_stream(events: &Events) -> &Value {
    let (first, last) = (events.0.first().unwrap(), events.0.last().unwrap());
    assert_eq!(first["type"], "turn.started", "{first}");
    let mut text = String::new();
    for (number, event) in events.0.iter().enumerate() {
        assert_eq!(event["seq"], number + 1, "numbered from 1 without a gap");
        let is_end = ["turn.completed", "turn.incomplete", "turn.failed", "turn.cancelled"]
            .contains(&event["type"].as_str().unwrap());
        assert_eq!(is_end, number + 1 == events.0.len(), "one end, and it is the last: {event}");
        match event["type"].as_str().unwrap() {
            "message.delta" => text.push_str(event["text"].as_str().unwrap()),
            "message.replaced" => event["text"].as_str().unwrap().clone_into(&mut text),
            _ => {}
        }
    }
    assert_eq!(text, text_of(&last["turn"]), "the deltas are the reply");
    &last["turn"]
}

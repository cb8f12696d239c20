//! Secrets in no sink: every secret and every text is a canary, and every place that something is written to is searched.

use std::path::Path;

use cli::config::{Config, Environment};
use serde_json::json;

use super::echo::{API_KEY, REPLY, assistant};
use super::served::{ADMIN, KEY, send};
use super::{Collector, Echo, Served};
use crate::smoke::program::{client, command, run};

const MESSAGE: &str = "canary-text-of-the-message";
const HEADER: &str = "canary-of-a-fixed-header";
const WRONG_KEY: &str = "swk-canary-of-a-stranger";
const COLLECTOR_PASSWORD: &str = "canary-of-the-collector";
/// Everybody's, and everything.
const ALL: &str = "canary";

/// A sink and what was found in it.
struct Sink(String, Vec<u8>);

impl Sink {
    fn of(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self(name.to_owned(), content.into())
    }

    /// Fails with the place where one of these stands.
    fn lacks(&self, secrets: &[&str]) {
        let Self(name, content) = self;
        let text = String::from_utf8_lossy(content);
        for secret in secrets {
            if let Some(at) = text.find(secret) {
                let from = text.floor_char_boundary(at.saturating_sub(300));
                let to = text.ceil_char_boundary((at + 300).min(text.len()));
                panic!("{secret} in {name}: …{}…", &text[from..to]);
            }
        }
    }
}

fn config(echo: &Echo, collector: &Collector, format: &str) -> String {
    [
        echo.provider("first"),
        format!("headers = {{ x-team = \"{HEADER}\" }}\n"),
        assistant("docs", "first", "fine", ""),
        assistant("bad", "first", "status-400", ""),
        assistant("refused", "first", "status-401", ""),
        assistant("broken", "first", "status-500", "\"busy\""),
        assistant("busy", "first", "status-503", ""),
        format!(
            "[observability]\nlog_format = \"{format}\"\notlp_endpoint = \"http://me:{COLLECTOR_PASSWORD}@{}\"\n",
            collector.address
        ),
    ]
    .concat()
}

/// Uses every way in; the answers that are errors, and the secrets that were given out.
async fn traffic(gateway: &Served) -> (Vec<Sink>, Vec<String>) {
    let mut errors = Vec::new();
    for (assistant, stream) in
        [("docs", false), ("docs", true), ("bad", false), ("bad", true), ("refused", false), ("broken", true)]
    {
        let body = json!({"assistant": assistant, "message": MESSAGE, "stream": stream, "user": "ada"});
        errors.push(Sink::of(assistant, gateway.post("/v1/chat", &body).await.text));
    }
    for body in [json!({"assistant": "docs", "message": MESSAGE, MESSAGE: 1}), json!({"message": [MESSAGE]})]
    {
        errors.push(Sink::of("a wrong body", gateway.post("/v1/chat", &body).await.text));
    }
    let stranger = client().get(format!("{}/v1/usage?q={MESSAGE}", gateway.url)).bearer_auth(WRONG_KEY);
    errors.push(Sink::of("a stranger's answer", send(stranger).await.text));
    let stranger = client().get(format!("{}/{MESSAGE}", gateway.url)).header("x-api-key", WRONG_KEY);
    errors.push(Sink::of("another stranger's answer", send(stranger).await.text));

    let token = gateway.post("/v1/tokens", &json!({"user": "ada", "expires_in": 60})).await.json();
    let token = token["token"].as_str().unwrap().to_owned();
    let mine = client().get(format!("{}/v1/conversations?q={MESSAGE}", gateway.url)).bearer_auth(&token);
    assert_eq!(send(mine).await.status, 200);
    let made = gateway.admin("POST", "/admin/keys", ADMIN, r#"{"name": "shop"}"#).await.json();
    let made = made["secret"].as_str().unwrap().to_owned();
    let shop = client().get(format!("{}/v1/assistants", gateway.url)).bearer_auth(&made);
    assert_eq!(send(shop).await.status, 200);
    for path in ["/admin/keys", "/admin/providers", "/admin/usage"] {
        errors.push(Sink::of(path, gateway.admin("GET", path, ADMIN, "").await.text));
    }
    gateway.write("[providers.broken]\nkind = \"openai\"\napi_key = 5\nbase_url = \"canary\"");
    errors.push(Sink::of("a broken reload", gateway.admin("POST", "/admin/reload", ADMIN, "").await.text));
    (errors, vec![token, made])
}

#[tokio::test]
async fn no_secret_and_no_text_in_any_sink() {
    for (format, level) in [("json", "debug"), ("text", "trace")] {
        let (echo, collector) = (Echo::start().await, Collector::start().await);
        let gateway = Served::with(&config(&echo, &collector, format), &[("RUST_LOG", level)]).await;
        let (answers, given_out) = traffic(&gateway).await;
        let metrics = Sink::of("/metrics", gateway.metrics().await);
        let (status, log, folder) = gateway.stop().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(
            log.contains("answered") && log.contains(if level == "debug" { "DEBUG" } else { "TRACE" }),
            "{log}"
        );
        let log = Sink::of(&format!("the log as {format}"), log);
        let spans: Vec<u8> = collector.raw().iter().flat_map(|(_, body)| body.to_vec()).collect();
        assert!(String::from_utf8_lossy(&spans).contains("invoke_agent docs"));
        let spans = Sink::of("spans", spans);

        let given_out: Vec<&str> = given_out.iter().map(String::as_str).collect();
        let keys = [API_KEY, KEY, ADMIN, WRONG_KEY, HEADER, COLLECTOR_PASSWORD];
        let keys: Vec<_> = keys.into_iter().chain(given_out).collect();
        for sink in [&log, &metrics, &spans] {
            sink.lacks(&keys);
            sink.lacks(&[MESSAGE, REPLY, ALL]);
        }
        for answer in &answers {
            answer.lacks(&keys);
        }
        let mut found_text = false;
        for entry in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("store.db") {
                let file = Sink::of(&name, std::fs::read(entry.path()).unwrap());
                found_text |= String::from_utf8_lossy(&file.1).contains(MESSAGE);
                file.lacks(&keys);
            }
        }
        assert!(found_text, "the store has what was said: this test looks at the right file");
    }
}

#[tokio::test]
async fn no_key_in_a_reply_whose_provider_talks_of_it() {
    let echo = Echo::start().await;
    let config = [echo.provider("first"), assistant("leaky", "first", "leaky", "")].concat();
    let gateway = Served::start(&config).await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let mut conversation = String::new();
    for stream in [false, true] {
        let said = if stream {
            "You sent Bearer [secret], as I said: Bearer [secret]s"
        } else {
            "You sent Bearer [secret], as I sa"
        };
        let native =
            gateway.post("/v1/chat", &json!({"assistant": "leaky", "message": "hi", "stream": stream})).await;
        Sink::of("a native answer", native.text.as_str()).lacks(&[API_KEY]);
        let last = native.text.lines().rfind(|line| line.contains("\"message\"")).unwrap();
        let last: serde_json::Value =
            serde_json::from_str(last.strip_prefix("data: ").unwrap_or(last)).unwrap();
        let turn = if stream { &last["turn"] } else { &last };
        assert_eq!((&turn["status"], &turn["message"]["text"]), (&json!("completed"), &json!(said)));
        turn["conversation_id"].as_str().unwrap().clone_into(&mut conversation);

        // Passed through, frame by frame.
        let body = json!({"model": "leaky", "messages": messages, "stream": stream});
        let passed = gateway.post("/v1/chat/completions", &body).await;
        Sink::of("frames", passed.text.as_str()).lacks(&[API_KEY]);
        assert!(passed.text.contains("\"x_key\":\"Bearer [secret]\""), "{}", passed.text);
        let frames = passed.text.lines().filter_map(|line| line.strip_prefix("data: "));
        let text: String = frames
            .filter_map(|frame| serde_json::from_str::<serde_json::Value>(frame).ok())
            .filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect();
        let whole = || passed.text.contains(&format!("\"content\":\"{said}\""));
        assert!(if stream { text == said } else { whole() }, "{}", passed.text);
    }
    let kept = format!("{}/v1/conversations/{conversation}/messages", gateway.url);
    let kept = send(client().get(kept).bearer_auth(KEY)).await;
    assert!(kept.text.contains("Bearer [secret], as"), "{}", kept.text);
    let (_, log, folder) = gateway.stop().await;
    Sink::of("the log", log).lacks(&[API_KEY]);
    for entry in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().into_string().unwrap().starts_with("store.db") {
            Sink::of("the store", std::fs::read(entry.path()).unwrap()).lacks(&[API_KEY]);
        }
    }
}

/// The process's environment is none of a test's.
struct Nothing;

impl Environment for Nothing {
    fn value(&self, _: &str) -> Option<String> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

fn secretive(folder: &Path) -> String {
    std::fs::write(folder.join("key"), "canary-key-of-a-file\n").unwrap();
    format!(
        r#"
[storage]
url = "postgres://me:canary-of-the-database@host/db"
[cluster]
redis = "redis://:canary-of-redis@host"
[defaults]
proxy = "http://me:canary-of-the-proxy@host:3128"
[providers.model]
kind = "openai"
base_url = "http://me:canary-of-the-url@host/v1"
api_key = "{API_KEY}"
headers = {{ x-team = "{HEADER}" }}
[providers.filed]
kind = "gptunnel"
api_key_file = "{}"
[assistants.support]
provider = "model"
upstream_id = "gpt"
[[keys]]
name = "app"
secret = "{KEY}"
[observability]
otlp_endpoint = "http://me:{COLLECTOR_PASSWORD}@host:4318"
"#,
        folder.join("key").display()
    )
}

#[tokio::test]
async fn no_secret_in_what_is_printed_of_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let text = secretive(folder.path());
    let config = Config::parse("f.toml", &text, &Nothing, &[]).unwrap_or_else(|error| panic!("{error}"));
    Sink::of("Debug", format!("{config:?} {config:#?}")).lacks(&[ALL]);
    Sink::of("printed", config.printed.as_str()).lacks(&[ALL]);

    let file = folder.path().join("switchboard.toml");
    std::fs::write(&file, &text).unwrap();
    let (status, out, err) = run(command(&["check", "--print", "--config"]).arg(&file), "").await;
    assert_eq!(status.code(), Some(0), "{err}");
    Sink::of("check --print", out + &err).lacks(&[ALL]);

    // Every secret in a place where it is wrong: the problem is named, the value is not.
    for (right, wrong) in [
        ("url = \"postgres://", "url = \"mysql://"),
        ("redis = \"redis://", "redis = \"http://"),
        ("proxy = \"http://", "proxy = \"gopher://"),
        ("base_url = \"http://", "base_url = \"gopher://"),
        ("api_key = ", "api_kez = "),
        ("x-team = ", "\"x team\" = "),
        ("secret = ", "hash = "),
        ("secret = ", "tenannt = "),
        ("otlp_endpoint = \"http://", "otlp_endpoint = \"gopher://"),
    ] {
        let broken = text.replace(right, wrong);
        assert_ne!(broken, text, "{right}");
        let problems = Config::parse("f.toml", &broken, &Nothing, &[]).map(|_| ()).unwrap_err();
        Sink::of(wrong, format!("{problems} {problems:?}")).lacks(&[ALL]);
    }
}

//! `switchboard serve`: starting, reloading, leaving.

use serde_json::json;
use tokio::process::Command;

use super::commands::{ASSISTANT, Folder, KEY};
use super::program::{command, run, send};
use super::{Program, client, get};

const SECRET: &str = "a-key-of-the-file";

#[tokio::test]
async fn without_any_key_it_serves_only_when_told_and_on_loopback() {
    let folder = Folder::with(ASSISTANT);
    let (status, _, err) = run(command(&["serve", "--config"]).arg(folder.file()), "").await;
    assert_eq!(status.code(), Some(1));
    assert!(err.contains("nobody could use this gateway"), "{err}");

    folder.write(&format!("open = true\n{ASSISTANT}"));
    let gateway = Program::serve(&folder.file(), "").await;
    let answer = client().get(format!("{}/v1/assistants", gateway.url)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn sigterm_is_a_good_end() {
    let folder = Folder::with(&format!("{ASSISTANT}{KEY}"));
    for signal in ["TERM", "INT"] {
        let gateway = Program::serve(&folder.file(), SECRET).await;
        assert_eq!(get(&gateway, "/readyz").await.0, 200);
        gateway.signal(signal).await;
        assert_eq!(gateway.ended().await.code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_second_signal_leaves_at_once() {
    let folder = Folder::with(&format!("{ASSISTANT}{KEY}"));
    let text = std::fs::read_to_string(folder.file()).unwrap();
    std::fs::write(folder.file(), text.replace("drain_timeout", "drain_delay = \"1h\"\ndrain_timeout"))
        .unwrap();
    let mut gateway = Program::serve(&folder.file(), SECRET).await;
    gateway.signal("TERM").await;
    gateway.logged("leaving").await;
    assert_eq!(get(&gateway, "/readyz").await.0, 503, "load balancers are told");
    assert_eq!(get(&gateway, "/v1/assistants").await.0, 200, "those who come are served");
    gateway.signal("TERM").await;
    // An hour of delay has not passed: this ends by the second signal or not in time.
    gateway.ended().await;
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
    let folder = Folder::with(&format!("{ASSISTANT}{KEY}"));
    let mut gateway = Program::serve(&folder.file(), SECRET).await;
    let more = format!("{ASSISTANT}\n[assistants.docs]\nprovider = \"model\"\nupstream_id = \"x\"\n{KEY}");
    folder.write(&more);
    gateway.logged("the configuration was read again").await;
    let (status, docs) = get(&gateway, "/v1/assistants/docs").await;
    assert_eq!((status, &docs["name"]), (200, &json!("docs")));

    folder.write(&more.replace("provider = \"model\"", "provider = \"nobody\""));
    let problem = gateway.logged("wrong in the configuration").await;
    assert_eq!(problem["key"], "assistants.support.provider", "{problem}");
    assert_eq!(get(&gateway, "/v1/assistants/docs").await.0, 200, "what was in force stays");
    let metrics = async || {
        let answer = client().get(format!("{}/metrics", gateway.admin)).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let shown = metrics().await;
    assert!(shown.contains("switchboard_config_last_reload_successful 0"), "{shown}");
    assert!(shown.contains("switchboard_config_reloads_total{outcome=\"failed\"} 1"), "{shown}");
}

#[tokio::test]
async fn sighup_and_an_admin_reload_keys() {
    let folder = Folder::with(&format!("{ASSISTANT}{KEY}"));
    let secret = folder.path().join("other");
    std::fs::write(&secret, "the-first-other-key").unwrap();
    folder.write(&format!(
        "{ASSISTANT}{KEY}[[keys]]\nname = \"other\"\nsecret_file = \"{}\"\n",
        secret.display()
    ));
    let mut gateway = Program::serve(&folder.file(), SECRET).await;
    gateway.signal("HUP").await;
    gateway.logged("the configuration was read again").await;

    std::fs::write(&secret, "the-second-other-key").unwrap();
    gateway.logged("the configuration was read again").await;
    gateway.key = "the-first-other-key".to_owned();
    assert_eq!(get(&gateway, "/v1/assistants").await.0, 401, "a key that is gone is none");
    gateway.key = "the-second-other-key".to_owned();
    assert_eq!(get(&gateway, "/v1/assistants").await.0, 200);

    gateway.key = SECRET.to_owned();
    folder.write(&format!("{ASSISTANT}{KEY}\n[observability]\nlog_content = true\n"));
    let url = format!("{}/admin/reload", gateway.admin);
    let answer = client().post(url).bearer_auth(SECRET).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{status} {text}");
    assert!(text.contains(r#""needs_restart":["observability.log_content"]"#), "{text}");
}

#[tokio::test]
async fn a_turn_that_runs_ends_before_the_gateway_leaves() {
    let simulator = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/openai/v1", simulator.local_addr().unwrap());
    let journal = simulator::journal();
    let options = simulator::Options { journal: journal.clone(), ..simulator::Options::default() };
    let tracker = tokio_util::task::TaskTracker::new();
    tracker.spawn(simulator::serve(simulator, options, std::future::pending::<()>()));
    let folder = Folder::with(&format!(
        "{}{KEY}",
        ASSISTANT
            .replace("http://127.0.0.1:1/v1", &base)
            .replace("kind = \"openai\"", &format!("kind = \"openai\"\napi_key = \"{}\"", simulator::KEY))
            .replace("\"gpt\"", "\"fault-slow-text-1000\"")
    ));
    let mut gateway = Program::serve(&folder.file(), SECRET).await;
    let body = json!({"assistant": "support", "message": "Hello", "stream": true});
    let answer = send(&gateway, "/v1/chat", &body).await;
    journal.wait_for("fault-slow-text-1000", |calls| !calls.is_empty()).await;
    gateway.signal("TERM").await;
    gateway.logged("leaving").await;
    let text = answer.text().await.unwrap();
    assert!(text.contains("event: turn.completed"), "{text}");
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn simulate_plays_the_providers_alone() {
    let mut simulate = command(&["simulate", "--listen", "127.0.0.1:0"]);
    let mut child = simulate.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let first = lines.next_line().await.unwrap().unwrap();
    let url = first.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let faults = client().get(format!("{url}/_simulator/faults")).send().await.unwrap();
    assert_eq!(faults.status(), 200);
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_needs_a_restart_is_named() {
    let folder = Folder::with(&format!("{ASSISTANT}{KEY}"));
    let mut gateway = Program::serve(&folder.file(), SECRET).await;
    folder.write(&format!(
        "{ASSISTANT}{KEY}\n[observability]\nlog_content = true\notlp_endpoint = \"http://127.0.0.1:1\"\n"
    ));
    let warning = gateway.logged("these settings have changed, and need a restart").await;
    assert_eq!(warning["settings"], "observability.log_content, observability.otlp_endpoint");
    assert_eq!(warning["level"], "WARN");
    gateway.logged("the configuration was read again").await;
}

#[tokio::test]
async fn a_file_that_lets_nobody_in_is_not_put_in_force() {
    let folder = Folder::with(&format!("{ASSISTANT}{KEY}"));
    let mut gateway = Program::serve(&folder.file(), SECRET).await;
    for text in ["", ASSISTANT] {
        folder.write(text);
        gateway.logged("the configuration lets nobody in").await;
        assert_eq!(get(&gateway, "/v1/assistants").await.0, 200, "what was in force stays");
    }
    // A file that is being written: it is there, and holds nothing yet.
    std::fs::write(folder.file(), "").unwrap();
    gateway.logged("the configuration has problems: the one before stays in force").await;
    assert_eq!(get(&gateway, "/v1/assistants").await.0, 200);
}

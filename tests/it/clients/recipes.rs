//! The recipes of `docker/clients`, run as they stand there.

use std::collections::BTreeSet;
use std::path::Path;

use super::cutter::Cutter;
use super::stage::HELD;
use super::{Stage, Tool};

/// The recipes that a test here runs.
const RUN: [&str; 7] = [
    "turns.sh",
    "openai_chat.py",
    "httpx_stream.py",
    "langchain_chat.py",
    "openai-chat.mjs",
    "fetch-stream.mjs",
    "ai-sdk.mjs",
];

/// Those that the tests of proxies run.
const CONFIGURED: [&str; 2] = ["nginx.conf", "Caddyfile"];

fn recipe(name: &str) -> String {
    assert!(RUN.contains(&name));
    format!("docker/clients/{name}")
}

#[test]
fn every_recipe_is_run_and_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/clients");
    // A folder is a recipe with a test of its own.
    let entries = std::fs::read_dir(&folder).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let files = files.map(|entry| entry.file_name().into_string().unwrap());
    let files: BTreeSet<_> = files.filter(|name| name != "README.md").collect();
    let known: BTreeSet<_> = RUN.iter().chain(&CONFIGURED).map(|name| (*name).to_owned()).collect();
    assert_eq!(files, known);
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for name in known {
        assert!(index.contains(&format!("[{name}]({name})")), "{name} is not in the index");
    }
}

#[tokio::test]
async fn with_curl() {
    let Some(stage) = Stage::open(("gptunnel", "ai08158128")).await else { return };
    let printed = stage.run(Tool::Shell, &recipe("turns.sh")).await;
    assert!(printed.contains(r#""status":"completed""#), "{printed}");
    assert_eq!(printed.matches("event: turn.completed").count(), 2, "{printed}");
    assert_eq!(printed.matches("event: turn.started").count(), 1, "it is read on after event 2: {printed}");
    assert!(stage.last_reply().await.contains("Ada"));
    assert!(printed.contains(r#""object":"chat.completion""#), "{printed}");
}

/// Three replies: to the first message, to the second, and one that knows what was said.
async fn chats(tool: Tool, name: &str) {
    let Some(stage) = Stage::open(("openai", "sim-model")).await else { return };
    let printed = stage.run(tool, &recipe(name)).await;
    assert!(printed.contains("«Hello! My name is Ada.»"), "{printed}");
    assert!(printed.contains("«What can you do?»"), "{printed}");
    assert!(
        printed.contains("I remember 2 earlier messages; the first was «Hello! My name is Ada.»"),
        "{printed}"
    );
    assert!(!printed.contains("broke off"), "{printed}");
    if name.starts_with("openai") {
        assert!(printed.contains("Your name is Ada."), "{printed}");
    }
}

#[tokio::test]
async fn with_openai_for_python() {
    chats(Tool::Python, "openai_chat.py").await;
}

#[tokio::test]
async fn with_langchain() {
    chats(Tool::Python, "langchain_chat.py").await;
}

#[tokio::test]
async fn with_openai_for_node() {
    chats(Tool::Node, "openai-chat.mjs").await;
}

#[tokio::test]
async fn with_the_ai_sdk() {
    chats(Tool::Node, "ai-sdk.mjs").await;
}

/// The connection is cut after the first piece, and the rest is said only then: it must be read over another one.
async fn reads_on(tool: Tool, name: &str) {
    let Some(stage) = Stage::open(("unleash", HELD)).await else { return };
    let mut cutter = Cutter::before(&stage.gateway.url).await;
    let url = cutter.url.clone();
    let recipe = recipe(name);
    let cut = async {
        cutter.was_cut().await;
        stage.release().await;
    };
    let (printed, ()) = tokio::join!(stage.run_at(tool, &recipe, &url), cut);
    assert_eq!(printed.trim_end(), stage.last_reply().await.trim_end());
    assert_eq!(stage.bed.journal.calls_for(HELD).len(), 1, "one turn");
}

#[tokio::test]
async fn with_httpx_over_a_broken_connection() {
    reads_on(Tool::Python, "httpx_stream.py").await;
}

#[tokio::test]
async fn with_fetch_over_a_broken_connection() {
    reads_on(Tool::Node, "fetch-stream.mjs").await;
}

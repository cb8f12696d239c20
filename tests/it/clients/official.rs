//! The official packages and the common frameworks, each with its own script in `tests/clients`.
//!
//! What a script checks is written there, in its client's own words; here stands what none of them may leave out.

use super::{Stage, Tool};

/// What each client does.
const ALL: [&str; 9] = [
    "plain",
    "streamed",
    "continued",
    "image refused",
    "image taken",
    "unknown model",
    "bad key",
    "rate limited",
    "broken stream",
];

async fn does(tool: Tool, script: &str, more: &[&str]) {
    let Some(stage) = Stage::open(("gptunnel", "ai08158128")).await else { return };
    let printed = stage.run(tool, &format!("tests/clients/{script}")).await;
    for step in ALL.iter().chain(more) {
        let done = format!("done: {step}");
        assert!(printed.lines().any(|line| line == done), "{script} has no step `{step}`:\n{printed}");
    }
    // What the packages have sent shows that it was they who asked: the gateway passes an assistant's own words on.
    assert!(stage.bed.journal.calls().len() > 10, "the simulator was asked");
}

/// What OpenAI's own packages do beside.
const OPENAI: [&str; 11] = [
    "models",
    "streamed with usage",
    "tools",
    "response",
    "response streamed",
    "response in the background",
    "response cancelled",
    "response continued",
    "response deleted",
    "response broken",
    "conversations",
];

#[tokio::test]
async fn openai_for_python() {
    does(Tool::Python, "openai_python.py", &OPENAI).await;
}

#[tokio::test]
async fn openai_for_node() {
    does(Tool::Node, "openai_node.mjs", &OPENAI).await;
}

#[tokio::test]
async fn langchain() {
    does(Tool::Python, "langchain_openai_chat.py", &["tools", "responses"]).await;
}

#[tokio::test]
async fn the_ai_sdk() {
    does(Tool::Node, "ai_sdk.mjs", &["tools"]).await;
}

#[tokio::test]
async fn litellm() {
    does(Tool::LiteLlm, "litellm_sdk.py", &[]).await;
}

//! `switchboard demo`: all assistants, whole and streamed, continued and moved.

use serde_json::json;

use super::{Events, Program, check_stream, client, get, post, text_of};

const ASSISTANTS: [&str; 4] = ["support", "sales", "docs", "concierge"];

#[tokio::test]
async fn every_assistant_answers_whole_and_streamed() {
    let demo = Program::demo().await;
    for assistant in ASSISTANTS {
        let body = json!({"assistant": assistant, "message": "Hello there."});
        let whole = post(&demo, "/v1/chat", &body).await;
        assert_eq!(whole["status"], "completed", "{whole:#}");
        let events = Events::of(&demo, body).await;
        let streamed = check_stream(&events);
        assert_eq!(streamed["status"], "completed", "{streamed:#}");
        assert!(events.0.iter().any(|event| event["type"] == "message.delta"), "{assistant}");
        for turn in [&whole, streamed] {
            assert!(text_of(turn).contains("Hello there."), "{assistant}: {turn:#}");
        }
    }
}

#[tokio::test]
async fn a_conversation_goes_three_turns_deep_with_every_assistant() {
    let demo = Program::demo().await;
    for assistant in ASSISTANTS {
        let first = json!({"assistant": assistant, "message": "My name is Ada."});
        let first = post(&demo, "/v1/chat", &first).await;
        let id = &first["conversation_id"];
        let second = json!({"conversation_id": id, "message": "I like tea."});
        let second = Events::of(&demo, second).await;
        assert_eq!(check_stream(&second)["conversation_id"], *id);
        let third = json!({"conversation_id": id, "message": "What is my name?"});
        let third = post(&demo, "/v1/chat", &third).await;
        assert!(text_of(&third).contains("Ada"), "{assistant} remembers: {third:#}");
        let path = format!("/v1/conversations/{}/messages?order=asc", id.as_str().unwrap());
        let (status, messages) = get(&demo, &path).await;
        assert_eq!((status, messages["data"].as_array().unwrap().len()), (200, 6), "{messages:#}");
    }
}

#[tokio::test]
async fn a_conversation_moves_and_takes_its_history_along() {
    let demo = Program::demo().await;
    let first = post(&demo, "/v1/chat", &json!({"assistant": "support", "message": "My name is Ada."})).await;
    let id = &first["conversation_id"];
    for assistant in ["docs", "sales", "concierge"] {
        let calls = format!("{}?provider={}", demo.journal(), provider_of(&demo, assistant).await);
        client().delete(demo.journal()).send().await.unwrap();
        let body = json!({"assistant": assistant, "conversation_id": id, "message": "And who am I?"});
        let moved = post(&demo, "/v1/chat", &body).await;
        assert_eq!((&moved["assistant"], &moved["status"]), (&json!(assistant), &json!("completed")));
        let asked = client().get(calls).send().await.unwrap().text().await.unwrap();
        assert!(asked.contains("My name is Ada."), "{assistant} was told what was said before: {asked}");
    }
    let (_, conversation) = get(&demo, &format!("/v1/conversations/{}", id.as_str().unwrap())).await;
    assert_eq!(conversation["assistant"], "concierge");
}

async fn provider_of(demo: &Program, assistant: &str) -> String {
    let (_, view) = get(demo, &format!("/v1/assistants/{assistant}")).await;
    view["kind"].as_str().unwrap().to_owned()
}

/// The lines that people paste. Needs bash and curl, which the machines that run this have; without them there is nothing to try.
#[tokio::test]
async fn the_printed_lines_work_when_pasted() {
    let demo = Program::demo().await;
    let lines: Vec<_> = demo.printed.lines().map(str::trim).filter(|line| line.contains("curl -s")).collect();
    assert_eq!(lines.len(), 4, "{}", demo.printed);
    let Ok(curl) = std::process::Command::new("curl").arg("--version").output() else { return };
    assert!(curl.status.success());
    let paste = async |lines: &str| {
        let mut bash = tokio::process::Command::new("bash");
        let output = bash.arg("-ec").arg(lines).env("no_proxy", "127.0.0.1").output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(paste(lines[0]).await.contains(r#""status":"completed""#));
    assert!(paste(lines[1]).await.contains("event: turn.completed"));
    let continued = paste(&lines[2..].join("\n")).await;
    assert!(continued.contains("Ada"), "{continued}");
}

#[tokio::test]
async fn the_demo_leaves_with_0() {
    let demo = Program::demo().await;
    demo.signal("INT").await;
    assert_eq!(demo.ended().await.code(), Some(0));
}

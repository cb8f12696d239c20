//! Conversations of several turns: what each provider is given of what was said before, wherever it was said.

use serde_json::{Value, json};

use super::stage::{Cast, Stage, Told};

const KINDS: [&str; 5] = ["gptunnel", "mygptassistants", "unleash", "gigachat", "openai"];

/// An assistant that a provider always has.
fn usual(kind: &str) -> &'static str {
    simulator::PROVIDERS.iter().find(|known| known.name == kind).unwrap().assistants[0]
}

/// Says something, in a conversation or a new one, and gives the conversation's id.
async fn say(stage: &Stage, assistant: &str, text: &str, conversation: Option<&str>) -> (Told, String) {
    let mut body = json!({"assistant": assistant, "message": text, "stream": text.len().is_multiple_of(2)});
    if let Some(id) = conversation {
        body["conversation_id"] = json!(id);
    }
    let told = stage.chat(body).await;
    let id = told.turn["conversation_id"].as_str().unwrap().to_owned();
    (told, id)
}

/// What a provider was sent in its last call.
struct Sent(Value);

fn sent(stage: &Stage, kind: &str, upstream_id: &str) -> Sent {
    let mut calls = stage.journal.calls().into_iter();
    let last = calls.rfind(|call| call.provider == kind && call.upstream_id.as_deref() == Some(upstream_id));
    Sent(last.expect("it was asked").body.as_ref().clone())
}

impl Sent {
    /// The provider's own conversation; null where none is named.
    fn thread(&self) -> &Value {
        let names = ["chatId", "conversationId", "conversation_id"];
        names.iter().map(|name| &self.0[*name]).find(|id| !id.is_null()).unwrap_or(&Value::Null)
    }

    /// The one message of a provider that takes one.
    fn message(&self) -> &str {
        self.0["message"].as_str().or_else(|| self.0["prompt"].as_str()).unwrap_or_default()
    }

    /// Whether history is quoted in it.
    fn quotes(&self) -> bool {
        self.message().starts_with("[The conversation so far")
    }

    /// Whether this was told as something that the user (or the assistant) said before, or says now.
    fn tells(&self, speaker: &str, said: &str) -> bool {
        let message = self.message();
        let first = said.lines().next().unwrap_or_default();
        let quoted = message.contains(&format!("{speaker}:\n> {first}"));
        let own =
            speaker == "User" && (message == said || message.ends_with(&format!("answer it.]\n{said}")));
        let replayed = self.0["messages"].as_array().into_iter().flatten().any(|one| {
            one["role"].as_str().is_some_and(|role| role.eq_ignore_ascii_case(speaker))
                && (one["text"] == said || one["content"] == said)
        });
        quoted || own || replayed
    }
}

/// Whether a provider is given what was said before with every call.
fn replays(kind: &str) -> bool {
    matches!(kind, "unleash" | "openai")
}

/// That a provider was told this: with roles where it takes them, else quoted before the message.
fn check(kind: &str, sent: &Sent, told: &Told, users: &[&str], replies: &[&str]) {
    for (speaker, said) in
        users.iter().map(|said| ("User", said)).chain(replies.iter().map(|said| ("Assistant", said)))
    {
        assert!(sent.tells(speaker, said), "{kind} was not told {said:?}: {}", sent.0);
    }
    assert_eq!(sent.quotes(), !replays(kind), "{kind}: {}", sent.0);
    let emulated = told.turn["emulated"].as_array().unwrap();
    assert_eq!(emulated.contains(&json!("history")), !replays(kind), "{kind}: {emulated:?}");
}

const HERON: &str = "The word is heron.";
const RIVER: &str = "And now the river.";

#[tokio::test]
async fn three_turns_with_each_provider() {
    let stage = Stage::open().await;
    for kind in KINDS {
        stage.cast(&[Cast::new("a", kind, usual(kind))]);
        let (first, id) = say(&stage, "a", "Hi, my name is Ada.", None).await;
        assert!(first.text().contains("I remember no earlier message"), "{kind}: {}", first.text());
        let thread = sent(&stage, kind, usual(kind)).thread().clone();
        let (second, _) = say(&stage, "a", "What is my name?", Some(&id)).await;
        assert!(second.text().contains("I remember 2 earlier messages"), "{kind}: {}", second.text());
        assert!(second.text().contains("Your name is Ada."), "{kind}: {}", second.text());
        let (third, _) = say(&stage, "a", "What did I say first?", Some(&id)).await;
        assert!(third.text().contains("I remember 4 earlier messages"), "{kind}: {}", third.text());
        assert!(third.text().contains("The first thing you said was «Hi, my name is Ada.»."), "{kind}");
        assert!(third.text().contains("Just before this you said «What is my name?»."), "{kind}");
        for told in [&first, &second, &third] {
            assert_eq!((told.status(), told.attempts().len()), ("completed", 0), "{kind}");
        }
        // Who remembers by itself is told nothing twice, and who does not is told with roles and not in quotes.
        let sent = sent(&stage, kind, usual(kind));
        assert_eq!(sent.tells("User", "Hi, my name is Ada."), replays(kind), "{kind}: {}", sent.0);
        assert!(!sent.quotes(), "{kind}: {}", sent.0);
        assert!(third.turn["emulated"].as_array().unwrap().iter().all(|what| what == "stream"), "{kind}");
        assert_eq!(sent.thread().is_null(), replays(kind), "{kind}");
        assert!(thread.is_null() || thread == *sent.thread(), "{kind}: one conversation there");
    }
}

#[tokio::test]
async fn a_conversation_moves_between_each_two_providers() {
    let stage = Stage::open().await;
    for first in KINDS {
        for second in KINDS.into_iter().filter(|second| *second != first) {
            stage.cast(&[Cast::new("a", first, usual(first)), Cast::new("b", second, usual(second))]);
            let (one, id) = say(&stage, "a", HERON, None).await;
            let (two, _) = say(&stage, "b", RIVER, Some(&id)).await;
            let moved = sent(&stage, second, usual(second));
            check(second, &moved, &two, &[HERON, RIVER], &[one.text()]);
            assert_eq!(
                (two.status(), &two.turn["assistant"]),
                ("completed", &json!("b")),
                "{first} {second}"
            );
            // Once told, the second one remembers.
            let (three, _) = say(&stage, "b", "Third.", Some(&id)).await;
            let again = sent(&stage, second, usual(second));
            assert_eq!((three.status(), again.quotes()), ("completed", false), "{second}: {}", again.0);
            assert_eq!(again.tells("User", HERON), replays(second), "{second}: {}", again.0);
            // MyGPTAssistants makes the id itself, so the first call had none.
            assert!(moved.thread().is_null() || moved.thread() == again.thread(), "{second}");
            // Back at the first, it is told what it missed, and only that.
            let (four, _) = say(&stage, "a", "Back again.", Some(&id)).await;
            let back = sent(&stage, first, usual(first));
            check(first, &back, &four, &[RIVER, "Third.", "Back again."], &[two.text(), three.text()]);
            assert_eq!(back.tells("User", HERON), replays(first), "{first}: {}", back.0);
            let kept = stage.gateway.get(&format!("/v1/conversations/{id}")).await.json();
            let kept = (&kept["assistant"], &kept["message_count"]);
            assert_eq!(kept, (&json!("a"), &json!(8)), "it is where it was last asked to be");
        }
    }
}

#[tokio::test]
async fn a_fallback_is_given_the_history_and_moves_nothing() {
    let stage = Stage::open().await;
    for first in KINDS {
        for second in KINDS.into_iter().filter(|second| *second != first) {
            let (broken, plain) = (format!("fault-503~{second}"), format!("{}~{first}", usual(second)));
            let b = Cast::new("b", second, &plain);
            stage.cast(&[Cast::new("a", first, usual(first)), b.clone()]);
            let (one, id) = say(&stage, "a", HERON, None).await;
            stage.cast(&[Cast::new("a", first, &broken).falls_back(&["b"]), b.clone()]);
            let (two, _) = say(&stage, "a", RIVER, Some(&id)).await;
            assert_eq!(
                (two.status(), &two.turn["assistant"]),
                ("completed", &json!("b")),
                "{first} {second}"
            );
            assert_eq!(two.attempts().len(), 3, "{first} {second}");
            check(second, &sent(&stage, second, &plain), &two, &[HERON, RIVER], &[one.text()]);
            // The turn after it is the first one's again, who is told what the other one said in its place.
            stage.cast(&[Cast::new("a", first, usual(first)), b]);
            let (three, _) = say(&stage, "a", "Still there?", Some(&id)).await;
            assert_eq!(three.turn["assistant"], "a");
            check(first, &sent(&stage, first, usual(first)), &three, &[RIVER, "Still there?"], &[two.text()]);
        }
    }
}

#[tokio::test]
async fn after_a_broken_call_a_new_thread_is_begun_and_told_all() {
    let stage = Stage::open().await;
    for kind in ["gptunnel", "mygptassistants", "gigachat"] {
        // gigachat.ai streams by the bot's setting.
        let more = if kind == "gigachat" { "+shape-openai-chunks" } else { "" };
        for (fault, status, in_doubt) in [
            ("fault-cut-after-3", "incomplete", true),
            ("fault-reset", "failed", true),
            ("fault-500", "failed", true),
            // What certainly had no effect leaves the thread as it was.
            ("fault-400", "failed", false),
        ] {
            let upstream_id = format!("{fault}-times-1{more}");
            stage.cast(&[Cast::new("a", kind, &upstream_id)]);
            let (one, id) = say(&stage, "a", HERON, None).await;
            assert_eq!(one.status(), status, "{kind} {fault}");
            let broken = sent(&stage, kind, &upstream_id);
            let (two, _) = say(&stage, "a", RIVER, Some(&id)).await;
            assert_eq!(two.status(), "completed", "{kind} {fault}");
            let next = sent(&stage, kind, &upstream_id);
            let is_new = next.thread().is_null() || next.thread() != broken.thread();
            assert!(is_new || !in_doubt, "{kind} {fault}: whether it knows the broken turn, nobody knows");
            // A partial reply is given with its question; a failed turn's question is not.
            if one.text().is_empty() {
                assert!(next.message() == RIVER, "{kind} {fault}: {}", next.0);
            } else {
                check(kind, &next, &two, &[HERON, RIVER], &[one.text()]);
            }
            let (three, _) = say(&stage, "a", "Third.", Some(&id)).await;
            let last = sent(&stage, kind, &upstream_id);
            assert_eq!(
                (three.status(), last.message()),
                ("completed", "Third."),
                "{kind} {fault}: {}",
                last.0
            );
            assert!(next.thread().is_null() || next.thread() == last.thread(), "{kind} {fault}");
        }
    }
}

//! Every provider's translations, against its cassettes: what is sent, and what is made of the answer.

use std::sync::Arc;

use chat::{Clock, Failure};
use serde_json::json;

use crate::cassette::{self, Transport};

/// One loop over all kinds and scenarios; no socket.
#[tokio::test(start_paused = true)]
async fn cassettes_play_as_kept() {
    let mut wrong = Vec::new();
    for kind in providers::KINDS {
        for cassette in cassette::of_kind(kind.name) {
            let played = cassette.play(cassette.responses.clone()).await;
            let sent = cassette.show_sent(&played.sent);
            wrong.extend(cassette.compare("request.snap", &sent).err());
            wrong.extend(cassette.compare("events.snap", &cassette.show_outcome(&played.outcome)).err());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_kind_has_cassettes() {
    for kind in providers::KINDS {
        assert!(!cassette::of_kind(kind.name).is_empty(), "{}", kind.name);
    }
}

/// Where an answer comes from stands in its first line: nothing here was recorded from a real account.
#[test]
fn cassettes_say_where_they_come_from() {
    for kind in providers::KINDS {
        for cassette in cassette::of_kind(kind.name) {
            let file = std::fs::read(cassette.folder.join("response.http")).unwrap_or_default();
            assert!(
                cassette.responses.is_empty() || file.starts_with(b"# Made from "),
                "{}",
                cassette.folder.display()
            );
        }
    }
}

/// The clock to an answer's headers runs where a stream was asked for, and else not: a call that gives the whole answers when it is
/// done. gigachat.ai's call never says which it is.
#[tokio::test(start_paused = true)]
async fn only_a_stream_has_a_clock_to_its_headers() {
    let wait = async |kind: &str, settings: &str, stream: bool| {
        let error = cassette::ask_transport(kind, settings, stream, Transport::Hangs).await.1;
        error.expect("an answer out of nothing").failure
    };
    let headers = Failure::TimedOut(Clock::Headers);
    let total = Failure::TimedOut(Clock::Total);
    let key = "api_key = 'test-key'\n";
    assert_eq!(wait("openai", key, true).await, headers);
    assert_eq!(wait("openai", key, false).await, total);
    assert_eq!(wait("gptunnel", key, true).await, total, "GPTunnel is not asked for a stream");
    assert_eq!(wait("gptunnel", &format!("{key}stream_upstream = true"), true).await, headers);
    assert_eq!(wait("gptunnel", &format!("{key}stream_upstream = true"), false).await, total);
}

/// A call that broke after it was sent is sent again only where there is no effect to repeat.
#[tokio::test(start_paused = true)]
async fn only_a_call_without_effect_is_sent_again_after_a_reset() {
    let calls = async |kind: &str| {
        cassette::ask_transport(kind, "api_key = 'test-key'", false, Transport::Resets).await.0
    };
    assert_eq!(calls("openai").await, 3);
    assert_eq!(calls("gptunnel").await, 1);
    // A call that begins a thread leaves one behind that nobody knows of; a call in a thread is remembered there.
    for (mode, begins, goes_on) in [("replay", 3, 3), ("thread", 3, 1)] {
        let settings = format!("api_key = 'test-key'\nhistory_mode = '{mode}'");
        for transport in [Transport::Resets, Transport::Begins(": hello\n\n")] {
            let (calls, _) = cassette::ask_transport("unleash", &settings, true, transport).await;
            assert_eq!(calls, begins, "{mode}: {transport:?}");
            let question =
                json!({"upstream_id": "a", "message": "Hi", "stream": true, "thread": {"id": "t"}});
            let (calls, _) = cassette::ask_transport_this("unleash", &settings, question, transport).await;
            assert_eq!(calls, goes_on, "{mode}: {transport:?}");
        }
    }
}

/// Once a reader can have had something of an answer, it is not asked for again, also where there is no effect to repeat.
#[tokio::test(start_paused = true)]
async fn an_answer_is_asked_for_again_only_while_nothing_of_it_counts() {
    let role = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    let text = r#"data: {"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let tool = r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"1","function":{"name":"f"}}]}}]}"#;
    let error = r#"data: {"error":{"message":"Sorry","type":"server_error"}}"#;
    let slow_down = r#"data: {"error":{"message":"Slow down","code":429}}"#;
    // A tool's call counts once a client can have had a piece of it: where the frames are passed through to it.
    for (frames, native, passed_through) in [
        (vec![role], 3, 3),
        (vec![role, text], 1, 1),
        (vec![role, tool], 3, 1),
        (vec![role, error], 3, 3),
        (vec![role, slow_down], 3, 3),
        (vec![role, text, error], 1, 1),
    ] {
        let body: &'static str = Box::leak((frames.join("\n\n") + "\n\n").into_boxed_str());
        let plain = json!({"upstream_id": "a", "message": "Hi", "stream": true});
        let mut passing = plain.clone();
        passing["extension"] = json!({"messages": [], "stream": true});
        for (question, calls) in [(plain, native), (passing, passed_through)] {
            let asked = cassette::ask_transport_this("openai", "", question, Transport::Begins(body)).await;
            assert_eq!(asked, (calls, None), "{body}");
        }
    }
}

/// A provider that says in a 200 that it is busy is asked again, like one that says so with its status.
#[tokio::test(start_paused = true)]
async fn a_busy_answer_in_disguise_is_tried_again() {
    for (kind, body) in [
        ("gptunnel", "{\"code\": 6, \"message\": \"Heavy load\"}"),
        ("openai", "{\"error\": {\"message\": \"Slow down\", \"code\": 429}}"),
        ("openai", "data: {\"error\": {\"message\": \"Slow down\", \"type\": \"overloaded_error\"}}\n\n"),
    ] {
        let calls =
            cassette::ask_transport(kind, "api_key = 'test-key'", false, Transport::Says(body)).await.0;
        assert_eq!(calls, 3, "{kind}: {body}");
    }
    let body = "{\"code\": 1001, \"message\": \"Unsafe\"}";
    let calls =
        cassette::ask_transport("gptunnel", "api_key = 'test-key'", false, Transport::Says(body)).await.0;
    assert_eq!(calls, 1, "a refusal stays one");
}

/// An operator's mistakes are named by their key.
#[test]
fn settings_at_fault_are_named() {
    for kind in providers::KINDS {
        let error = build(kind.name, "api_key = 'test-key'\nno_such_setting = 1").unwrap_err();
        assert_eq!(error.key.as_deref(), Some("no_such_setting"), "{}: {error:?}", kind.name);
        let error = build(kind.name, "api_key = \"test\\nkey\"").unwrap_err();
        assert_eq!(error.key.as_deref(), Some("api_key"), "{}: {error:?}", kind.name);
    }
    assert_eq!(build("gptunell", "").unwrap_err().key.as_deref(), Some("kind"));
}

/// The stanzas that the project shows can be used as they are, and show every setting that their provider has.
#[test]
fn stanzas_can_be_used() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/providers");
    for kind in providers::KINDS {
        let file = std::fs::read_to_string(folder.join(format!("{}.toml", kind.name))).expect(kind.name);
        let table: toml::Table = file.parse().expect(kind.name);
        let sections = table["providers"].as_table().unwrap();
        for section in sections.values() {
            let mut section = section.as_table().unwrap().clone();
            assert_eq!(section["kind"].as_str(), Some(kind.name));
            for key in OF_THE_GATEWAY {
                section.remove(*key);
            }
            build(kind.name, &section.to_string()).unwrap_or_else(|error| panic!("{}: {error:?}", kind.name));
        }
        let schema = serde_json::to_value((kind.settings)()).unwrap();
        for setting in schema["properties"].as_object().expect(kind.name).keys() {
            assert!(file.contains(&format!("{setting} = ")), "{}: {setting}", kind.name);
        }
    }
}

/// What of a provider's table the gateway reads itself.
const OF_THE_GATEWAY: &[&str] = &[
    "kind",
    "base_url",
    "headers",
    "connect_timeout",
    "headers_timeout",
    "first_text_timeout",
    "idle_timeout",
    "total_timeout",
    "hedge_after",
    "retry",
    "breaker",
    "max_concurrency",
    "requests_per_minute",
    "proxy",
    "ca_file",
];

fn build(kind: &str, section: &str) -> Result<Arc<dyn chat::Provider>, providers::BuildError> {
    let context = providers::Context { secrets: Arc::new([]), reply_bytes_max: 1024 };
    providers::build(kind, section.parse().unwrap(), cassette::silent_upstream(), context)
}

//! Every provider's translations, against its cassettes: what is sent, and what is made of the answer.

use crate::cassette;

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

/// An operator's mistakes are named by their key.
#[test]
fn settings_at_fault_are_named() {
    let upstream = cassette::silent_upstream();
    let context = providers::Context { secrets: std::sync::Arc::new([]), reply_bytes_max: 1024 };
    let build = |kind: &str, section: &str| {
        providers::build(kind, section.parse().unwrap(), upstream.clone(), context.clone())
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(build("gptunell", "").key.as_deref(), Some("kind"));
    for kind in providers::KINDS {
        let error = build(kind.name, "api_key = 'test-key'\nno_such_setting = 1");
        assert_eq!(error.key.as_deref(), Some("no_such_setting"), "{}: {error:?}", kind.name);
    }
}

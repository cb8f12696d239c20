//! How turns end: honestly.

use std::sync::Arc;
use std::time::Duration;

use chat::{Clock, ConversationStore, ErrorCode, Failure, FinishReason, Piece, ProviderError, TurnStatus};
use engine::{Ask, Settings};

use super::faulty::{Faulty, Point, When, Wrong};
use crate::kit::{Act, Kit, Options, Scripted, ask, caller, fold, kinds, read_all, read_until, text};

fn three() -> [Scripted; 3] {
    [Scripted::replay(), Scripted::replay(), Scripted::replay()]
}

#[tokio::test]
async fn a_stream_that_just_stops_is_not_complete() {
    let kit = Kit::new().await;
    kit.a().plays(vec![Act::Give(Piece::Text("half".into()))]);
    let turn = kit.say("hi", None).await;
    assert_eq!(turn.status, TurnStatus::Incomplete);
    assert_eq!(turn.error.as_ref().unwrap().code, ErrorCode::ProviderProtocol);
    assert_eq!(turn.message.as_ref().unwrap().content.text(), "half");
    assert_eq!(turn.attempts.len(), 1, "a call that broke is listed even if its text was kept");
}

#[tokio::test]
async fn every_failure_before_text_is_its_code() {
    let kit = Kit::new().await;
    let cases = [
        (Failure::Credentials, ErrorCode::ProviderAuth),
        (Failure::Account, ErrorCode::ProviderAccount),
        (Failure::NotFound, ErrorCode::ProviderNotFound),
        (Failure::Rejected, ErrorCode::ProviderRejected),
        (Failure::TooLong, ErrorCode::ContextTooLong),
        (Failure::Filtered, ErrorCode::ContentRefused),
        (Failure::Busy { retry_after: Some(Duration::from_millis(1500)) }, ErrorCode::ProviderRateLimit),
        (Failure::Unavailable { retry_after: None }, ErrorCode::ProviderError),
        (Failure::Failed, ErrorCode::ProviderError),
        (Failure::TimedOut(Clock::Headers), ErrorCode::HeadersTimeout),
        (Failure::Empty, ErrorCode::ProviderEmpty),
        (Failure::Unreachable, ErrorCode::ProviderError),
        (Failure::Broken, ErrorCode::ProviderError),
    ];
    for (failure, code) in cases {
        kit.a().plays(vec![Act::Refuse(ProviderError::new(failure).saying("its words"))]);
        let turn = kit.say("hi", None).await;
        assert_eq!(turn.status, TurnStatus::Failed, "{failure:?}");
        let error = turn.error.as_ref().unwrap();
        assert_eq!((error.code, error.retryable), (code, code.retryable()));
        assert_eq!(error.provider.as_ref().unwrap().as_str(), "provider-a");
        assert!(error.message.contains("its words"), "{}", error.message);
        assert_eq!(turn.attempts.len(), 1);
        assert_eq!(turn.attempts[0].outcome.as_str(), code.as_str());
        assert!(turn.message.is_none());
        let waits = failure.retry_after().map(|_| 2);
        assert_eq!(error.retry_after, waits);
    }
}

#[tokio::test]
async fn a_failed_turns_message_is_shown_but_not_given_again() {
    let kit = Kit::new().await;
    let conversation = kit.say("1", None).await.conversation_id;
    kit.a().plays(vec![Act::Refuse(Failure::Failed.into())]);
    kit.say("2", conversation).await;
    kit.say("3", conversation).await;
    assert_eq!(kit.a().last_history(), ["1", "ok"]);
    let page = chat::PageRequest { limit: 100, cursor: None };
    let messages = kit.engine.messages(&caller("t"), conversation.unwrap(), false, page).await.unwrap().items;
    let shown: Vec<_> =
        messages.iter().map(|one| (one.content.text().into_owned(), one.status.as_str())).collect();
    let expected =
        [("1", "completed"), ("ok", "completed"), ("2", "failed"), ("3", "completed"), ("ok", "completed")];
    assert_eq!(shown, expected.map(|(text, status)| (text.to_owned(), status)));
}

#[tokio::test]
async fn stopping_short_by_its_own_word_is_incomplete_without_an_error() {
    let kit = Kit::with_fallback(&["b"]).await;
    for finish in [FinishReason::Length, FinishReason::ContentFilter] {
        kit.a().plays(vec![Act::Give(Piece::Text("short".into())), Act::Give(Piece::End(Some(finish)))]);
        let turn = kit.say("hi", None).await;
        assert_eq!((turn.status, turn.finish_reason), (TurnStatus::Incomplete, Some(finish)));
        assert!(turn.error.is_none() && turn.attempts.is_empty());
    }
    assert_eq!(kit.b().calls(), 0, "no recovery");
}

#[tokio::test]
async fn a_reply_longer_than_it_may_be_is_cut() {
    let settings = Settings { reply_bytes_max: 10, ..Settings::default() };
    let options = Options { settings, fallback: vec!["b"], ..Options::default() };
    let kit = Kit::with(options, three()).await;
    kit.a().plays(text(&["12345678", "éé", "more"]));
    let turn = kit.say("hi", None).await;
    assert_eq!(turn.message.as_ref().unwrap().content.text(), "12345678é");
    assert_eq!(
        (turn.status, turn.error.as_ref().unwrap().code),
        (TurnStatus::Incomplete, ErrorCode::ProviderProtocol)
    );
    assert_eq!(kit.b().calls(), 0, "no fallback is asked");
}

#[tokio::test]
async fn cancelling_keeps_what_came_and_stops_the_call() {
    let kit = Kit::new().await;
    kit.a().plays(vec![Act::Give(Piece::Text("part".into())), Act::Hang]);
    let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    let before = read_until(&mut reader, |events| events.len() >= 2).await;
    let turn = kit.engine.cancel(&caller("t"), reader.turn_id()).await.unwrap();
    assert_eq!(turn.status, TurnStatus::Cancelled);
    assert_eq!(turn.message.as_ref().unwrap().content.text(), "part");
    assert!(turn.error.is_none());
    let after = read_all(&mut reader).await;
    assert_eq!(kinds(&after), ["cancelled"]);
    fold(&[before, after].concat());
    assert_eq!(kit.a().open.load(std::sync::atomic::Ordering::SeqCst), 0, "the provider's call is dropped");
    let again = kit.engine.cancel(&caller("t"), turn.id).await.unwrap();
    assert_eq!(again, turn, "a finished one is left as it is");
}

#[tokio::test]
async fn a_reader_that_leaves_changes_nothing_unless_told_so() {
    use engine::OnDisconnect;
    for (on_disconnect, status) in
        [(OnDisconnect::Continue, TurnStatus::Completed), (OnDisconnect::Cancel, TurnStatus::Cancelled)]
    {
        let settings = Settings { on_disconnect, ..Settings::default() };
        let kit = Kit::with(Options { settings, ..Options::default() }, three()).await;
        let gate = crate::kit::Gate::new();
        let play = [vec![Act::Give(Piece::Text("a".into())), Act::Wait(gate.clone())], text(&["b"])].concat();
        kit.a().plays(play);
        let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
        read_until(&mut reader, |events| events.len() >= 2).await;
        let id = reader.turn_id();
        drop(reader);
        if on_disconnect == OnDisconnect::Continue {
            gate.open();
        }
        while kit.engine.running() > 0 {
            tokio::task::yield_now().await;
        }
        let turn = kit.engine.turn(&caller("t"), id).await.unwrap();
        assert_eq!(turn.status, status);
    }
}

#[tokio::test]
async fn clocks_that_the_engine_keeps() {
    let mut options = Options::default();
    options.clocks.first_text = Duration::from_millis(5);
    let kit = Kit::with(options.clone(), three()).await;
    kit.a().plays(vec![Act::Hang]);
    let turn = kit.say("hi", None).await;
    assert_eq!(turn.error.as_ref().unwrap().code, ErrorCode::FirstTextTimeout);
    // With text there, that clock no longer runs; the one for all does.
    options.clocks.first_text = Duration::from_secs(600);
    // Long enough for a loaded machine to get to the text.
    options.clocks.total = Duration::from_secs(2);
    let kit = Kit::with(options, three()).await;
    kit.a().plays(vec![Act::Give(Piece::Text("x".into())), Act::Hang]);
    let turn = kit.say("hi", None).await;
    assert_eq!(
        (turn.status, turn.error.as_ref().unwrap().code),
        (TurnStatus::Incomplete, ErrorCode::TotalTimeout)
    );
}

#[tokio::test]
async fn what_an_assistant_cannot_do_is_refused_by_field() {
    let kit = Kit::new().await;
    let image = chat::Part::Image { url: "https://example.com/x.png".into() };
    let content = chat::Content { parts: vec![chat::Part::Text { text: "look".into() }, image] };
    let refused = kit
        .engine
        .chat(&caller("t"), Ask { prompt: engine::Prompt::Message(content), ..ask("a", "") })
        .await
        .unwrap_err();
    assert_eq!(
        (refused.error.code, refused.error.param.as_deref()),
        (ErrorCode::Unsupported, Some("message"))
    );
    let filters = serde_json::value::RawValue::from_string("{}".into()).unwrap();
    let asked = Ask { search_filters: Some(filters.into()), ..ask("a", "hi") };
    let refused = kit.engine.chat(&caller("t"), asked).await.unwrap_err();
    assert_eq!(refused.error.param.as_deref(), Some("search_filters"));
    let refused = kit.engine.chat(&caller("t"), ask("nobody", "hi")).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::AssistantNotFound);
    assert_eq!(kit.a().calls(), 0);
}

#[tokio::test]
async fn with_every_breaker_open_nothing_is_accepted() {
    let kit = Kit::with_fallback(&["b"]).await;
    *kit.a().closed_for.lock().unwrap() = Some(Duration::from_secs(9));
    kit.say("hi", None).await;
    *kit.b().closed_for.lock().unwrap() = Some(Duration::from_secs(3));
    let refused = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap_err();
    assert_eq!((refused.error.code, refused.error.retry_after), (ErrorCode::BreakerOpen, Some(3)));
}

#[tokio::test]
async fn a_turn_whose_end_the_store_refuses_ends_all_the_same() {
    for refusals in [1, 2] {
        let points: Vec<_> = (1..=refusals)
            .map(|number| Point { operation: "end_turn", number, when: When::Before, wrong: Wrong::Refused })
            .collect();
        let kit = Kit::wrapped(Options::default(), three(), |store| {
            Arc::new(Faulty::new(store, &points)) as Arc<dyn ConversationStore>
        })
        .await;
        let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
        let id = reader.turn_id();
        let told = fold(&read_all(&mut reader).await).ended.unwrap();
        let is_failed = |turn: &chat::Turn| {
            let code = turn.error.as_ref().map(|error| error.code);
            (turn.status, code, turn.message.is_none())
                == (TurnStatus::Failed, Some(ErrorCode::Internal), true)
        };
        assert!(is_failed(&told), "{told:?}");
        if refusals == 1 {
            let kept = kit.engine.turn(&caller("t"), id).await.unwrap();
            assert!(is_failed(&kept), "{kept:?}");
            assert_eq!(kit.say("and on", kept.conversation_id).await.status, TurnStatus::Completed);
        }
        // Nothing of it is left that a drain would wait for.
        kit.engine.finish(Duration::from_secs(60)).await;
        assert_eq!(kit.engine.running(), 0);
    }
}

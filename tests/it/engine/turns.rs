//! Turns that go well: streamed and whole, continued, moved, kept or not.

use chat::{Content, Cost, Event, FinishReason, Part, Piece, Role, Source, TurnStatus, UpstreamIds, Usage};
use engine::{Ask, Prompt};

use crate::kit::{
    Act, Gate, Kit, Options, Scripted, ask, caller, fold, kinds, next, read_all, read_until, text,
};

#[tokio::test]
async fn a_streamed_turn_is_started_pieces_and_one_end() {
    let kit = Kit::new().await;
    kit.a().plays(text(&["Hel", "lo"]));
    let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    let events = read_all(&mut reader).await;
    assert_eq!(kinds(&events), ["started", "+Hel", "+lo", "completed"]);
    let reply = fold(&events);
    let (started, ended) = (reply.started.unwrap(), reply.ended.unwrap());
    assert_eq!((started.status, ended.status), (TurnStatus::InProgress, TurnStatus::Completed));
    assert!(started.message.is_none() && started.conversation_id.is_some());
    assert_eq!(ended.message.as_ref().unwrap().content.text(), "Hello");
    assert!(ended.attempts.is_empty() && ended.error.is_none() && ended.completed_at.is_some());
}

#[tokio::test]
async fn the_start_is_told_before_the_provider_says_anything() {
    let kit = Kit::new().await;
    let gate = Gate::new();
    kit.a().plays([vec![Act::Wait(gate.clone())], text(&["late"])].concat());
    let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    let first = next(&mut reader).await;
    assert!(matches!(first.as_slice(), [(1, Event::Started(_))]));
    gate.open();
    assert_eq!(kinds(&read_all(&mut reader).await), ["+late", "completed"]);
}

#[tokio::test]
async fn streamed_and_whole_say_the_same() {
    let kit = Kit::new().await;
    let source = Source { id: "s1".into(), title: Some("Title".into()), ..Source::default() };
    let ids =
        UpstreamIds { request_id: Some("r".into()), conversation_id: None, message_id: Some("m".into()) };
    let usage = Usage { total_tokens: Some(3), cost: Cost::parse("0.17685", "RUB"), ..Usage::default() };
    let play = vec![
        Act::Give(Piece::Model("model-1".into())),
        Act::Give(Piece::Sources(vec![source.clone()])),
        Act::Give(Piece::Text("See".into())),
        Act::Give(Piece::Citation(vec!["s1".into()])),
        Act::Give(Piece::Text(".".into())),
        Act::Give(Piece::Upstream(ids.clone())),
        Act::Give(Piece::Usage(usage.clone())),
        Act::Give(Piece::End(Some(FinishReason::Stop))),
    ];
    kit.a().plays(play.clone());
    kit.a().plays(play);
    let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    let streamed = fold(&read_all(&mut reader).await).ended.unwrap();
    let whole = kit.turn(Ask { stream: false, ..ask("a", "hi") }).await;
    for turn in [streamed.as_ref(), whole.as_ref()] {
        let message = turn.message.as_ref().unwrap();
        let cited = Part::Citation { source_ids: vec!["s1".into()] };
        let parts = [Part::Text { text: "See".into() }, cited, Part::Text { text: ".".into() }];
        assert_eq!(message.content.parts, parts);
        assert_eq!(turn.sources, [source.clone()]);
        assert_eq!((turn.usage.as_ref(), &turn.upstream), (Some(&usage), &ids));
        assert_eq!((turn.model.as_deref(), turn.finish_reason), (Some("model-1"), Some(FinishReason::Stop)));
    }
}

#[tokio::test]
async fn a_conversation_goes_on_with_its_history() {
    let kit = Kit::new().await;
    for reply in ["one", "two", "three"] {
        kit.a().plays(text(&[reply]));
    }
    let first = kit.say("1", None).await;
    let conversation = first.conversation_id;
    kit.say("2", conversation).await;
    let third = kit.say("3", conversation).await;
    assert_eq!(third.conversation_id, conversation);
    assert_eq!(kit.a().last_history(), ["1", "one", "2", "two"]);
    assert_eq!(kit.a().last().message.text(), "3");
}

#[tokio::test]
async fn context_messages_bounds_what_is_given() {
    let kit = Kit::new().await;
    let conversation = kit.say("1", None).await.conversation_id;
    kit.say("2", conversation).await;
    let asked = Ask { conversation_id: conversation, context_messages: Some(1), ..ask("a", "3") };
    kit.turn(asked).await;
    assert_eq!(kit.a().last_history(), ["ok"]);
    let asked = Ask { conversation_id: conversation, context_messages: Some(0), ..ask("a", "4") };
    kit.turn(asked).await;
    assert!(kit.a().last_history().is_empty());
}

#[tokio::test]
async fn a_conversation_moves_with_its_history() {
    let kit = Kit::new().await;
    let conversation = kit.say("1", None).await.conversation_id;
    let moved = kit.turn(Ask { conversation_id: conversation, ..ask("b", "2") }).await;
    assert_eq!(moved.assistant.as_str(), "b");
    assert_eq!(kit.b().last_history(), ["1", "ok"]);
    let kept = kit.engine.conversation(&caller("t"), conversation.unwrap()).await.unwrap();
    assert_eq!((kept.assistant.as_str(), kept.message_count), ("b", 4));
    // Left out, the assistant is the one it moved to.
    kit.turn(Ask { conversation_id: conversation, assistant: None, ..ask("a", "3") }).await;
    assert_eq!(kit.b().calls(), 2);
}

#[tokio::test]
async fn a_thread_is_told_only_what_it_lacks() {
    let options = Options { system: Some("Be kind".into()), ..Options::default() };
    let kit = Kit::with(options, [Scripted::threads(), Scripted::replay(), Scripted::replay()]).await;
    let conversation = kit.say("1", None).await.conversation_id;
    let first = kit.a().last();
    let thread = first.thread.clone().unwrap();
    assert!(thread.fresh && first.system.as_deref() == Some("Be kind") && first.history.is_empty());
    kit.say("2", conversation).await;
    let second = kit.a().last();
    assert_eq!(second.thread.as_ref().map(|thread| (&thread.id, thread.fresh)), Some((&thread.id, false)));
    assert!(second.system.is_none() && second.history.is_empty());
    // Another assistant answers one turn; back here, the thread is told what it missed.
    kit.turn(Ask { conversation_id: conversation, ..ask("b", "3") }).await;
    kit.say("4", conversation).await;
    assert_eq!(kit.a().last_history(), ["3", "ok"]);
    assert_eq!(kit.a().last().thread.unwrap().id, thread.id);
}

#[tokio::test]
async fn a_windowed_thread_is_told_the_system_text_again_in_time() {
    let options = Options { system: Some("Be kind".into()), context_messages: 4, ..Options::default() };
    let kit = Kit::with(options, [Scripted::threads(), Scripted::replay(), Scripted::replay()]).await;
    let mut conversation = None;
    let mut told = Vec::new();
    for turn in 0..5 {
        conversation = kit.say(&turn.to_string(), conversation).await.conversation_id;
        told.push(kit.a().last().system.is_some());
    }
    assert_eq!(told, [true, false, true, false, true], "every four messages");
}

#[tokio::test]
async fn after_a_broken_call_a_new_thread_begins_with_the_history_quoted() {
    let kit =
        Kit::with(Options::default(), [Scripted::threads(), Scripted::replay(), Scripted::replay()]).await;
    let conversation = kit.say("1", None).await.conversation_id;
    let thread = kit.a().last().thread.unwrap().id;
    kit.a().plays(vec![Act::Give(Piece::Text("par".into())), Act::Fail(chat::Failure::Broken.into())]);
    assert_eq!(kit.say("2", conversation).await.status, TurnStatus::Incomplete);
    kit.say("3", conversation).await;
    let last = kit.a().last();
    let new = last.thread.unwrap();
    assert!(new.fresh && new.id != thread);
    assert_eq!(kit.a().last_history(), ["1", "ok", "2", "par"]);
}

#[tokio::test]
async fn the_providers_own_thread_id_is_used_for_the_next_turn() {
    let kit =
        Kit::with(Options::default(), [Scripted::own_threads(), Scripted::replay(), Scripted::replay()])
            .await;
    kit.a().plays([vec![Act::Give(Piece::Thread("theirs".into()))], text(&["ok"])].concat());
    let conversation = kit.say("1", None).await.conversation_id;
    assert!(kit.a().last().thread.is_none());
    let kept = kit.engine.conversation(&caller("t"), conversation.unwrap()).await.unwrap();
    assert_eq!(kept.upstream_conversation_id.as_deref(), Some("theirs"));
    // It never says the id again: the thread is known all the same.
    kit.say("2", conversation).await;
    assert_eq!(kit.a().last().thread.unwrap().id, "theirs");
    assert!(kit.a().last_history().is_empty());
    // A reply that never named a thread leaves none: the next turn quotes.
    let lost = kit.say("x", None).await.conversation_id;
    kit.say("y", lost).await;
    assert!(kit.a().last().thread.is_none());
    assert_eq!(kit.a().last_history(), ["x", "ok"]);
}

#[tokio::test]
async fn nothing_is_kept_of_a_turn_that_is_not_to_be_stored() {
    let kit = Kit::new().await;
    let gate = Gate::new();
    kit.a().plays([vec![Act::Wait(gate.clone())], text(&["gone"])].concat());
    let mut reader = kit.engine.chat(&caller("t"), Ask { store: false, ..ask("a", "hi") }).await.unwrap();
    let id = reader.turn_id();
    assert_eq!(kit.engine.turn(&caller("t"), id).await.unwrap().status, TurnStatus::InProgress);
    gate.open();
    let turn = fold(&read_all(&mut reader).await).ended.unwrap();
    assert_eq!((turn.conversation_id, turn.status), (None, TurnStatus::Completed));
    assert!(kit.engine.turn(&caller("t"), id).await.is_ok(), "as long as somebody reads");
    drop(reader);
    // Its task lets go of it right after the end was told.
    while kit.engine.running() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        kit.engine.turn(&caller("t"), id).await.unwrap_err().error.code,
        chat::ErrorCode::TurnNotFound
    );
}

#[tokio::test]
async fn a_transcript_begins_a_conversation() {
    let kit = Kit::new().await;
    let said = |role, text: &str| (role, Content::text_only(text));
    let transcript = vec![
        said(Role::System, "Be brief"),
        said(Role::User, "1"),
        said(Role::Assistant, "one"),
        said(Role::User, "2"),
    ];
    for store in [true, false] {
        let asked = Ask { prompt: Prompt::Transcript(transcript.clone()), store, ..ask("a", "") };
        kit.turn(asked).await;
        assert_eq!(kit.a().last_history(), ["Be brief", "1", "one"]);
        assert_eq!(kit.a().last().history[0].role, Role::System);
        assert_eq!(kit.a().last().message.text(), "2");
    }
}

#[tokio::test]
async fn many_readers_see_the_same() {
    let kit = Kit::new().await;
    let gate = Gate::new();
    let play =
        [vec![Act::Give(Piece::Text("a".into())), Act::Wait(gate.clone())], text(&["b", "c"])].concat();
    kit.a().plays(play);
    let mut first = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    read_until(&mut first, |events| events.len() >= 2).await;
    let id = first.turn_id();
    let mut second = kit.engine.events(&caller("t"), id, 0).await.unwrap().unwrap();
    let mut third = kit.engine.events(&caller("t"), id, 2).await.unwrap().unwrap();
    drop(first);
    gate.open();
    let all = read_all(&mut second).await;
    assert_eq!(kinds(&all), ["started", "+a", "+b", "+c", "completed"]);
    assert_eq!(read_all(&mut third).await, all[2..]);
}

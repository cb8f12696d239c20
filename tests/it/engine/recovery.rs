//! Fallbacks, before and after the first text, and hedges.

use std::time::Duration;

use chat::{ErrorCode, Failure, Piece, ProviderError, Source, TurnStatus, Usage};

use crate::kit::{Act, Gate, Kit, Options, Play, Scripted, ask, caller, fold, kinds, read_all, text};

fn breaks_after(said: &str) -> Play {
    vec![Act::Give(Piece::Text(said.into())), Act::Fail(Failure::Broken.into())]
}

async fn stream(kit: &Kit) -> (Vec<String>, chat::Turn) {
    let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    let events = read_all(&mut reader).await;
    (kinds(&events), *fold(&events).ended.unwrap())
}

#[tokio::test]
async fn before_text_the_fallback_is_asked_with_the_history() {
    let kit = Kit::with_fallback(&["b", "c"]).await;
    let conversation = kit.say("1", None).await.conversation_id;
    kit.a()
        .plays(vec![Act::Refuse(ProviderError::new(Failure::Busy { retry_after: None }).with_status(429))]);
    kit.b().plays(vec![Act::Refuse(Failure::Failed.into())]);
    let turn = kit.say("2", conversation).await;
    assert_eq!(
        (turn.status, turn.assistant.as_str(), turn.provider.as_str()),
        (TurnStatus::Completed, "c", "provider-c")
    );
    assert_eq!(kit.c().last_history(), ["1", "ok"]);
    let told: Vec<_> =
        turn.attempts.iter().map(|one| (one.assistant.as_str(), one.outcome.as_str(), one.status)).collect();
    assert_eq!(told, [("a", "provider_rate_limit", Some(429)), ("b", "provider_error", None)]);
    let kept = kit.engine.conversation(&caller("t"), conversation.unwrap()).await.unwrap();
    assert_eq!(kept.assistant.as_str(), "a", "a fallback moves nothing");
}

#[tokio::test]
async fn what_repeats_is_spliced() {
    let kit = Kit::with_fallback(&["b"]).await;
    kit.a().plays(breaks_after("Hello wor"));
    kit.b().plays(text(&["Hello", " world", "!"]));
    let (kinds, turn) = stream(&kit).await;
    assert_eq!(kinds, ["started", "+Hello wor", "fallback", "+ld", "+!", "completed"]);
    assert_eq!((turn.assistant.as_str(), turn.attempts.len()), ("b", 1));
}

#[tokio::test]
async fn what_differs_replaces() {
    let kit = Kit::with_fallback(&["b"]).await;
    kit.a().plays(breaks_after("Hello wor"));
    kit.b().plays(text(&["Hel", "p is near", "!"]));
    let (kinds, _) = stream(&kit).await;
    assert_eq!(kinds, ["started", "+Hello wor", "fallback", "=Help is near", "+!", "completed"]);
}

#[tokio::test]
async fn what_ends_short_replaces() {
    let kit = Kit::with_fallback(&["b"]).await;
    kit.a().plays(breaks_after("Hello world"));
    kit.b().plays(text(&["Hello"]));
    let (kinds, turn) = stream(&kit).await;
    assert_eq!(kinds, ["started", "+Hello world", "fallback", "=Hello", "completed"]);
    assert_eq!(turn.message.unwrap().content.text(), "Hello");
}

#[tokio::test]
async fn of_two_that_break_the_second_stands_if_it_differs_or_is_longer() {
    for (second, stands, assistant) in
        [("Hello world", "Hello world", "b"), ("Help", "Help", "b"), ("Hel", "Hello wor", "a")]
    {
        let kit = Kit::with_fallback(&["b"]).await;
        kit.a().plays(breaks_after("Hello wor"));
        kit.b().plays(breaks_after(second));
        let (_, turn) = stream(&kit).await;
        assert_eq!(turn.status, TurnStatus::Incomplete);
        assert_eq!(turn.message.unwrap().content.text(), stands);
        assert_eq!((turn.assistant.as_str(), turn.attempts.len()), (assistant, 2));
    }
}

#[tokio::test]
async fn sources_and_citations_are_those_of_the_text_that_stands() {
    let kit = Kit::with_fallback(&["b"]).await;
    let source = |id: &str| Source { id: id.into(), ..Source::default() };
    let mut first =
        vec![Act::Give(Piece::Sources(vec![source("old")])), Act::Give(Piece::Text("See".into()))];
    first.extend([Act::Give(Piece::Citation(vec!["old".into()])), Act::Fail(Failure::Broken.into())]);
    kit.a().plays(first);
    let second = vec![
        Act::Give(Piece::Sources(vec![source("new")])),
        Act::Give(Piece::Text("See".into())),
        Act::Give(Piece::Citation(vec!["new".into()])),
        Act::Give(Piece::End(None)),
    ];
    kit.b().plays(second);
    let (kinds, turn) = stream(&kit).await;
    let expected =
        ["started", "sources", "+See", "citation", "fallback", "sources", "=See", "citation", "completed"];
    assert_eq!(kinds, expected);
    assert_eq!(turn.sources, [source("new")]);
    assert_eq!(turn.message.unwrap().content.parts.len(), 2);
}

#[tokio::test]
async fn a_refusal_of_the_content_is_final() {
    let kit = Kit::with_fallback(&["b"]).await;
    kit.a().plays(vec![Act::Refuse(ProviderError::new(Failure::Filtered).saying("policy"))]);
    let (_, turn) = stream(&kit).await;
    assert_eq!(turn.error.unwrap().code, ErrorCode::ContentRefused);
    assert_eq!(kit.b().calls(), 0);
}

#[tokio::test]
async fn too_long_goes_to_the_next_and_with_none_left_is_said() {
    let kit = Kit::with_fallback(&["b"]).await;
    kit.a().plays(vec![Act::Refuse(Failure::TooLong.into())]);
    let (_, turn) = stream(&kit).await;
    assert_eq!((turn.status, turn.assistant.as_str()), (TurnStatus::Completed, "b"));
    kit.a().plays(vec![Act::Refuse(Failure::TooLong.into())]);
    kit.b().plays(vec![Act::Refuse(Failure::TooLong.into())]);
    let (_, turn) = stream(&kit).await;
    assert_eq!(turn.error.unwrap().code, ErrorCode::ContextTooLong);
}

#[tokio::test]
async fn an_open_breaker_is_listed_as_a_call_not_made() {
    let kit = Kit::with_fallback(&["b"]).await;
    let error = ProviderError::new(Failure::BreakerOpen { retry_after: Duration::from_secs(5) });
    kit.a().plays(vec![Act::Refuse(error)]);
    let (_, turn) = stream(&kit).await;
    assert_eq!(turn.attempts[0].outcome.as_str(), "breaker_open");
    assert_eq!(turn.attempts[0].status, None);
    let usage = kit.engine.usage(&caller("t"), chat::UsageRange::default()).await.unwrap();
    assert_eq!(usage.len(), 1, "it is not in the ledger: {usage:?}");
}

#[tokio::test]
async fn retries_are_told_while_they_happen() {
    let kit = Kit::new().await;
    let busy = Failure::Busy { retry_after: None };
    kit.a().plays([vec![Act::Retried(busy), Act::Retried(Failure::Unreachable)], text(&["ok"])].concat());
    let (kinds, turn) = stream(&kit).await;
    assert_eq!(kinds, ["started", "retry", "retry", "+ok", "completed"]);
    assert_eq!(turn.attempts.len(), 2);
}

fn hedging() -> Options {
    let mut options = Options { fallback: vec!["b"], ..Options::default() };
    options.clocks.hedge_after = Some(Duration::from_millis(1));
    options
}

#[tokio::test]
async fn a_late_first_text_asks_the_fallback_as_well_and_the_first_text_wins() {
    let kit = Kit::with(hedging(), [Scripted::replay(), Scripted::replay(), Scripted::replay()]).await;
    kit.a().plays(vec![Act::Hang]);
    kit.b().plays(text(&["from b"]));
    let (_, turn) = stream(&kit).await;
    assert_eq!((turn.status, turn.assistant.as_str()), (TurnStatus::Completed, "b"));
    assert_eq!(turn.attempts.len(), 1);
    assert_eq!((turn.attempts[0].assistant.as_str(), turn.attempts[0].outcome.as_str()), ("a", "hedged"));
    assert_eq!(kit.a().open.load(std::sync::atomic::Ordering::SeqCst), 0, "the loser is dropped");
}

#[tokio::test]
async fn the_asked_one_may_win_its_hedge() {
    let kit = Kit::with(hedging(), [Scripted::replay(), Scripted::replay(), Scripted::replay()]).await;
    let gate = Gate::new();
    kit.a().plays([vec![Act::Wait(gate.clone())], text(&["from a"])].concat());
    kit.b().plays(vec![Act::Hang]);
    let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    let mut events = crate::kit::read_until(&mut reader, |events| events.len() >= 2).await;
    assert_eq!(kinds(&events), ["started", "fallback"]);
    while kit.b().calls() == 0 {
        tokio::task::yield_now().await;
    }
    gate.open();
    events.extend(read_all(&mut reader).await);
    let turn = fold(&events).ended.unwrap();
    assert_eq!((turn.assistant.as_str(), turn.attempts[0].assistant.as_str()), ("a", "b"));
    assert_eq!(turn.attempts[0].outcome.as_str(), "hedged");
}

#[tokio::test]
async fn usage_is_what_was_reported_per_call() {
    let kit = Kit::with_fallback(&["b"]).await;
    let used = |tokens| Usage {
        total_tokens: Some(tokens),
        cost: chat::Cost::parse("0.1", "RUB"),
        ..Usage::default()
    };
    let first = vec![
        Act::Give(Piece::Text("x".into())),
        Act::Give(Piece::Usage(used(3))),
        Act::Fail(Failure::Broken.into()),
    ];
    kit.a().plays(first);
    kit.b().plays([vec![Act::Give(Piece::Usage(used(5)))], text(&["y"])].concat());
    let (_, turn) = stream(&kit).await;
    assert_eq!(turn.usage, Some(used(5)));
    assert_eq!(turn.attempts[0].usage, Some(used(3)));
    let sums = kit.engine.usage(&caller("t"), chat::UsageRange::default()).await.unwrap();
    let told: Vec<_> = sums.iter().map(|sum| (sum.assistant.as_str(), sum.turns, sum.total_tokens)).collect();
    assert_eq!(told, [("a", 1, 3), ("b", 1, 5)]);
    assert_eq!(sums[0].cost[0].amount.to_string(), "0.1");
    assert!(kit.engine.usage(&caller("other"), chat::UsageRange::default()).await.unwrap().is_empty());
}

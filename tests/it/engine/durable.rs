//! What survives: resuming from every event, restarts, drains.

use std::time::Duration;

use chat::{ErrorCode, Event, Failure, Piece, Source, TurnStatus};
use engine::Ask;

use crate::kit::{Act, Gate, Kit, ask, caller, fold, kinds, read_all, read_until, text};

/// A play with every sort of event in it.
fn rich() -> Vec<Act> {
    vec![
        Act::Give(Piece::Progress(chat::Progress::step("web_search"))),
        Act::Give(Piece::Text("Hé".into())),
        Act::Give(Piece::Sources(vec![Source { id: "1".into(), ..Source::default() }])),
        Act::Give(Piece::Citation(vec!["1".into()])),
        Act::Give(Piece::Replace("Hello".into())),
        Act::Give(Piece::Text(" wörld".into())),
        Act::Give(Piece::Citation(vec!["1".into()])),
        Act::Give(Piece::Text("!".into())),
        Act::Give(Piece::End(None)),
    ]
}

#[tokio::test]
async fn resumed_after_every_event_the_stream_is_the_same_live_ended_and_restarted() {
    let kit = Kit::new().await;
    kit.a().plays(rich());
    let me = caller("t");
    let mut reader = kit.engine.chat(&me, ask("a", "hi")).await.unwrap();
    let id = reader.turn_id();
    let all = read_all(&mut reader).await;
    fold(&all);
    let last = all.last().unwrap().0;
    let mut kit = kit;
    for round in ["ended", "restarted"] {
        for after in 0..last {
            let mut resumed = kit.engine.events(&me, id, after).await.unwrap().unwrap();
            let rest = read_all(&mut resumed).await;
            assert_eq!(rest, all[after as usize..], "{round}, after {after}");
        }
        assert!(kit.engine.events(&me, id, last).await.unwrap().is_none(), "the last id of an ended turn");
        let refused = kit.engine.events(&me, id, last + 1).await.unwrap_err();
        assert_eq!(refused.error.code, ErrorCode::InvalidValue);
        if round == "ended" {
            kit = kit.killed_and_restarted().await;
        }
    }
    // The same while it runs: a gate before each event.
    let gates: Vec<_> = (0..rich().len()).map(|_| Gate::new()).collect();
    let play =
        rich().into_iter().zip(&gates).flat_map(|(act, gate)| [Act::Wait(gate.clone()), act]).collect();
    kit.a().plays(play);
    let mut reader = kit.engine.chat(&me, ask("a", "hi")).await.unwrap();
    let id = reader.turn_id();
    let mut pieces = read_until(&mut reader, |events| !events.is_empty()).await;
    for gate in gates {
        drop(reader);
        gate.open();
        let after = pieces.last().unwrap().0;
        reader = kit.engine.events(&me, id, after).await.unwrap().unwrap();
        pieces.extend(read_until(&mut reader, |events| !events.is_empty()).await);
    }
    assert_eq!(kinds(&pieces), kinds(&all));
    fold(&pieces);
}

#[tokio::test]
async fn after_a_kill_what_ran_is_settled_with_what_was_kept() {
    let kit = Kit::new().await;
    let me = caller("t");
    kit.a().plays(vec![Act::Give(Piece::Text("kept".into())), Act::Hang]);
    kit.b().plays(vec![Act::Hang]);
    let mut reader = kit.engine.chat(&me, ask("a", "hi")).await.unwrap();
    let seen = read_until(&mut reader, |events| events.len() >= 2).await;
    let silent = kit.engine.chat(&me, ask("b", "hi")).await.unwrap();
    // Wait for the checkpoint, not for a time: the store tells.
    let id = reader.turn_id();
    loop {
        let stored = chat::ConversationStore::turn(kit.store.as_ref(), &me.tenant, id).await.unwrap();
        if stored.turn.message.is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let kit = kit.killed_and_restarted().await;
    let turn = kit.engine.turn(&me, id).await.unwrap();
    assert_eq!(turn.status, TurnStatus::Incomplete);
    assert_eq!(turn.message.as_ref().unwrap().content.text(), "kept");
    let lost = kit.engine.turn(&me, silent.turn_id()).await.unwrap();
    assert_eq!((lost.status, lost.message.is_none()), (TurnStatus::Failed, true));
    // A reader that comes back is told what was kept, then the end, with higher numbers.
    let after = seen.last().unwrap().0;
    let mut back = kit.engine.events(&me, id, after).await.unwrap().unwrap();
    let rest = read_all(&mut back).await;
    assert_eq!(kinds(&rest), ["=kept", "incomplete"]);
    assert!(rest[0].0 > after + 1000);
    fold(&[seen, rest].concat());
    let mut fresh = kit.engine.events(&me, id, 0).await.unwrap().unwrap();
    fold(&read_all(&mut fresh).await);
    // Both calls are in the ledger, and the conversation takes a next turn.
    let next = kit.turn(Ask { conversation_id: turn.conversation_id, ..ask("a", "again") }).await;
    assert_eq!(next.status, TurnStatus::Completed);
    assert_eq!(kit.a().last_history(), ["hi", "kept"]);
}

#[tokio::test]
async fn leaving_lets_turns_finish_and_ends_the_rest() {
    let kit = Kit::new().await;
    let me = caller("t");
    let gate = Gate::new();
    kit.a().plays([vec![Act::Wait(gate.clone())], text(&["done"])].concat());
    kit.b().plays(vec![Act::Give(Piece::Text("half".into())), Act::Hang]);
    let mut quick = kit.engine.chat(&me, ask("a", "hi")).await.unwrap();
    let mut slow = kit.engine.chat(&me, ask("b", "hi")).await.unwrap();
    read_until(&mut slow, |events| events.len() >= 2).await;
    assert!(kit.engine.ready().await.is_ok());
    kit.engine.announce_drain();
    assert_eq!(kit.engine.ready().await.unwrap_err().error.code, ErrorCode::Draining);
    kit.turn(ask("c", "still taken")).await;
    kit.engine.refuse_turns();
    let refused = kit.engine.chat(&me, ask("a", "hi")).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::Draining);
    gate.open();
    assert_eq!(quick.end().await.status, TurnStatus::Completed);
    kit.engine.finish(Duration::from_millis(1)).await;
    let turn = slow.end().await;
    assert_eq!(
        (turn.status, turn.error.as_ref().unwrap().code),
        (TurnStatus::Incomplete, ErrorCode::Draining)
    );
    let kept = chat::ConversationStore::turn(kit.store.as_ref(), &me.tenant, turn.id).await.unwrap();
    assert_eq!(kept.turn.status, TurnStatus::Incomplete);
}

#[tokio::test]
async fn unstored_turns_are_in_the_ledger_too() {
    let kit = Kit::new().await;
    kit.turn(Ask { store: false, ..ask("a", "hi") }).await;
    kit.a().plays(vec![Act::Refuse(Failure::Failed.into())]);
    kit.turn(Ask { store: false, ..ask("a", "hi") }).await;
    kit.engine.finish(Duration::ZERO).await;
    let sums = kit.engine.usage(&caller("t"), chat::UsageRange::default()).await.unwrap();
    assert_eq!((sums.len(), sums[0].turns), (1, 1), "one answered, one failed: {sums:?}");
}

#[tokio::test]
async fn an_event_may_come_between_any_two_reads() {
    let kit = Kit::new().await;
    let pieces: Vec<String> = (0..500).map(|number| format!("{number} ")).collect();
    kit.a().plays(text(&pieces.iter().map(String::as_str).collect::<Vec<_>>()));
    let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    let events = read_all(&mut reader).await;
    let deltas = events.iter().filter(|(_, event)| matches!(event, Event::Delta(_))).count();
    assert_eq!(deltas, 500, "no piece waits for another");
    assert_eq!(fold(&events).text, pieces.concat());
}

//! One turn at a time in a conversation and one turn of an idempotency key, across gateways.

use std::collections::BTreeSet;

use chat::{ConversationId, ErrorCode, TurnStatus, WhenBusy};
use engine::Ask;
use futures_util::future::join_all;

use super::{Bed, Replica};
use crate::kit::{ask, caller, idempotency, next, read_all};

async fn conversation(replica: &Replica, id: chat::TurnId) -> ConversationId {
    replica.engine.turn(&caller("t"), id).await.unwrap().conversation_id.unwrap()
}

fn also(conversation: ConversationId, when_busy: WhenBusy, text: &str) -> Ask {
    Ask { conversation_id: Some(conversation), when_busy: Some(when_busy), ..ask("a", text) }
}

#[tokio::test]
async fn a_second_turn_is_refused_or_waits_elsewhere() {
    let Some(bed) = Bed::new().await else { return };
    let (mut first, gates) = bed.one.running().await;
    let conversation = conversation(&bed.one, first.turn_id()).await;
    let refused = bed.two.engine.chat(&caller("t"), also(conversation, WhenBusy::Reject, "2")).await;
    assert_eq!(refused.unwrap_err().error.code, ErrorCode::ConversationBusy);
    let mut queued = Vec::new();
    for (replica, text) in [(&bed.two, "2"), (&bed.one, "3"), (&bed.two, "4")] {
        let mut reader = replica.chat(also(conversation, WhenBusy::Queue, text)).await;
        let begun = next(&mut reader).await;
        assert!(matches!(&begun[0].1, chat::Event::Started(turn) if turn.status == TurnStatus::Queued));
        queued.push(reader);
    }
    // One that waits is cancelled where it does not.
    let third = queued.remove(1);
    let cancelled = bed.two.engine.cancel(&caller("t"), third.turn_id()).await.unwrap();
    assert_eq!((cancelled.status, cancelled.message.is_none()), (TurnStatus::Cancelled, true));
    gates.iter().for_each(crate::kit::Gate::open);
    assert_eq!(first.end().await.status, TurnStatus::Completed);
    for reader in &mut queued {
        assert_eq!(reader.end().await.status, TurnStatus::Completed);
    }
    assert_eq!((bed.one.calls(), bed.two.calls()), (1, 2));
    assert_eq!(bed.two.a().last_history(), ["count", "one two three", "2", "ok", "3"]);
    bed.finish().await;
}

#[tokio::test]
async fn an_interrupt_stops_a_turn_elsewhere() {
    let Some(bed) = Bed::new().await else { return };
    let (mut first, _gates) = bed.one.running().await;
    let conversation = conversation(&bed.one, first.turn_id()).await;
    let second = bed.two.chat(also(conversation, WhenBusy::Interrupt, "2")).await.end().await;
    assert_eq!(second.status, TurnStatus::Completed);
    assert_eq!(first.end().await.status, TurnStatus::Cancelled);
    assert_eq!(bed.two.a().last_history(), ["count", "one "], "the partial reply is given");
    bed.finish().await;
}

#[tokio::test]
async fn of_turns_that_come_to_both_at_once_one_runs() {
    let Some(bed) = Bed::new().await else { return };
    for _ in 0..5 {
        let begun = bed.one.chat(ask("b", "begin")).await.end().await;
        let conversation = begun.conversation_id.unwrap();
        for replica in [&bed.one, &bed.two] {
            replica.a().plays(vec![crate::kit::Act::Hang]);
        }
        let asks = (0..20).map(|number| {
            let replica = if number % 2 == 0 { &bed.one } else { &bed.two };
            async move { replica.engine.chat(&caller("t"), also(conversation, WhenBusy::Reject, "x")).await }
        });
        let (accepted, refused): (Vec<_>, Vec<_>) = join_all(asks).await.into_iter().partition(Result::is_ok);
        assert_eq!((accepted.len(), refused.len()), (1, 19));
        for refused in refused {
            assert_eq!(refused.unwrap_err().error.code, ErrorCode::ConversationBusy);
        }
        let id = accepted.into_iter().next().unwrap().unwrap().turn_id();
        bed.two.engine.cancel(&caller("t"), id).await.unwrap();
        bed.one.a().reset();
        bed.two.a().reset();
    }
    bed.finish().await;
}

#[tokio::test]
async fn one_key_is_one_turn_at_all_gateways() {
    let Some(bed) = Bed::new().await else { return };
    let same = || Ask { idempotency: idempotency("one", 1), ..ask("b", "once") };
    let asks = (0..40).map(|number| {
        let replica = if number % 2 == 0 { &bed.one } else { &bed.two };
        async move {
            let mut reader = replica.chat(same()).await;
            (reader.turn_id().to_string(), reader.is_repeat(), read_all(&mut reader).await)
        }
    });
    let answers = join_all(asks).await;
    assert_eq!(answers.iter().map(|(id, ..)| id).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(answers.iter().filter(|(_, repeat, _)| !repeat).count(), 1);
    assert!(answers.iter().all(|(.., events)| *events == answers[0].2), "equal events");
    assert_eq!(bed.one.calls() + bed.two.calls(), 1);
    // Ended, it is the same again; with another body it is refused.
    let mut again =
        bed.two.engine.repeat(&caller("t"), &idempotency("one", 1).unwrap()).await.unwrap().unwrap();
    assert_eq!(read_all(&mut again).await, answers[0].2);
    let other = bed.two.engine.repeat(&caller("t"), &idempotency("one", 2).unwrap()).await;
    assert_eq!(other.unwrap_err().error.code, ErrorCode::IdempotencyConflict);
    bed.finish().await;
}

#[tokio::test]
async fn a_running_turn_is_repeated_elsewhere_streamed_or_whole() {
    let Some(bed) = Bed::new().await else { return };
    let key = idempotency("one", 1);
    let gate = crate::kit::Gate::new();
    let say = |text: &str| crate::kit::Act::Give(chat::Piece::Text(text.to_owned()));
    let end = crate::kit::Act::Give(chat::Piece::End(None));
    bed.one.a().plays(vec![say("half "), crate::kit::Act::Wait(gate.clone()), say("whole"), end]);
    let mut here = bed.one.chat(Ask { idempotency: key.clone(), ..ask("a", "x") }).await;
    let mut streamed = bed.two.engine.repeat(&caller("t"), &key.clone().unwrap()).await.unwrap().unwrap();
    let mut whole = bed.two.chat(Ask { idempotency: key, ..ask("a", "x") }).await;
    assert!(streamed.is_repeat() && whole.is_repeat());
    let first = crate::kit::read_until(&mut streamed, |events| events.len() >= 2).await;
    gate.open();
    let there = [first, read_all(&mut streamed).await].concat();
    assert_eq!(there, read_all(&mut here).await);
    assert_eq!(whole.end().await.message.as_ref().unwrap().content.text(), "half whole");
    assert_eq!(bed.two.calls(), 0);
    bed.finish().await;
}

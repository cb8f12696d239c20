//! One turn at a time in a conversation.

use chat::{ConversationId, ErrorCode, Piece, TurnStatus, WhenBusy};
use engine::{Ask, Reader};

use crate::kit::{Act, Gate, Kit, ask, caller, fold, idempotency, next, read_all, read_until, text};

async fn running(kit: &Kit) -> (Reader, ConversationId, Gate) {
    let gate = Gate::new();
    kit.a().plays(
        [vec![Act::Give(Piece::Text("first".into())), Act::Wait(gate.clone())], text(&["!"])].concat(),
    );
    let mut reader = kit.engine.chat(&caller("t"), ask("a", "1")).await.unwrap();
    read_until(&mut reader, |events| events.len() >= 2).await;
    let turn = kit.engine.turn(&caller("t"), reader.turn_id()).await.unwrap();
    (reader, turn.conversation_id.unwrap(), gate)
}

fn also(conversation: ConversationId, when_busy: WhenBusy, text: &str) -> Ask {
    Ask { conversation_id: Some(conversation), when_busy: Some(when_busy), ..ask("a", text) }
}

#[tokio::test]
async fn a_second_turn_is_refused() {
    let kit = Kit::new().await;
    let (mut reader, conversation, gate) = running(&kit).await;
    let refused = kit.engine.chat(&caller("t"), also(conversation, WhenBusy::Reject, "2")).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::ConversationBusy);
    gate.open();
    read_all(&mut reader).await;
    assert_eq!(kit.turn(also(conversation, WhenBusy::Reject, "2")).await.status, TurnStatus::Completed);
}

#[tokio::test]
async fn queued_turns_run_in_order_and_see_what_came_before() {
    let kit = Kit::new().await;
    let (_reader, conversation, gate) = running(&kit).await;
    let mut queued = Vec::new();
    for text in ["2", "3", "4"] {
        let mut reader =
            kit.engine.chat(&caller("t"), also(conversation, WhenBusy::Queue, text)).await.unwrap();
        let first = next(&mut reader).await;
        assert!(matches!(&first[0].1, chat::Event::Started(turn) if turn.status == TurnStatus::Queued));
        queued.push(reader);
    }
    // One of them is cancelled while it waits: it was never asked.
    let third = queued.remove(1);
    let cancelled = kit.engine.cancel(&caller("t"), third.turn_id()).await.unwrap();
    assert_eq!((cancelled.status, cancelled.message.is_none()), (TurnStatus::Cancelled, true));
    gate.open();
    for reader in &mut queued {
        assert_eq!(reader.end().await.status, TurnStatus::Completed);
    }
    assert_eq!(kit.a().calls(), 3);
    assert_eq!(
        kit.a().last_history(),
        ["1", "first!", "2", "ok", "3"],
        "a cancelled turn's message is given"
    );
}

#[tokio::test]
async fn only_so_many_may_wait() {
    let kit = Kit::new().await;
    let (_reader, conversation, _gate) = running(&kit).await;
    let mut queued = Vec::new();
    for _ in 0..16 {
        queued.push(kit.engine.chat(&caller("t"), also(conversation, WhenBusy::Queue, "x")).await.unwrap());
    }
    let refused = kit.engine.chat(&caller("t"), also(conversation, WhenBusy::Queue, "x")).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::ConversationBusy);
}

#[tokio::test]
async fn an_interrupt_begins_once_the_running_ones_end_is_recorded() {
    let kit = Kit::new().await;
    let (mut reader, conversation, _gate) = running(&kit).await;
    let second = kit.turn(also(conversation, WhenBusy::Interrupt, "2")).await;
    assert_eq!(second.status, TurnStatus::Completed);
    assert_eq!(kit.a().last_history(), ["1", "first"], "the partial reply is given");
    let mut first = crate::kit::read_all(&mut reader).await;
    assert!(
        matches!(first.pop().unwrap().1, chat::Event::Ended(turn) if turn.status == TurnStatus::Cancelled)
    );
}

#[tokio::test]
async fn queued_turns_fail_at_a_restart_and_the_conversation_goes_on() {
    let kit = Kit::new().await;
    let (_reader, conversation, _gate) = running(&kit).await;
    let repeatable = || Ask { idempotency: idempotency("k", 1), ..also(conversation, WhenBusy::Queue, "2") };
    let queued = kit.engine.chat(&caller("t"), repeatable()).await.unwrap();
    let id = queued.turn_id();
    let kit = kit.killed_and_restarted().await;
    assert_eq!(kit.engine.turn(&caller("t"), id).await.unwrap().status, TurnStatus::Failed);
    let mut reader = kit.engine.events(&caller("t"), id, 0).await.unwrap().unwrap();
    fold(&read_all(&mut reader).await);
    let again = kit.turn(repeatable()).await;
    assert_eq!((again.id == id, again.status), (false, TurnStatus::Completed), "it had done nothing");
    assert_eq!(kit.turn(also(conversation, WhenBusy::Reject, "3")).await.status, TurnStatus::Completed);
}

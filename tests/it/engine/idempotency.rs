//! One key, one turn.

use chat::{ErrorCode, Failure, Piece, TurnStatus};
use engine::Ask;

use crate::kit::{Act, Gate, Kit, ask, caller, fold, idempotency, read_all, text};

fn keyed(key: &str, body: u8) -> Ask {
    Ask { idempotency: idempotency(key, body), ..ask("a", "hi") }
}

#[tokio::test]
async fn a_thousand_at_once_are_one_turn() {
    let kit = Kit::new().await;
    let gate = Gate::new();
    kit.a()
        .plays([vec![Act::Give(Piece::Text("on".into())), Act::Wait(gate.clone())], text(&["ce"])].concat());
    let me = caller("t");
    let asked = (0..1000).map(|_| kit.engine.chat(&me, keyed("k", 1)));
    let readers = futures_util::future::join_all(asked).await;
    gate.open();
    let mut repeats = 0;
    let mut first: Option<Vec<_>> = None;
    for reader in readers {
        let mut reader = reader.unwrap();
        repeats += usize::from(reader.is_repeat());
        let events = read_all(&mut reader).await;
        assert_eq!(first.get_or_insert_with(|| events.clone()), &events);
    }
    assert_eq!((repeats, kit.a().calls()), (999, 1));
}

#[tokio::test]
async fn a_repeat_after_the_end_is_the_same_turn_again() {
    let kit = Kit::new().await;
    kit.a().plays(text(&["a", "b"]));
    let mut first = kit.engine.chat(&caller("t"), keyed("k", 1)).await.unwrap();
    let events = read_all(&mut first).await;
    let mut again = kit.engine.chat(&caller("t"), keyed("k", 1)).await.unwrap();
    assert!(again.is_repeat());
    assert_eq!(read_all(&mut again).await, events);
    let kit = kit.killed_and_restarted().await;
    let mut again = kit.engine.chat(&caller("t"), keyed("k", 1)).await.unwrap();
    assert_eq!(read_all(&mut again).await, events, "through a restart");
    assert_eq!(kit.a().calls(), 0);
}

#[tokio::test]
async fn another_body_conflicts_and_another_tenant_does_not() {
    let kit = Kit::new().await;
    kit.turn(keyed("k", 1)).await;
    let refused = kit.engine.chat(&caller("t"), keyed("k", 2)).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::IdempotencyConflict);
    let mut other = kit.engine.chat(&caller("other"), keyed("k", 2)).await.unwrap();
    assert!(!other.is_repeat());
    fold(&read_all(&mut other).await);
}

#[tokio::test]
async fn a_repeat_is_bounded_by_the_key_like_the_turn() {
    let kit = Kit::new().await;
    kit.turn(keyed("k", 1)).await;
    let mut bound = caller("t");
    bound.assistants = chat::AllowedAssistants::These(["b".parse().unwrap()].into());
    let idempotency = idempotency("k", 1).unwrap();
    let refused = kit.engine.repeat(&bound, &idempotency).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::AssistantNotAllowed);
    assert!(kit.engine.repeat(&caller("t"), &idempotency).await.unwrap().is_some());
}

#[tokio::test]
async fn a_failure_without_effect_frees_the_key_and_one_with_does_not() {
    let kit = Kit::new().await;
    let free = [
        Failure::Busy { retry_after: None },
        Failure::Unavailable { retry_after: None },
        Failure::Unreachable,
        Failure::Rejected,
        Failure::Credentials,
    ];
    for (number, failure) in free.into_iter().enumerate() {
        let key = format!("free-{number}");
        kit.a().plays(vec![Act::Refuse(failure.into())]);
        assert_eq!(kit.turn(keyed(&key, 1)).await.status, TurnStatus::Failed);
        assert_eq!(kit.turn(keyed(&key, 1)).await.status, TurnStatus::Completed, "{failure:?} frees the key");
    }
    for (number, failure) in [Failure::Failed, Failure::Broken, Failure::Empty].into_iter().enumerate() {
        let key = format!("held-{number}");
        kit.a().plays(vec![Act::Refuse(failure.into())]);
        let first = kit.turn(keyed(&key, 1)).await;
        let again = kit.turn(keyed(&key, 1)).await;
        assert_eq!((again.status, again.id), (TurnStatus::Failed, first.id), "{failure:?} holds the key");
    }
}

#[tokio::test]
async fn a_turn_that_is_not_kept_can_be_joined_but_not_read_later() {
    let kit = Kit::new().await;
    let gate = Gate::new();
    kit.a().plays([vec![Act::Wait(gate.clone())], text(&["x"])].concat());
    let unstored = || Ask { store: false, ..keyed("k", 1) };
    let mut first = kit.engine.chat(&caller("t"), unstored()).await.unwrap();
    let mut second = kit.engine.chat(&caller("t"), unstored()).await.unwrap();
    gate.open();
    assert_eq!(read_all(&mut first).await, read_all(&mut second).await);
    drop((first, second));
    while kit.engine.running() > 0 {
        tokio::task::yield_now().await;
    }
    let refused = kit.engine.chat(&caller("t"), unstored()).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::ReplyNotKept);
    assert_eq!(kit.a().calls(), 1);
}

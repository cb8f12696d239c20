//! Code that panics in the middle of a turn: the turn has one end all the same, and whoever reads it is told.

use std::sync::Arc;

use chat::{ConversationStore, ErrorCode, Failure, Piece, TurnStatus, WhenBusy};
use engine::Ask;

use super::faulty::{Faulty, Point, When, Wrong};
use crate::kit::{Act, Gate, Kit, Options, Scripted, ask, caller, fold, idempotency, kinds, read_all, text};

/// Number, assistant, outcome and whether it counts of each call in the ledger, the last turn's alone.
fn rows(kit: &Kit) -> Vec<(i64, String, String, bool)> {
    let connection = rusqlite::Connection::open(kit.folder.path().join("test.db")).unwrap();
    let mut query = connection
        .prepare("SELECT number, assistant, outcome, answered FROM ledger ORDER BY number")
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    query.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn row(number: i64, assistant: &str, outcome: &str, answered: bool) -> (i64, String, String, bool) {
    (number, assistant.to_owned(), outcome.to_owned(), answered)
}

#[tokio::test]
async fn a_providers_panic_ends_the_turn_with_what_came() {
    let kit = Kit::with_fallback(&["b"]).await;
    let me = caller("t");
    kit.a().plays(vec![Act::Give(Piece::Text("half a".into())), Act::Panic]);
    let asked = Ask { idempotency: idempotency("k", 1), ..ask("a", "hi") };
    let mut reader = kit.engine.chat(&me, asked).await.unwrap();
    let events = read_all(&mut reader).await;
    assert_eq!(kinds(&events), ["started", "+half a", "incomplete"]);
    fold(&events);
    let turn = reader.end().await;
    assert_eq!(turn.error.as_ref().unwrap().code, ErrorCode::Internal);
    assert_eq!(turn.message.as_ref().unwrap().content.text(), "half a");
    let attempts: Vec<_> = turn.attempts.iter().map(|one| one.outcome.as_str()).collect();
    assert_eq!(attempts, ["internal"]);
    assert_eq!(rows(&kit), [row(0, "a", "internal", true)]);
    assert_eq!(kit.engine.turn(&me, turn.id).await.unwrap(), turn, "it is the one that is kept");
    assert_eq!(kit.engine.running(), 0);

    // The conversation goes on.
    let next = kit.say("more", turn.conversation_id).await;
    assert_eq!(next.status, TurnStatus::Completed);
}

#[tokio::test]
async fn without_text_it_has_failed() {
    for store in [true, false] {
        let kit = Kit::new().await;
        kit.a().plays(vec![Act::Retried(Failure::Broken), Act::Give(Piece::Text(String::new())), Act::Panic]);
        let turn = kit.turn(Ask { store, ..ask("a", "hi") }).await;
        assert_eq!(
            (turn.status, turn.error.as_ref().unwrap().code),
            (TurnStatus::Failed, ErrorCode::Internal)
        );
        kit.engine.finish(std::time::Duration::from_secs(10)).await;
        assert_eq!(rows(&kit), [row(0, "a", "provider_error", false), row(1, "a", "internal", false)]);
    }
}

#[tokio::test]
async fn a_panic_while_the_turn_is_written_down_ends_it_as_well() {
    for (operation, when, status, outcome) in [
        ("checkpoint", When::Before, TurnStatus::Incomplete, "internal"),
        ("checkpoint", When::After, TurnStatus::Incomplete, "internal"),
        // The second line: the turn is settled as if its process had gone.
        ("end_turn", When::Before, TurnStatus::Incomplete, LEFT),
        // The end was written; that is the one that counts.
        ("end_turn", When::After, TurnStatus::Completed, "completed"),
    ] {
        let point = Point { operation, number: 1, when, wrong: Wrong::Panic };
        let (kit, faulty) = faulty(point).await;
        let gate = Gate::new();
        let mut play = vec![Act::Give(Piece::Text("one".into())), Act::Wait(gate.clone())];
        play.extend(text(&[" two"]));
        kit.a().plays(play);
        let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
        // The first checkpoint panics or is written; then the rest comes.
        faulty.checkpoints.subscribe().wait_for(|count| *count > 0).await.unwrap();
        gate.open();
        fold(&read_all(&mut reader).await);
        let turn = reader.end().await;
        assert_eq!(turn.status, status, "{operation} {when:?}");
        let code = (status != TurnStatus::Completed).then_some(ErrorCode::Internal);
        assert_eq!(turn.error.as_ref().map(|error| error.code), code, "{operation} {when:?}");
        assert!(turn.message.as_ref().unwrap().content.text().starts_with("one"));
        assert_eq!(rows(&kit), [row(0, "a", outcome, true)], "{operation} {when:?}");
        let kept = kit.engine.turn(&caller("t"), turn.id).await.unwrap();
        assert_eq!((kept.status, &kept.message), (turn.status, &turn.message));
    }
}

/// What the ledger says of a call whose end nobody knows.
const LEFT: &str = "interrupted";

#[tokio::test]
async fn a_panic_before_the_turn_begins_ends_it_as_well() {
    let point = Point { operation: "begin_turn", number: 1, when: When::Before, wrong: Wrong::Panic };
    let (kit, _) = faulty(point).await;
    let gate = Gate::new();
    kit.a().plays([vec![Act::Wait(gate.clone())], text(&["first"])].concat());
    let mut first = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    let conversation_id = kit.engine.turn(&caller("t"), first.turn_id()).await.unwrap().conversation_id;
    let second = Ask { conversation_id, when_busy: Some(WhenBusy::Queue), ..ask("a", "then") };
    let mut second = kit.engine.chat(&caller("t"), second).await.unwrap();
    gate.open();
    assert_eq!(first.end().await.status, TurnStatus::Completed);
    let turn = second.end().await;
    assert_eq!((turn.status, turn.error.as_ref().unwrap().code), (TurnStatus::Failed, ErrorCode::Internal));
    assert_eq!(kit.say("and on", conversation_id).await.status, TurnStatus::Completed);
}

async fn faulty(point: Point) -> (Kit, Arc<Faulty>) {
    let mut faulty = None;
    let providers = [Scripted::replay(), Scripted::replay(), Scripted::replay()];
    let kit = Kit::wrapped(Options::default(), providers, |store| {
        Arc::clone(faulty.insert(Arc::new(Faulty::new(store, &[point])))) as Arc<dyn ConversationStore>
    })
    .await;
    (kit, faulty.unwrap())
}

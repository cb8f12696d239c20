//! Turns read and stopped at a gateway where they do not run.

use chat::{ConversationStore, ErrorCode, TurnStatus};

use super::{Bed, kept};
use crate::kit::{ask, caller, fold, kinds, read_all, read_until};

#[tokio::test]
async fn a_turn_is_read_elsewhere_to_the_byte() {
    let Some(bed) = Bed::new().await else { return };
    let (mut here, gates) = bed.one.running().await;
    let (me, id) = (caller("t"), here.turn_id());
    // From the start, from the middle, and twice: before anything but its start is kept.
    let mut there = bed.two.engine.events(&me, id, 0).await.unwrap().unwrap();
    let mut late = bed.two.engine.events(&me, id, 2).await.unwrap().unwrap();
    let first = read_until(&mut there, |events| events.len() >= 2).await;
    assert_eq!(kinds(&first), ["started", "+one "]);
    let standing = bed.two.engine.turn(&me, id).await.unwrap();
    assert_eq!(standing.status, TurnStatus::InProgress);
    assert_eq!(standing.message.as_ref().unwrap().content.text(), "one ");
    gates[0].open();
    let mut second = read_until(&mut late, |events| !events.is_empty()).await;
    assert_eq!(kinds(&second), ["+two "]);
    gates[1].open();
    let rest = read_all(&mut there).await;
    second.extend(read_all(&mut late).await);
    let all = read_all(&mut here).await;
    assert_eq!(fold(&all).text, "one two three");
    assert_eq!([first, rest].concat(), all, "the same events with the same numbers");
    assert_eq!(second, all[2..]);
    let message = all.last().map(|(_, event)| event.clone());
    assert!(
        matches!(message, Some(chat::Event::Ended(turn)) if turn.message.as_ref().unwrap().id == standing.message.as_ref().unwrap().id)
    );
    // Once it has ended it is read as everywhere.
    let last = all.last().unwrap().0;
    assert!(bed.two.engine.events(&me, id, last).await.unwrap().is_none());
    assert_eq!(
        bed.two.engine.events(&me, id, last + 1).await.unwrap_err().error.code,
        ErrorCode::InvalidValue
    );
    bed.finish().await;
}

#[tokio::test]
async fn an_event_that_the_turn_has_not_reached_is_refused_elsewhere_too() {
    let Some(bed) = Bed::new().await else { return };
    let (reader, gates) = bed.one.running().await;
    let (me, id) = (caller("t"), reader.turn_id());
    let bogus = bed.two.engine.events(&me, id, 1000);
    let goes_on = async {
        // Two checkpoints that say otherwise, each written after the question.
        for (gate, text) in gates.iter().zip(["one ", "one two "]) {
            kept(&bed.two.store, id, text).await;
            gate.open();
        }
    };
    let (refused, ()) = tokio::join!(bogus, goes_on);
    assert_eq!(refused.unwrap_err().error.code, ErrorCode::InvalidValue);
    bed.finish().await;
}

#[tokio::test]
async fn a_turn_is_cancelled_elsewhere() {
    let Some(bed) = Bed::new().await else { return };
    let (mut here, _gates) = bed.one.running().await;
    let (me, id) = (caller("t"), here.turn_id());
    let cancelled = bed.two.engine.cancel(&me, id).await.unwrap();
    assert_eq!(cancelled.status, TurnStatus::Cancelled);
    assert_eq!(cancelled.message.as_ref().unwrap().content.text(), "one ");
    assert_eq!(here.end().await.as_ref(), cancelled.as_ref());
    assert_eq!(bed.two.engine.cancel(&me, id).await.unwrap(), cancelled, "an ended one is left as it is");
    bed.finish().await;
}

#[tokio::test]
async fn erasing_a_conversation_stops_its_turn_elsewhere() {
    let Some(bed) = Bed::new().await else { return };
    let (mut here, _gates) = bed.one.running().await;
    let (me, id) = (caller("t"), here.turn_id());
    let conversation = bed.one.engine.turn(&me, id).await.unwrap().conversation_id.unwrap();
    bed.two.engine.delete_conversation(&me, conversation).await.unwrap();
    assert_eq!(here.end().await.status, TurnStatus::Cancelled);
    let gone = bed.two.engine.turn(&me, id).await.unwrap_err();
    assert_eq!(gone.error.code, ErrorCode::TurnNotFound);
    bed.finish().await;
}

#[tokio::test]
async fn nobody_else_follows_a_turn() {
    let Some(bed) = Bed::new().await else { return };
    let (here, gates) = bed.one.running().await;
    let id = here.turn_id();
    let followed = bed.two.engine.events(&caller("t"), id, 0).await.unwrap();
    let mut of_a_user = caller("t");
    of_a_user.user = Some("eve".parse().unwrap());
    let mut of_b = caller("t");
    of_b.assistants = chat::AllowedAssistants::These(["b".parse().unwrap()].into());
    for other in [caller("other"), of_a_user, of_b] {
        let refused = bed.two.engine.events(&other, id, 0).await.unwrap_err();
        assert_eq!(refused.error.code, ErrorCode::TurnNotFound);
        let refused = bed.two.engine.cancel(&other, id).await.unwrap_err();
        assert_eq!(refused.error.code, ErrorCode::TurnNotFound);
    }
    gates.iter().for_each(crate::kit::Gate::open);
    assert_eq!(followed.unwrap().end().await.status, TurnStatus::Completed);
    bed.finish().await;
}

#[tokio::test]
async fn a_reader_that_leaves_elsewhere_stops_nothing() {
    let Some(bed) = Bed::new().await else { return };
    let settings = engine::Settings {
        on_disconnect: engine::OnDisconnect::Cancel,
        ..bed.two.engine.settings().as_ref().clone()
    };
    bed.two.engine.set_settings(settings);
    let (mut here, gates) = bed.one.running().await;
    let me = caller("t");
    drop(bed.two.engine.events(&me, here.turn_id(), 0).await.unwrap());
    gates.iter().for_each(crate::kit::Gate::open);
    assert_eq!(here.end().await.status, TurnStatus::Completed);
    let turn = bed.two.store.turn(&me.tenant, here.turn_id()).await.unwrap().turn;
    assert_eq!(turn.status, TurnStatus::Completed);
    let again = bed.two.chat(ask("b", "still there?")).await.end().await;
    assert_eq!(again.status, TurnStatus::Completed);
    bed.finish().await;
}

//! Requests that meet others: a busy conversation, a line of turns, the same request again.

use chat::{Acceptance, ConversationStore, Role, StoreError, TurnStatus, TurnTarget, WhenBusy};
use futures_util::future::join_all;

use super::bed::{Bed, accepted, at, end_of, idempotency, new_conversation, says, turn, turn_in};

super::suite![
    a_busy_conversation_refuses,
    turns_wait_in_line,
    a_message_put_in_meanwhile_stands_after_the_turn,
    a_hundred_of_the_same_request_are_one_turn,
    a_key_is_freed_or_kept,
    unstored_turns_leave_a_note,
];

async fn a_busy_conversation_refuses(bed: &Bed) {
    let id = bed.conversation(0).await;
    let first = turn_in(id, "first", 1);
    let (running, end) = (first.id, end_of(&first, id, "answer", 3));
    bed.accept(first).await.unwrap();
    match bed.accept(turn_in(id, "second", 2)).await {
        Err(StoreError::Busy { running: found }) => assert_eq!(found, running),
        other => panic!("{other:?}"),
    }
    assert_eq!(bed.texts(id).await, ["first"], "a refusal leaves nothing");
    assert_eq!(bed.store.running_turns(&bed.tenant, id).await.unwrap(), [running]);
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    assert!(bed.store.running_turns(&bed.tenant, id).await.unwrap().is_empty());
    bed.accept(turn_in(id, "second", 4)).await.unwrap();
}

async fn turns_wait_in_line(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = |said: &str, when_busy, millis| {
        let mut new = turn_in(id, said, millis);
        new.when_busy = when_busy;
        new
    };
    let first = new("first", WhenBusy::Queue, 1);
    let second = new("second", WhenBusy::Queue, 2);
    let third = new("third", WhenBusy::Interrupt, 3);
    let (one, two, three) = (first.id, second.id, third.id);
    let (end_one, end_two) = (end_of(&first, id, "1", 5), end_of(&second, id, "", 6));
    assert_eq!(bed.accept(first).await.unwrap().waits_for, None);
    let waiting = bed.accept(second).await.unwrap();
    assert_eq!((waiting.waits_for, waiting.position, waiting.history.len()), (Some(one), 3, 0));
    assert_eq!(bed.accept(third).await.unwrap().waits_for, Some(one));
    let full = bed.accept(new("fourth", WhenBusy::Queue, 4)).await;
    assert!(matches!(full, Err(StoreError::Busy { running }) if running == one));
    assert_eq!(bed.store.running_turns(&bed.tenant, id).await.unwrap(), [one, two, three]);
    let queued = bed.store.turn(&bed.tenant, two).await.unwrap();
    assert_eq!((queued.turn.status, queued.queued), (TurnStatus::Queued, true));

    let begin = async |turn| bed.store.begin_turn(&bed.tenant, turn, "one", None, 20).await;
    assert!(matches!(begin(two).await, Err(StoreError::Busy { running }) if running == one));
    assert!(matches!(begin(one).await, Err(StoreError::NoTurn)), "it never waited");
    bed.store.end_turn(&bed.tenant, end_one).await.unwrap();
    assert!(matches!(begin(three).await, Err(StoreError::Busy { running }) if running == two));
    bed.store.end_turn(&bed.tenant, end_two).await.unwrap();
    begin(three).await.unwrap();
    let begun = begin(three).await.expect("whoever was not told asks again");
    assert_eq!(begun.position, 5);
    let given: Vec<_> = begun.history.iter().map(|message| message.content.text().into_owned()).collect();
    assert_eq!(given, ["first", "1"], "the second failed while it waited");
    assert_eq!(bed.store.turn(&bed.tenant, three).await.unwrap().turn.status, TurnStatus::InProgress);
}

async fn a_message_put_in_meanwhile_stands_after_the_turn(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = turn_in(id, "question", 1);
    let end = end_of(&new, id, "answer", 3);
    bed.accept(new).await.unwrap();
    let put = says(Role::Operator, "put in", 2);
    let message = bed.store.put_message(&bed.tenant, id, put, None).await.unwrap();
    assert_eq!(message.position, 3);
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    assert_eq!(bed.texts(id).await, ["question", "answer", "put in"]);
    let kept = bed.store.conversation(&bed.tenant, id).await.unwrap();
    assert_eq!(
        (kept.preview.as_deref(), kept.message_count),
        (Some("put in"), 3),
        "the last is the last in order"
    );
    let next = bed.accept(turn_in(id, "next", 4)).await.unwrap();
    assert_eq!((next.position, next.history.len()), (4, 3));
}

async fn a_hundred_of_the_same_request_are_one_turn(bed: &Bed) {
    let asks = (0..100).map(|_| {
        let mut new = turn(TurnTarget::New(Box::new(new_conversation(1))), "once", 1);
        new.idempotency = idempotency("again", 1);
        async { bed.store.accept_turn(&bed.tenant, new).await.unwrap() }
    });
    let (mut made, mut repeats) = (Vec::new(), Vec::new());
    for acceptance in join_all(asks).await {
        match acceptance {
            Acceptance::Accepted(accepted) => made.push(accepted.conversation.id),
            Acceptance::Repeat { turn_id, stored } => repeats.push((turn_id, stored)),
        }
    }
    assert_eq!((made.len(), repeats.len()), (1, 99));
    let running = bed.store.running_turns(&bed.tenant, made[0]).await.unwrap();
    assert!(repeats.iter().all(|repeat| *repeat == (running[0], true)));
    let all = bed.store.conversations(&bed.tenant, Default::default(), super::bed::page(100)).await.unwrap();
    assert_eq!(all.items.len(), 1);

    let mut other = turn(TurnTarget::New(Box::new(new_conversation(1))), "other body", 1);
    other.idempotency = idempotency("again", 2);
    assert!(matches!(bed.accept(other.clone()).await, Err(StoreError::Conflict)));
    bed.store.accept_turn(&bed.other, other).await.map(accepted).unwrap();
}

async fn a_key_is_freed_or_kept(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = |key: &str, millis| {
        let mut new = turn_in(id, "hello", millis);
        new.idempotency = idempotency(key, 1);
        new
    };
    let (freed, kept) = (new("freed", 1), new("kept", 3));
    for (turn, free) in [(freed, true), (kept, false)] {
        let mut end = end_of(&turn, id, "", 2);
        end.free_idempotency = free;
        bed.accept(turn).await.unwrap();
        bed.store.end_turn(&bed.tenant, end).await.unwrap();
    }
    let again = bed.store.accept_turn(&bed.tenant, new("kept", 5)).await.unwrap();
    assert!(matches!(again, Acceptance::Repeat { stored: true, .. }));
    let seen = bed.store.repeat_of(&bed.tenant, &idempotency("kept", 1).unwrap()).await.unwrap();
    assert!(seen.is_some_and(|(_, stored)| stored));
    assert_eq!(bed.store.repeat_of(&bed.other, &idempotency("kept", 1).unwrap()).await.unwrap(), None);
    bed.accept(new("freed", 6)).await.unwrap();
    assert!(matches!(bed.accept(new("refused", 7)).await, Err(StoreError::Busy { .. })));
    let refused = bed.store.repeat_of(&bed.tenant, &idempotency("refused", 1).unwrap()).await.unwrap();
    assert_eq!(refused, None, "a refusal frees its key");
    let mut expired = new("old", 8);
    expired.target = TurnTarget::New(Box::new(new_conversation(8)));
    expired.idempotency.as_mut().unwrap().expires_at = at(9);
    let mut later = expired.clone();
    later.target = TurnTarget::New(Box::new(new_conversation(8)));
    (later.id, later.created_at) = (chat::TurnId::new(), at(10));
    bed.accept(expired).await.unwrap();
    bed.accept(later).await.unwrap();
}

async fn unstored_turns_leave_a_note(bed: &Bed) {
    let (one, two) = (chat::TurnId::new(), chat::TurnId::new());
    let note =
        async |id, body| bed.store.note_unstored(&bed.tenant, id, idempotency("k", body).unwrap()).await;
    assert_eq!(note(one, 1).await.unwrap(), None);
    assert_eq!(note(two, 1).await.unwrap(), Some((one, false)));
    assert!(matches!(note(two, 2).await, Err(StoreError::Conflict)));
    bed.store.free_unstored(&bed.other, one, "k").await.unwrap();
    assert_eq!(note(two, 1).await.unwrap(), Some((one, false)), "another tenant frees nothing");
    bed.store.free_unstored(&bed.tenant, two, "k").await.unwrap();
    assert_eq!(note(two, 1).await.unwrap(), Some((one, false)), "nor does a turn whose key it is not");
    bed.store.free_unstored(&bed.tenant, one, "k").await.unwrap();
    assert_eq!(note(two, 2).await.unwrap(), None);
}

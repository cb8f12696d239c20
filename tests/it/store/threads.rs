//! Providers' threads: begun, in doubt while a turn runs, adopted once.

use chat::{ConversationStore, MessageStatus, NewTurn, Role, StoreError, StoredThread, ThreadUpdate};

use super::bed::{Bed, assistant, end_of, new_conversation, page, provider, says, seed, turn_in};

super::suite![
    a_turn_leaves_its_thread_in_doubt,
    a_waiting_turn_leaves_the_thread_alone,
    a_thread_holds_for_one_upstream_id,
    a_thread_is_adopted_once,
    upstream_messages_come_once,
    no_upstream_id_is_refused,
    a_thread_is_made_outside_of_turns,
];

fn with_thread(id: chat::ConversationId, fresh: Option<&str>, millis: i64) -> NewTurn {
    NewTurn { thread: Some(seed(fresh)), ..turn_in(id, "hello", millis) }
}

fn thread(id: Option<&str>, reached: i64, told: Option<(i64, u64)>) -> Option<StoredThread> {
    Some(StoredThread { id: id.map(Into::into), reached, told })
}

async fn a_turn_leaves_its_thread_in_doubt(bed: &Bed) {
    let id = bed.conversation(0).await;
    let run = async |fresh: Option<&str>, update: ThreadUpdate, millis: i64| {
        let new = with_thread(id, fresh, millis);
        let mut end = end_of(&new, id, "hi", millis + 1);
        end.thread = update;
        let given = bed.accept(new).await.unwrap().thread;
        bed.store.end_turn(&bed.tenant, end).await.unwrap();
        (given, bed.store.conversation(&bed.tenant, id).await.unwrap().upstream_conversation_id)
    };
    let reached = |id: &str, reached, told| ThreadUpdate::Reached { id: id.into(), reached, told };
    assert_eq!(run(Some("a"), ThreadUpdate::Untouched, 1).await, (thread(Some("a"), 0, None), None));
    let told = Some((3, u64::MAX - 1));
    let (given, shown) = run(Some("b"), reached("a", 4, told), 3).await;
    assert_eq!(
        (given, shown.as_deref()),
        (thread(Some("a"), 0, None), Some("a")),
        "the first one was not used"
    );
    let (given, shown) = run(Some("c"), ThreadUpdate::InDoubt, 5).await;
    assert_eq!((given, shown), (thread(Some("a"), 4, told), None));
    let (given, _) = run(None, reached("made upstream", 8, None), 7).await;
    assert_eq!(given, thread(None, 0, None), "in doubt: begun anew");
    // A turn that never ended, as after a crash, leaves its thread in doubt.
    let new = with_thread(id, Some("d"), 9);
    let end = end_of(&new, id, "hi", 10);
    assert_eq!(bed.accept(new).await.unwrap().thread, thread(Some("made upstream"), 8, None));
    bed.store.end_turn(&bed.tenant, chat::TurnEnd { thread: ThreadUpdate::InDoubt, ..end }).await.unwrap();
    assert_eq!(bed.accept(with_thread(id, Some("e"), 11)).await.unwrap().thread, thread(Some("e"), 0, None));
}

async fn a_waiting_turn_leaves_the_thread_alone(bed: &Bed) {
    let id = bed.conversation(0).await;
    let first = with_thread(id, Some("a"), 1);
    let mut waits = with_thread(id, Some("b"), 2);
    waits.when_busy = chat::WhenBusy::Queue;
    let (mut end_first, mut end_waits) = (end_of(&first, id, "hi", 3), end_of(&waits, id, "", 4));
    end_first.thread = ThreadUpdate::Reached { id: "a".into(), reached: 2, told: None };
    end_waits.thread = ThreadUpdate::InDoubt;
    bed.accept(first).await.unwrap();
    assert_eq!(bed.accept(waits).await.unwrap().thread, None);
    bed.store.end_turn(&bed.tenant, end_first).await.unwrap();
    bed.store.end_turn(&bed.tenant, end_waits).await.unwrap();
    let next = bed.accept(with_thread(id, Some("c"), 5)).await.unwrap();
    assert_eq!(next.thread, thread(Some("a"), 2, None), "it ended before it had a part in the thread");
}

async fn a_thread_holds_for_one_upstream_id(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = with_thread(id, Some("a"), 1);
    let mut end = end_of(&new, id, "hi", 2);
    end.thread = ThreadUpdate::Reached { id: "a".into(), reached: 2, told: None };
    bed.accept(new).await.unwrap();
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    let mut moved = with_thread(id, Some("b"), 3);
    moved.thread.as_mut().unwrap().upstream_id = "bot-2".into();
    let end = end_of(&moved, id, "hi", 4);
    assert_eq!(bed.accept(moved).await.unwrap().thread, thread(Some("b"), 0, None));
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    let mut elsewhere = with_thread(id, Some("c"), 5);
    elsewhere.provider = "other".parse().unwrap();
    assert_eq!(bed.accept(elsewhere).await.unwrap().thread, thread(Some("c"), 0, None));
}

async fn a_thread_is_adopted_once(bed: &Bed) {
    let adopt = || {
        let mut new = new_conversation(0);
        new.messages = vec![says(Role::User, "q", 0), says(Role::Assistant, "a", 0)];
        new.thread = Some(seed(Some("theirs")));
        new
    };
    let new = adopt();
    let id = new.id;
    let made = bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    assert_eq!(made.upstream_conversation_id.as_deref(), Some("theirs"));
    for tenant in [&bed.tenant, &bed.other] {
        let again = bed.store.create_conversation(tenant, adopt(), None).await;
        assert!(matches!(again, Err(StoreError::NoConversation)));
    }
    let holder = async |tenant, upstream: &str, name: &str| {
        bed.store.conversation_of_thread(tenant, &provider(), upstream, name).await
    };
    assert_eq!(holder(&bed.tenant, "bot-1", "theirs").await.unwrap(), Some(id));
    assert_eq!(holder(&bed.tenant, "bot-2", "theirs").await.unwrap(), None);
    assert_eq!(holder(&bed.tenant, "bot-1", "free").await.unwrap(), None);
    assert!(matches!(holder(&bed.other, "bot-1", "theirs").await, Err(StoreError::NoConversation)));
    let accepted = bed.accept(with_thread(id, Some("fresh"), 1)).await.unwrap();
    assert_eq!(accepted.thread, thread(Some("theirs"), 2, None));
    bed.store.delete_conversation(&bed.tenant, id).await.unwrap();
    let others = bed.store.create_conversation(&bed.other, adopt(), None).await;
    assert!(matches!(others, Err(StoreError::NoConversation)), "what was said in it stays this tenant's");
    assert!(matches!(holder(&bed.other, "bot-1", "theirs").await, Err(StoreError::NoConversation)));
    bed.store.create_conversation(&bed.tenant, adopt(), None).await.unwrap();
    bed.store.own_thread(&bed.tenant, &provider(), "bot-1", "made").await.unwrap();
    bed.store.own_thread(&bed.other, &provider(), "bot-1", "made").await.unwrap();
    assert_eq!(holder(&bed.tenant, "bot-1", "made").await.unwrap(), None, "the first note stands");
    assert!(matches!(holder(&bed.other, "bot-1", "made").await, Err(StoreError::NoConversation)));
}

async fn upstream_messages_come_once(bed: &Bed) {
    let mut new = new_conversation(0);
    new.thread = Some(seed(Some("theirs")));
    let id = new.id;
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    let message = |upstream: &str, text: &str, millis| {
        let mut message = says(Role::Operator, text, millis);
        message.upstream_message_id = Some(upstream.into());
        message
    };
    let put = async |messages| {
        bed.store.put_upstream_messages(&bed.tenant, id, seed(Some("theirs")), messages).await
    };
    assert_eq!(
        put(vec![message("1", "one", 5), message("2", "two", 6), message("1", "one", 5)]).await.unwrap(),
        2
    );
    assert_eq!(put(vec![message("2", "two", 6), message("3", "three", 7)]).await.unwrap(), 1);
    assert_eq!(bed.texts(id).await, ["one", "two", "three"]);
    let accepted = bed.accept(with_thread(id, None, 8)).await.unwrap();
    assert_eq!(accepted.thread, thread(Some("theirs"), 3, None));
    assert!(matches!(put(Vec::new()).await, Err(StoreError::Busy { .. })));
    let last = bed.store.messages(&bed.tenant, id, true, page(2)).await.unwrap().items.pop().unwrap();
    assert_eq!((last.content.text().as_ref(), last.status), ("three", MessageStatus::Completed));
}

async fn a_thread_is_made_outside_of_turns(bed: &Bed) {
    let id = bed.conversation(0).await;
    let get = async |fresh| bed.store.thread(&bed.tenant, id, seed(fresh)).await;
    assert_eq!(Some(get(Some("a")).await.unwrap()), thread(Some("a"), 0, None));
    assert_eq!(Some(get(Some("b")).await.unwrap()), thread(Some("a"), 0, None));
    let reach = async |update| bed.store.reach_thread(&bed.tenant, id, seed(None), update).await.unwrap();
    reach(ThreadUpdate::Reached { id: "a".into(), reached: 1, told: Some((1, 2)) }).await;
    assert_eq!(Some(get(None).await.unwrap()), thread(Some("a"), 1, Some((1, 2))));
    let shown = bed.store.conversation(&bed.tenant, id).await.unwrap();
    assert_eq!(
        (shown.upstream_conversation_id.as_deref(), shown.assistant),
        (Some("a"), assistant("support"))
    );
    reach(ThreadUpdate::InDoubt).await;
    assert_eq!(Some(get(Some("c")).await.unwrap()), thread(Some("c"), 0, None));
    bed.accept(with_thread(id, None, 1)).await.unwrap();
    assert!(matches!(get(None).await, Err(StoreError::Busy { .. })));
}

async fn no_upstream_id_is_refused(bed: &Bed) {
    let mut new = new_conversation(0);
    let id = new.id;
    new.thread = Some(seed(Some("their\0s")));
    new.title = Some("a\0title".into());
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    let mut message = says(Role::Operator, "a\0text", 5);
    message.upstream_message_id = Some("\0one".into());
    message.author = "who\0ever".into();
    for added in [1, 0] {
        let put =
            bed.store.put_upstream_messages(&bed.tenant, id, seed(Some("their\0s")), vec![message.clone()]);
        assert_eq!(put.await.unwrap(), added, "it is known the second time");
    }
    assert_eq!(bed.texts(id).await, ["a\0text"]);
    let new = with_thread(id, None, 8);
    let mut end = end_of(&new, id, "hi\0", 9);
    end.turn.upstream.message_id = Some("m\0".into());
    end.turn.upstream.request_id = Some("r\0".into());
    bed.accept(new).await.unwrap();
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    assert_eq!(bed.texts(id).await, ["a\0text", "hello", "hi\0"]);
}

//! Conversations and messages: made, read, changed, copied, each by its own tenant alone.

use chat::{ConversationChange, ConversationStore, Fork, MessageStatus, Metadata, Role, StoreError};

use super::bed::{Bed, at, idempotency, new_conversation, page, says, seed, source, turn_in, user};

super::suite![
    a_conversation_is_read_as_it_was_made,
    a_change_names_what_it_changes,
    a_key_makes_one_conversation,
    a_key_puts_one_message,
    a_fork_is_a_copy,
    other_tenants_see_no_conversation,
    a_users_conversations_are_found,
];

async fn a_conversation_is_read_as_it_was_made(bed: &Bed) {
    let mut new = new_conversation(7);
    new.title = Some("Заголовок".into());
    new.user = Some(user("eve"));
    new.metadata.insert("plan".into(), "gold".into());
    let mut cited = says(Role::Assistant, "Answer", 2);
    cited.sources = vec![source("1")];
    new.messages = vec![says(Role::User, "Question", 1), cited];
    let made = bed.store.create_conversation(&bed.tenant, new.clone(), None).await.unwrap();
    assert_eq!((made.id, made.title.as_deref(), made.message_count), (new.id, Some("Заголовок"), 2));
    assert_eq!((made.preview.as_deref(), made.created_at, made.updated_at), (Some("Answer"), at(7), at(7)));
    assert_eq!((&made.metadata, made.user.clone()), (&new.metadata, Some(user("eve"))));
    assert_eq!(bed.store.conversation(&bed.tenant, new.id).await.unwrap(), made);
    let messages = bed.messages(new.id).await;
    assert_eq!(
        (messages[0].id, messages[0].position, messages[0].created_at),
        (new.messages[0].id, 1, at(1))
    );
    assert_eq!((&messages[1].sources, messages[1].turn_id), (&vec![source("1")], None));
}

async fn a_change_names_what_it_changes(bed: &Bed) {
    let id = bed.conversation(0).await;
    let mut metadata = Metadata::new();
    metadata.insert("a".into(), 1.into());
    let change = ConversationChange { title: Some(Some("T".into())), metadata: Some(Some(metadata.clone())) };
    let changed = bed.store.change_conversation(&bed.tenant, id, change, at(5)).await.unwrap();
    assert_eq!(
        (changed.title.as_deref(), &changed.metadata, changed.updated_at),
        (Some("T"), &metadata, at(5))
    );
    let clear = ConversationChange { title: Some(None), metadata: None };
    let changed = bed.store.change_conversation(&bed.tenant, id, clear, at(6)).await.unwrap();
    assert_eq!((changed.title.as_deref(), &changed.metadata), (None, &metadata));
    let clear = ConversationChange { title: None, metadata: Some(None) };
    let changed = bed.store.change_conversation(&bed.tenant, id, clear, at(7)).await.unwrap();
    assert!(changed.metadata.is_empty());
    assert_eq!(bed.store.conversation(&bed.tenant, id).await.unwrap(), changed);
}

async fn a_key_makes_one_conversation(bed: &Bed) {
    let key = || idempotency("make", 1);
    let one = bed.store.create_conversation(&bed.tenant, new_conversation(0), key()).await.unwrap();
    let two = bed.store.create_conversation(&bed.tenant, new_conversation(1), key()).await.unwrap();
    assert_eq!(one, two);
    let other = bed.store.create_conversation(&bed.tenant, new_conversation(1), idempotency("make", 2)).await;
    assert!(matches!(other, Err(StoreError::Conflict)));
    bed.store.delete_conversation(&bed.tenant, one.id).await.unwrap();
    let three = bed.store.create_conversation(&bed.tenant, new_conversation(2), key()).await.unwrap();
    assert_ne!(three.id, one.id, "erased with its record");
}

async fn a_key_puts_one_message(bed: &Bed) {
    let id = bed.conversation(0).await;
    let put = async |text: &str, body| {
        let message = says(Role::Operator, text, 3);
        bed.store.put_message(&bed.tenant, id, message, idempotency("put", body)).await
    };
    let one = put("hello", 1).await.unwrap();
    assert_eq!(put("hello", 1).await.unwrap(), one);
    assert!(matches!(put("other", 2).await, Err(StoreError::Conflict)));
    assert_eq!(bed.texts(id).await, ["hello"]);
    let kept = bed.store.conversation(&bed.tenant, id).await.unwrap();
    assert_eq!((kept.updated_at, kept.preview.as_deref()), (at(3), Some("hello")));
}

async fn a_fork_is_a_copy(bed: &Bed) {
    let mut new = new_conversation(0);
    new.title = Some("Original".into());
    new.thread = Some(seed(Some("thread-1")));
    let id = new.id;
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    bed.exchange(id, "one", "1", 1).await;
    let failed = bed.exchange(id, "two", "", 3).await;
    bed.exchange(id, "three", "3", 5).await;
    let messages = bed.messages(id).await;
    let copy = |up_to| Fork { id: chat::ConversationId::new(), from: id, up_to, created_at: at(9) };
    let whole = bed.store.fork(&bed.tenant, copy(None), idempotency("f", 1)).await.unwrap();
    assert_eq!((whole.title.as_deref(), whole.message_count, whole.created_at), (Some("Original"), 5, at(9)));
    assert_eq!(whole.upstream_conversation_id, None, "a copy has no thread");
    let copies = bed.messages(whole.id).await;
    assert_eq!(bed.texts(whole.id).await, bed.texts(id).await);
    assert_eq!((copies[2].status, copies[2].turn_id), (MessageStatus::Failed, None));
    assert!(copies.iter().zip(&messages).all(|(copy, original)| copy.id != original.id));
    assert_eq!(bed.store.fork(&bed.tenant, copy(None), idempotency("f", 1)).await.unwrap().id, whole.id);

    let part = bed.store.fork(&bed.tenant, copy(Some(messages[1].id)), None).await.unwrap();
    assert_eq!(bed.texts(part.id).await, ["one", "1"]);
    let unknown = bed.store.fork(&bed.tenant, copy(Some(copies[0].id)), None).await;
    assert!(matches!(unknown, Err(StoreError::NoMessage)));
    bed.store.delete_conversation(&bed.tenant, whole.id).await.unwrap();
    assert!(bed.store.turn(&bed.tenant, failed).await.is_ok(), "the original's turns are its own");
}

async fn other_tenants_see_no_conversation(bed: &Bed) {
    let mut new = new_conversation(0);
    new.user = Some(user("eve"));
    new.title = Some("secretive".into());
    let id = new.id;
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    let other = &bed.other;
    let store = &bed.store;
    let none = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::NoConversation)), "{result:?}")
    };
    none(store.conversation(other, id).await.map(drop));
    none(store.change_conversation(other, id, ConversationChange::default(), at(9)).await.map(drop));
    none(store.delete_conversation(other, id).await);
    none(store.messages(other, id, false, page(1)).await.map(drop));
    none(store.put_message(other, id, says(Role::User, "x", 1), None).await.map(drop));
    none(store.put_upstream_messages(other, id, seed(None), vec![says(Role::User, "x", 1)]).await.map(drop));
    let fork = Fork { id: chat::ConversationId::new(), from: id, up_to: None, created_at: at(1) };
    none(store.fork(other, fork, None).await.map(drop));
    none(store.thread(other, id, seed(None)).await.map(drop));
    none(store.reach_thread(other, id, seed(None), chat::ThreadUpdate::InDoubt).await);
    assert!(store.conversations(other, Default::default(), page(10)).await.unwrap().items.is_empty());
    let words = chat::ConversationFilter { words: Some("secretive".into()), ..Default::default() };
    assert!(store.conversations(other, words, page(10)).await.unwrap().items.is_empty());
    assert!(store.conversations_of_user(other, &user("eve")).await.unwrap().is_empty());
    assert_eq!(store.conversation(&bed.tenant, id).await.unwrap().updated_at, at(0));
    assert!(matches!(
        bed.accept(turn_in(chat::ConversationId::new(), "x", 1)).await,
        Err(StoreError::NoConversation)
    ));
}

async fn a_users_conversations_are_found(bed: &Bed) {
    let mut ids = Vec::new();
    for (number, name) in ["eve", "adam", "eve"].into_iter().enumerate() {
        let mut new = new_conversation(number as i64);
        new.user = Some(user(name));
        ids.push(bed.store.create_conversation(&bed.tenant, new, None).await.unwrap().id);
    }
    let found = bed.store.conversations_of_user(&bed.tenant, &user("eve")).await.unwrap();
    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ids[2], ids[0]]);
}

//! Keys, secrets, and whether the store lives.

use std::time::Duration;

use chat::{ConversationStore, KeyId, Maintenance, NewKey, Permission, StoreError};
use futures_util::future::join_all;

use super::bed::{Bed, assistant, at, new_conversation};

super::suite![
    keys_are_made_found_and_revoked,
    a_secret_is_made_once,
    a_store_answers_until_it_is_closed,
    migrating_again_changes_nothing,
];

fn new_key(name: &str, byte: u8) -> NewKey {
    NewKey {
        name: name.into(),
        hash: [byte; 32],
        tenant: "acme".parse().unwrap(),
        assistants: Some(vec![assistant("support"), assistant("docs")]),
        may: [Permission::Tokens, Permission::Adopt].into_iter().collect(),
        admin: true,
        expires_at: Some(at(99)),
        limits: r#"{"burst":3}"#.into(),
    }
}

async fn keys_are_made_found_and_revoked(bed: &Bed) {
    let store = &bed.store;
    assert!(store.keys().await.unwrap().is_empty());
    let one = store.create_key(new_key("one", 1), at(1)).await.unwrap();
    let plain = NewKey {
        assistants: None,
        may: Default::default(),
        admin: false,
        expires_at: None,
        ..new_key("two", 2)
    };
    let two = store.create_key(plain, at(2)).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), [two.clone(), one.clone()]);
    assert_eq!(store.key_by_hash(&[1; 32]).await.unwrap(), Some(one.clone()));
    assert_eq!(store.key_by_hash(&[3; 32]).await.unwrap(), None);
    assert_eq!(store.key_by_id(two.id).await.unwrap(), Some(two));
    let revoked = store.revoke_key(one.id, at(5)).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(at(5)));
    assert_eq!(store.revoke_key(one.id, at(6)).await.unwrap(), revoked);
    assert_eq!(store.key_by_hash(&[1; 32]).await.unwrap(), Some(revoked));
    assert!(matches!(store.revoke_key(KeyId::new(), at(7)).await, Err(StoreError::NoKey)));
}

async fn a_secret_is_made_once(bed: &Bed) {
    let all = join_all((0..20).map(|_| bed.store.secret("tokens"))).await;
    let first = bed.store.secret("tokens").await.unwrap();
    assert!(all.into_iter().all(|secret| secret.unwrap() == first));
    assert_ne!(bed.store.secret("other").await.unwrap(), first);
    assert_ne!(first, [0; 32]);
}

async fn a_store_answers_until_it_is_closed(bed: &Bed) {
    bed.store.ping().await.unwrap();
    assert_eq!(bed.store.status().queued_writes, 0);
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    assert!(matches!(bed.store.ping().await, Err(StoreError::Unavailable(_))));
    let made = bed.store.create_conversation(&bed.tenant, new_conversation(0), None).await;
    assert!(matches!(made, Err(StoreError::Unavailable(_))));
    bed.store.close(Duration::from_secs(10)).await.unwrap();
}

async fn migrating_again_changes_nothing(bed: &Bed) {
    let id = bed.conversation(0).await;
    store::migrate(&bed.config).await.unwrap();
    let second = store::open(&bed.config, &bed.tracker).await.unwrap();
    assert_eq!(second.conversation(&bed.tenant, id).await.unwrap().id, id);
    bed.exchange(id, "still", "works", 1).await;
    second.close(Duration::from_secs(10)).await.unwrap();
}

//! What a SQLite file has to stand: crashes, a full disk, another process's lock, many writers at once.

use std::time::Duration;

use chat::{Acceptance, ConversationStore, Maintenance, Role, StoreError, TurnTarget};
use futures_util::future::join_all;
use store::Config;
use tokio_util::task::TaskTracker;

use super::bed::{Bed, accepted, at, end_of, idempotency, new_conversation, page, says, turn, turn_in};

fn path(bed: &Bed) -> &str {
    bed.config.url.strip_prefix("sqlite:").unwrap()
}

/// The files as a crash would leave them, opened elsewhere.
async fn after_a_crash(bed: &Bed) -> Bed {
    let folder = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", path(bed));
        std::fs::copy(from, folder.path().join(format!("copy.db{suffix}"))).unwrap();
    }
    let config = Config::new(format!("sqlite:{}", folder.path().join("copy.db").display()));
    Bed::open(config, Some(folder), None).await
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash() {
    let bed = Bed::sqlite().await;
    let id = bed.conversation(0).await;
    bed.exchange(id, "question", "answer", 1).await;
    let new = turn_in(id, "running", 3);
    let turn_id = new.id;
    bed.accept(new).await.unwrap();
    let left = after_a_crash(&bed).await;
    assert_eq!(left.texts(id).await, ["question", "answer", "running"]);
    assert_eq!(left.store.open_turns(None).await.unwrap(), [(left.tenant.clone(), turn_id)]);
}

#[tokio::test]
async fn every_one_of_many_writers_is_durable_when_told() {
    let bed = Bed::sqlite().await;
    let asks = (0..400).map(|number| {
        let new = turn(TurnTarget::New(Box::new(new_conversation(number))), "hello", number);
        let bed = &bed;
        async move {
            let id = bed.accept(new.clone()).await.unwrap().conversation.id;
            bed.store.end_turn(&bed.tenant, end_of(&new, id, "hi", number + 1)).await.unwrap();
            id
        }
    });
    let ids = join_all(asks).await;
    let left = after_a_crash(&bed).await;
    for id in ids {
        assert_eq!(left.texts(id).await, ["hello", "hi"]);
    }
}

#[tokio::test]
async fn one_that_fails_harms_no_other_of_its_group() {
    let bed = Bed::sqlite().await;
    let id = bed.conversation(0).await;
    let (running, unknown) = (turn_in(id, "running", 1), chat::ConversationId::new());
    bed.accept(running).await.unwrap();
    // Refused after its key was claimed, broken after its key was claimed: both in the middle of a group.
    let mut busy = turn_in(id, "busy", 2);
    busy.idempotency = idempotency("busy", 1);
    let twice = new_conversation(2);
    let (first, again) = (twice.clone(), twice);
    let results = tokio::join!(
        bed.store.create_conversation(&bed.tenant, first, None),
        bed.store.accept_turn(&bed.tenant, busy),
        bed.store.create_conversation(&bed.tenant, again, idempotency("again", 1)),
        bed.store.accept_turn(&bed.tenant, turn_in(unknown, "unknown", 2)),
        bed.store.put_message(&bed.tenant, id, says(Role::Operator, "fine", 3), None),
    );
    assert!(results.0.is_ok());
    assert!(matches!(results.1, Err(StoreError::Busy { .. })));
    assert!(matches!(results.2, Err(StoreError::Damaged(_))));
    assert!(matches!(results.3, Err(StoreError::NoConversation)));
    assert_eq!(results.4.unwrap().content.text(), "fine");
    let left = after_a_crash(&bed).await;
    assert_eq!(left.texts(id).await, ["running", "fine"]);
    for key in ["busy", "again"] {
        let key = idempotency(key, 1).unwrap();
        assert_eq!(left.store.repeat_of(&bed.tenant, &key).await.unwrap(), None, "what failed left nothing");
    }
}

#[tokio::test]
async fn a_dropped_caller_cancels_nothing() {
    let bed = Bed::sqlite().await;
    let id = bed.conversation(0).await;
    {
        let mut put = bed.store.put_message(&bed.tenant, id, says(Role::User, "left", 1), None);
        // Polled once, the write is on its way.
        assert!(futures_util::poll!(put.as_mut()).is_pending());
    }
    bed.store.put_message(&bed.tenant, id, says(Role::User, "stayed", 2), None).await.unwrap();
    assert_eq!(bed.texts(id).await, ["left", "stayed"]);
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(format!("sqlite:{}", folder.path().join("small.db").display()));
    config.file_bytes_max = Some(600 * 1024);
    let bed = Bed::open(config, Some(folder), None).await;
    let small = bed.conversation(0).await;
    let mut big = Vec::new();
    let full = loop {
        let mut new = new_conversation(1);
        new.messages = vec![says(Role::User, &"x".repeat(50_000), 1)];
        big.push(new.id);
        match bed.store.create_conversation(&bed.tenant, new, None).await {
            Ok(_) => assert!(big.len() < 100, "it never gets full"),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Unavailable(_)), "{full:?}");
    // Together with what cannot be written, what can is.
    let mut new = new_conversation(1);
    new.messages = vec![says(Role::User, &"y".repeat(200_000), 1)];
    let (large, little) = tokio::join!(
        bed.store.create_conversation(&bed.tenant, new, None),
        bed.store.put_message(&bed.tenant, small, says(Role::User, "little", 1), None),
    );
    assert!(matches!(large, Err(StoreError::Unavailable(_))));
    assert!(little.is_ok(), "{little:?}");
    assert_eq!(
        bed.store.conversations(&bed.tenant, Default::default(), page(1)).await.unwrap().items.len(),
        1
    );
    for id in &big[..3] {
        bed.store.delete_conversation(&bed.tenant, *id).await.unwrap();
    }
    bed.exchange(small, "question", "answer", 2).await;
    assert_eq!(bed.texts(small).await, ["little", "question", "answer"]);
}

#[tokio::test]
async fn a_lock_of_another_process_is_an_outage_that_passes() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(format!("sqlite:{}", folder.path().join("store.db").display()));
    config.deadline = Duration::from_millis(200);
    let bed = Bed::open(config, Some(folder), None).await;
    let id = bed.conversation(0).await;
    let other = rusqlite::Connection::open(path(&bed)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let puts =
        (0..3).map(|_| bed.store.put_message(&bed.tenant, id, says(Role::User, "locked out", 1), None));
    for put in join_all(puts).await {
        assert!(matches!(put, Err(StoreError::Unavailable(_))));
    }
    assert!(bed.store.ping().await.is_err());
    assert!(bed.messages(id).await.is_empty(), "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    bed.store.ping().await.unwrap();
    bed.store.put_message(&bed.tenant, id, says(Role::User, "in again", 2), None).await.unwrap();
    assert_eq!(bed.texts(id).await, ["in again"], "what was refused is not written later");
}

#[tokio::test]
async fn readers_go_on_while_one_writes() {
    let bed = Bed::sqlite().await;
    let id = bed.conversation(0).await;
    bed.exchange(id, "before", "written", 1).await;
    let other = rusqlite::Connection::open(path(&bed)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM messages").unwrap();
    assert_eq!(bed.texts(id).await, ["before", "written"]);
    other.execute_batch("ROLLBACK").unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let bed = Bed::sqlite().await;
    bed.finish().await;
    let other = rusqlite::Connection::open(path(&bed)).unwrap();
    // A newer gateway that has only added something says that older ones may go on; one that has not would be damaged by them.
    other.execute_batch("INSERT INTO schema_versions (version) VALUES (999)").unwrap();
    let beside = store::open(&bed.config, &TaskTracker::new()).await.unwrap();
    beside.close(Duration::from_secs(10)).await.unwrap();
    drop(beside);
    other.execute_batch("UPDATE schema_floor SET oldest = 999").unwrap();
    other.close().unwrap();
    let refused = store::open(&bed.config, &TaskTracker::new()).await;
    assert!(matches!(refused, Err(store::OpenError::Newer { found: 999, .. })));
    assert!(store::migrate(&bed.config).await.is_err());
}

#[tokio::test]
async fn closing_waits_for_what_was_accepted() {
    let bed = Bed::sqlite().await;
    let id = bed.conversation(0).await;
    let mut puts: Vec<_> = (0..50)
        .map(|number| bed.store.put_message(&bed.tenant, id, says(Role::User, "x", number), None))
        .collect();
    for put in &mut puts {
        assert!(futures_util::poll!(put.as_mut()).is_pending());
    }
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    assert!(join_all(puts).await.into_iter().all(|put| put.is_ok()));
    assert!(!std::path::Path::new(&format!("{}-wal", path(&bed))).exists(), "the log is in the file");
    bed.tracker.close();
    bed.tracker.wait().await;
    let again = store::open(&bed.config, &TaskTracker::new()).await.unwrap();
    assert_eq!(again.conversation(&bed.tenant, id).await.unwrap().message_count, 50);
}

#[tokio::test]
async fn memory_is_a_store_of_its_own() {
    let bed = Bed::open(Config::new("memory:"), None, None).await;
    let id = bed.conversation(0).await;
    let new = turn_in(id, "question", 1);
    let acceptance: Acceptance = bed.store.accept_turn(&bed.tenant, new.clone()).await.unwrap();
    assert_eq!(accepted(acceptance).position, 1);
    bed.store.end_turn(&bed.tenant, end_of(&new, id, "answer", 2)).await.unwrap();
    assert_eq!(bed.texts(id).await, ["question", "answer"]);
    assert_eq!(bed.store.conversation(&bed.tenant, id).await.unwrap().updated_at, at(2));
    let other = Bed::open(Config::new("memory:"), None, None).await;
    assert!(other.store.conversation(&bed.tenant, id).await.is_err());
}

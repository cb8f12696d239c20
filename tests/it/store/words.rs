//! The file in which a SQLite store's search looks: that it knows what the store knows, whatever became of either of the two.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chat::{ConversationFilter, ConversationId, ConversationStore, Maintenance, Role, StoreError, TenantId};
use rusqlite::Connection;
use store::{Config, Store};
use tokio_util::task::TaskTracker;

use super::bed::{Bed, at, new_conversation, page, says};

fn path(bed: &Bed) -> PathBuf {
    bed.config.url.strip_prefix("sqlite:").unwrap().into()
}

fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut path = store.to_path_buf().into_os_string();
    path.push(suffix);
    path.into()
}

/// The same file, in a new process as it were.
async fn reopened(bed: Bed) -> Bed {
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    again(bed).await
}

async fn again(bed: Bed) -> Bed {
    drop(bed.store);
    let bed = Bed::open(bed.config, bed.folder, None).await;
    bed.store.claim().unwrap();
    bed
}

async fn with(bed: &Bed, text: &str) -> ConversationId {
    let mut new = new_conversation(0);
    new.messages = vec![says(Role::User, text, 0)];
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap().id
}

/// What a search finds, so many at most.
async fn search(
    store: &Store,
    tenant: &TenantId,
    words: &str,
    limit: u32,
) -> Result<Vec<ConversationId>, StoreError> {
    let filter = ConversationFilter { words: Some(words.into()), ..ConversationFilter::default() };
    let found = store.conversations(tenant, filter, page(limit)).await?;
    Ok(found.items.into_iter().map(|conversation| conversation.id).collect())
}

async fn found(bed: &Bed, words: &str) -> Vec<ConversationId> {
    search(&bed.store, &bed.tenant, words, 10).await.unwrap()
}

/// How often messages are in the index: once each.
fn known(store: &Path) -> i64 {
    let index = Connection::open(beside(store, "-search")).unwrap();
    index.execute("INSERT INTO search_messages (search_messages) VALUES ('integrity-check')", []).unwrap();
    index.query_row("SELECT COUNT(*) FROM search_messages_docsize", [], |row| row.get(0)).unwrap()
}

fn copy(from: &Path, to: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        std::fs::copy(beside(from, suffix), beside(to, suffix)).unwrap();
    }
}

#[tokio::test]
async fn what_was_written_is_found_after_a_start_as_well() {
    let bed = Bed::sqlite().await;
    let id = with(&bed, "early bird").await;
    assert_eq!(found(&bed, "bird").await, [id]);
    let bed = reopened(bed).await;
    // Nothing is queued any more, and nothing is told twice.
    let store = Connection::open(path(&bed)).unwrap();
    let queued: i64 = store.query_row("SELECT COUNT(*) FROM search_queue", [], |row| row.get(0)).unwrap();
    assert_eq!(queued, 0);
    let other = with(&bed, "late bird").await;
    assert_eq!(found(&bed, "bird").await, [other, id]);
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(known(&path(&bed)), 2);
}

#[tokio::test]
async fn memory_is_searched_as_well() {
    let bed = Bed::open(Config::new("memory:"), None, None).await;
    let id = with(&bed, "fleeting thought").await;
    assert_eq!(found(&bed, "thought").await, [id]);
    bed.store.delete_conversation(&bed.tenant, id).await.unwrap();
    assert_eq!(found(&bed, "thought").await, []);
}

/// Told and not yet taken from the queue; queued and not yet told: as a crash leaves them.
#[tokio::test]
async fn a_crash_makes_nothing_be_told_twice_or_not_at_all() {
    let bed = Bed::sqlite().await;
    let id = with(&bed, "told before").await;
    assert_eq!(found(&bed, "told").await, [id]);
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left.db");
    let other = with(&bed, "told after").await;
    // The index first: the store knows more than it, as always.
    copy(&path(&bed), &left, &["-search", "-search-wal", "", "-wal"]);
    let config = Config::new(format!("sqlite:{}", left.display()));
    let bed = Bed::open(config, Some(folder), None).await;
    assert_eq!(found(&bed, "told").await, [other, id]);
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(known(&left), 2);
}

#[tokio::test]
async fn an_index_that_is_gone_or_broken_is_made_anew() {
    let bed = Bed::sqlite().await;
    let mut ids = Vec::new();
    for number in 0..300 {
        ids.push(with(&bed, &format!("common word{number}")).await);
    }
    bed.store.delete_conversation(&bed.tenant, ids.remove(7)).await.unwrap();
    let mut bed = bed;
    for harm in [
        |index: &Path| std::fs::remove_file(index).unwrap(),
        |index: &Path| std::fs::write(index, "not a database ".repeat(1000)).unwrap(),
    ] {
        bed.store.close(Duration::from_secs(10)).await.unwrap();
        harm(&beside(&path(&bed), "-search"));
        bed = again(bed).await;
        let late = with(&bed, "common latecomer").await;
        assert_eq!(found(&bed, "word299").await, [ids[298]]);
        assert_eq!(found(&bed, "word7").await.len(), 10, "70 to 79");
        assert_eq!(found(&bed, "latecomer").await, [late]);
        bed.store.delete_conversation(&bed.tenant, late).await.unwrap();
        assert_eq!(found(&bed, "latecomer").await, []);
    }
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(known(&path(&bed)), 299);
}

/// A copy of the store is put back, and the index beside it is the one of before, which knows other messages at the same places.
#[tokio::test]
async fn an_index_of_another_time_or_store_is_made_anew() {
    let bed = Bed::sqlite().await;
    let id = with(&bed, "kept in both").await;
    assert_eq!(found(&bed, "both").await, [id]);
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept.db");
    copy(&path(&bed), &kept, &["", "-search"]);
    let bed = again(bed).await;
    with(&bed, "lost with the copy").await;
    assert_eq!(found(&bed, "lost").await.len(), 1);
    bed.store.close(Duration::from_secs(10)).await.unwrap();

    copy(&kept, &path(&bed), &[""]);
    let bed = again(bed).await;
    let late = with(&bed, "written since").await;
    assert_eq!((found(&bed, "lost").await, found(&bed, "both").await), (vec![], vec![id]));
    assert_eq!(found(&bed, "since").await, [late]);
    bed.store.close(Duration::from_secs(10)).await.unwrap();

    // The other way round: an index that is older than the store.
    copy(&kept, &path(&bed), &["-search"]);
    let bed = again(bed).await;
    assert_eq!((found(&bed, "since").await, found(&bed, "both").await), (vec![late], vec![id]));
    bed.store.close(Duration::from_secs(10)).await.unwrap();

    // Another store's.
    let strange = Bed::sqlite().await;
    with(&strange, "strange").await;
    assert_eq!(found(&strange, "strange").await.len(), 1);
    strange.store.close(Duration::from_secs(10)).await.unwrap();
    copy(&path(&strange), &path(&bed), &["-search"]);
    let bed = again(bed).await;
    assert_eq!((found(&bed, "strange").await, found(&bed, "both").await), (vec![], vec![id]));
}

#[tokio::test]
async fn what_is_erased_is_in_no_file() {
    let bed = Bed::sqlite().await;
    let id = with(&bed, "zanzibar unforgettable").await;
    let other = with(&bed, "zanzibarian unforgettably").await;
    assert_eq!(found(&bed, "zanzibar").await, [other, id]);
    let bed = reopened(bed).await;
    bed.store.delete_conversation(&bed.tenant, id).await.unwrap();
    assert_eq!(found(&bed, "zanzibar").await, [other]);
    bed.store.delete_conversation(&bed.tenant, other).await.unwrap();
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    let store = path(&bed);
    for file in std::fs::read_dir(store.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        for word in ["zanzib", "unforg", "ettabl"] {
            let there = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!there, "{word} is in {}", file.display());
        }
    }
}

/// Who searches waits for a few messages of what is being erased, not for all.
#[tokio::test]
async fn a_search_comes_between_those_who_erase() {
    let bed = Bed::sqlite().await;
    let (kept, mut large) = (with(&bed, "kept word").await, Vec::new());
    for _ in 0..2 {
        let mut new = new_conversation(1);
        new.messages =
            (0..3000).map(|number| says(Role::User, &format!("word number {number}"), 1)).collect();
        large.push(bed.store.create_conversation(&bed.tenant, new, None).await.unwrap().id);
    }
    assert_eq!(found(&bed, "word").await.len(), 3);
    let (one, two) = (large[0], large[1]);
    let mut erasing = std::pin::pin!(async {
        tokio::join!(
            bed.store.delete_conversation(&bed.tenant, one),
            bed.store.delete_conversation(&bed.tenant, two)
        )
    });
    // Nobody can reach them once they are being erased.
    while bed.store.conversation(&bed.tenant, two).await.is_ok() {
        assert!(futures_util::poll!(erasing.as_mut()).is_pending());
    }
    tokio::select! {
        biased;
        words = found(&bed, "word") => assert_eq!(words, [kept]),
        _ = erasing.as_mut() => panic!("the search waited for all of it"),
    }
    let (one, two) = erasing.await;
    assert!(one.is_ok() && two.is_ok());
}

/// What a search finds once the index is whole again: until then it is an outage, never a wrong list.
async fn found_at_last(bed: &Bed, words: &str) -> Vec<ConversationId> {
    for _ in 0..20 {
        match search(&bed.store, &bed.tenant, words, 100).await {
            Ok(found) => return found,
            Err(error) => assert!(matches!(error, StoreError::NoIndex(_)), "{error:?}"),
        }
    }
    panic!("it is never whole again");
}

#[tokio::test]
async fn an_index_that_turns_out_to_be_damaged_is_made_anew() {
    let bed = Bed::sqlite().await;
    let mut ids = Vec::new();
    for number in 0..60 {
        ids.push(with(&bed, &format!("common word{number} {}", format!("filler{number} ").repeat(40))).await);
    }
    assert_eq!(found(&bed, "word59").await, [ids[59]]);
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    let index = beside(&path(&bed), "-search");
    let whole = std::fs::read(&index).unwrap();
    let mut bed = bed;
    for page in 1..whole.len() / 4096 {
        let mut bytes = std::fs::read(&index).unwrap();
        if let Some(page) = bytes.get_mut(page * 4096..(page + 1) * 4096) {
            page.fill(0xA5);
        }
        std::fs::write(&index, bytes).unwrap();
        bed = again(bed).await;
        let late = with(&bed, "common latecomer").await;
        // What a damaged page had to say is asked for.
        for number in [0, 30, 59] {
            assert_eq!(found_at_last(&bed, &format!("word{number} filler{number}")).await, [ids[number]]);
        }
        assert_eq!(found_at_last(&bed, "latecomer").await, [late]);
        bed.store.delete_conversation(&bed.tenant, late).await.unwrap();
        assert_eq!(found_at_last(&bed, "latecomer").await, []);
        bed.store.close(Duration::from_secs(10)).await.unwrap();
    }
}

/// An older copy of the index under the log of the one that a killed gateway left.
#[tokio::test]
async fn an_older_index_under_a_newer_log_is_made_anew() {
    let bed = Bed::sqlite().await;
    let mut ids = Vec::new();
    for number in 0..100 {
        ids.push(with(&bed, &format!("word{number} early")).await);
    }
    assert_eq!(found_at_last(&bed, "early").await.len(), 100);
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left.db");
    copy(&path(&bed), &left, &["-search"]);
    let bed = again(bed).await;
    for number in 100..160 {
        ids.push(with(&bed, &format!("word{number} late")).await);
    }
    assert_eq!(found_at_last(&bed, "late").await.len(), 60);
    copy(&path(&bed), &left, &["-search-wal", "", "-wal"]);
    let killed = Bed::open(Config::new(format!("sqlite:{}", left.display())), Some(folder), None).await;
    killed.store.claim().unwrap();
    for number in [0, 99, 100, 159] {
        assert!(found_at_last(&killed, &format!("word{number} ")).await.contains(&ids[number]));
    }
    assert_eq!(found_at_last(&killed, "early").await.len(), 100);
}

/// Who looks at a gateway's file beside it leaves its index alone, however far that has come since.
#[tokio::test]
async fn others_leave_the_index_to_the_gateway() {
    let bed = Bed::sqlite().await;
    bed.store.claim().unwrap();
    with(&bed, "before the visit").await;
    let visitor = store::open(&bed.config, &TaskTracker::new()).await.unwrap();
    let id = with(&bed, "during the visit").await;
    assert_eq!(found(&bed, "during").await, [id]);
    let index = || {
        let index = Connection::open(beside(&path(&bed), "-search")).unwrap();
        index.query_row("SELECT id FROM search_state", [], |row| row.get::<_, Vec<u8>>(0)).unwrap()
    };
    let before = index();
    assert_eq!(search(&visitor, &bed.tenant, "visit", 10).await.unwrap().len(), 2);
    visitor.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(index(), before, "it was not made anew");
    assert_eq!(found(&bed, "visit").await.len(), 2);
}

/// What a gateway that was killed had not told the index is told when one runs again, before anybody asks.
#[tokio::test]
async fn what_was_left_over_is_told_at_the_next_start() {
    let bed = Bed::sqlite().await;
    with(&bed, "left over").await;
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    let bed = again(bed).await;
    let index = beside(&path(&bed), "-search");
    let told = || {
        let index = Connection::open(&index).ok()?;
        index.query_row("SELECT COUNT(*) FROM search_messages_docsize", [], |row| row.get::<_, i64>(0)).ok()
    };
    while told() != Some(1) {
        tokio::task::yield_now().await;
    }
}

/// A file of a gateway whose index was in it.
#[tokio::test]
async fn an_older_file_is_taken_over() {
    let bed = Bed::sqlite().await;
    let id = with(&bed, "written by an older gateway").await;
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    std::fs::remove_file(beside(&path(&bed), "-search")).ok();
    let store = Connection::open(path(&bed)).unwrap();
    store
        .execute_batch(
            "DROP TRIGGER messages_inserted; DROP TRIGGER messages_deleted; DROP TABLE search_queue; DROP TABLE search_index;
             CREATE VIRTUAL TABLE search_messages USING fts5 (text, content = 'messages', content_rowid = 'place');
             CREATE TRIGGER messages_inserted AFTER INSERT ON messages BEGIN SELECT 1; END;
             CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN SELECT 1; END;
             DELETE FROM schema_versions WHERE version = 4",
        )
        .unwrap();
    store.close().unwrap();
    let bed = again(bed).await;
    let late = with(&bed, "written by a newer one").await;
    assert_eq!(found(&bed, "written").await, [late, id]);
}

/// Whoever writes to the file by hand.
#[tokio::test]
async fn what_others_change_is_noted() {
    let bed = Bed::sqlite().await;
    let (one, two) = (with(&bed, "first").await, with(&bed, "second").await);
    bed.exchange(two, "third", "fourth", 1).await;
    assert_eq!((found(&bed, "first").await, found(&bed, "fourth").await), (vec![one], vec![two]));
    let store = Connection::open(path(&bed)).unwrap();
    store.execute("DELETE FROM messages WHERE text = 'first'", []).unwrap();
    assert_eq!((found(&bed, "first").await, found(&bed, "fourth").await), (vec![], vec![two]));
    let late = bed.conversation(5).await;
    assert_eq!(bed.store.conversation(&bed.tenant, late).await.unwrap().created_at, at(5));
}

/// Nobody is told that there is nothing because the index could not be looked into.
#[tokio::test]
async fn an_index_that_cannot_be_made_is_an_outage_of_the_search_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db");
    std::fs::create_dir(beside(&store, "-search")).unwrap();
    let mut config = Config::new(format!("sqlite:{}", store.display()));
    config.deadline = Duration::from_secs(2);
    let bed = Bed::open(config, Some(folder), None).await;
    let id = with(&bed, "present").await;
    let refused = search(&bed.store, &bed.tenant, "present", 10).await;
    assert!(matches!(refused, Err(StoreError::NoIndex(_))), "{refused:?}");
    assert_eq!(bed.texts(id).await, ["present"]);
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    std::fs::remove_dir(beside(&store, "-search")).unwrap();
    let again = store::open(&bed.config, &TaskTracker::new()).await.unwrap();
    let bed = Bed { store: again, ..bed };
    assert_eq!(found(&bed, "present").await, [id]);
}

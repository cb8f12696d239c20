//! Erasing: nothing of a conversation stays, the ledger keeps its sums.

use std::time::Duration;

use chat::{Checkpoint, ConversationStore, LogSlice, Maintenance, Role, StoreError, Timestamp, UsageRange};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::bed::{Bed, at, end_of, idempotency, new_conversation, page, row, says, seed, turn_in, user};

super::suite![
    nothing_of_a_conversation_stays,
    a_running_turn_may_be_erased,
    a_long_conversation_goes_whole,
    the_unchanged_is_erased_in_steps,
];

const WORD: &str = "unforgettable";

async fn nothing_of_a_conversation_stays(bed: &Bed) {
    let mut new = new_conversation(0);
    new.title = Some(format!("{WORD} title"));
    new.user = Some(user(&format!("{WORD} user")));
    new.metadata.insert(WORD.into(), WORD.into());
    let id = new.id;
    bed.store.create_conversation(&bed.tenant, new, idempotency(&format!("{WORD}-made"), 1)).await.unwrap();
    let mut ended = turn_in(id, &format!("{WORD} question"), 1);
    ended.metadata.insert(WORD.into(), WORD.into());
    ended.idempotency = idempotency(&format!("{WORD}-asked"), 1);
    ended.thread = Some(seed(Some(&format!("{WORD}-thread"))));
    let mut end = end_of(&ended, id, &format!("{WORD} answer"), 2);
    end.ledger = vec![row(ended.id, 0, &bed.tenant, ended.key)];
    let ended_id = ended.id;
    bed.accept(ended).await.unwrap();
    bed.store.end_turn(&bed.tenant, end).await.unwrap();
    let mut running = turn_in(id, &format!("{WORD} again"), 3);
    running.request = WORD.into();
    let running_id = running.id;
    bed.accept(running).await.unwrap();
    let slice = LogSlice { text: WORD.into(), marks: format!("[{}]", WORD.len()) };
    let kept = Checkpoint { slice, ..Checkpoint::default() };
    bed.store.checkpoint(&bed.tenant, running_id, "one", kept).await.unwrap();
    let other = bed.conversation(9).await;
    bed.exchange(other, "something else", "entirely", 10).await;
    assert!(!found(bed).await.is_empty(), "the test would see it");

    bed.store.delete_conversation(&bed.tenant, id).await.unwrap();
    assert!(matches!(bed.store.delete_conversation(&bed.tenant, id).await, Err(StoreError::NoConversation)));
    assert!(matches!(bed.store.turn(&bed.tenant, ended_id).await, Err(StoreError::NoTurn)));
    assert!(matches!(bed.store.turn(&bed.tenant, running_id).await, Err(StoreError::NoTurn)));
    assert_eq!(found(bed).await, Vec::<String>::new());
    assert_eq!(bed.texts(other).await, ["something else", "entirely"]);
    let sums = bed.store.usage(&bed.tenant, UsageRange::default()).await.unwrap();
    assert_eq!((sums.len(), sums[0].turns), (1, 1));

    if let Some(folder) = &bed.folder {
        bed.store.close(Duration::from_secs(10)).await.unwrap();
        for file in std::fs::read_dir(folder.path().join("deep")).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            // The index keeps words without what they share with the one before: look for the end as well.
            for word in [WORD, "forgettable"] {
                let there = bytes.windows(word.len()).any(|window| window == word.as_bytes());
                assert!(!there, "{word} is in {}", path.display());
            }
        }
    }
}

/// Every table with the word in a row, whatever its columns.
async fn found(bed: &Bed) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(path) = bed.config.url.strip_prefix("sqlite:") {
        let connection = rusqlite::Connection::open(path).unwrap();
        let sql =
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'";
        let mut columns = connection.prepare(sql).unwrap();
        let columns = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        for (table, column) in columns.map(Result::<(String, String), _>::unwrap) {
            let sql = format!(
                "SELECT COUNT(*) FROM {table} WHERE instr(CAST(\"{column}\" AS BLOB), CAST($1 AS BLOB)) > 0"
            );
            let count: i64 = connection.query_row(&sql, [WORD], |row| row.get(0)).unwrap();
            found.extend((count > 0).then(|| format!("{table}.{column}")));
        }
    } else {
        let mut connection = sqlx::PgConnection::connect(&bed.config.url).await.unwrap();
        let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
        for row in sqlx::query(sql).fetch_all(&mut connection).await.unwrap() {
            let table: String = row.get(0);
            let sql = format!("SELECT COUNT(*) FROM {table} t WHERE t::text LIKE '%' || $1 || '%'");
            let count: i64 =
                sqlx::query_scalar(AssertSqlSafe(sql)).bind(WORD).fetch_one(&mut connection).await.unwrap();
            found.extend((count > 0).then_some(table));
        }
    }
    found
}

async fn a_running_turn_may_be_erased(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = turn_in(id, "hello", 1);
    let mut end = end_of(&new, id, "hi", 2);
    end.ledger = vec![row(new.id, 0, &bed.tenant, new.key)];
    let turn_id = new.id;
    bed.accept(new).await.unwrap();
    bed.store.delete_conversation(&bed.tenant, id).await.unwrap();
    let kept = bed.store.checkpoint(&bed.tenant, turn_id, "one", Checkpoint::default()).await;
    assert!(matches!(kept, Err(StoreError::NoTurn)));
    for _ in 0..2 {
        assert!(matches!(bed.store.end_turn(&bed.tenant, end.clone()).await, Err(StoreError::NoTurn)));
    }
    let sums = bed.store.usage(&bed.tenant, UsageRange::default()).await.unwrap();
    assert_eq!(sums[0].turns, 1, "the call was made, whatever became of the conversation");
    assert!(bed.store.open_turns(None).await.unwrap().is_empty());
}

async fn a_long_conversation_goes_whole(bed: &Bed) {
    let mut new = new_conversation(0);
    new.messages = (0..1000).map(|number| says(Role::User, &format!("word{number}"), 0)).collect();
    let id = new.id;
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    bed.store.delete_conversation(&bed.tenant, id).await.unwrap();
    // A new conversation sees nothing of it, though it may be kept at the same place.
    let next = bed.conversation(1).await;
    assert!(bed.messages(next).await.is_empty());
    let filter = chat::ConversationFilter { words: Some("word".into()), ..Default::default() };
    assert!(bed.store.conversations(&bed.tenant, filter, page(10)).await.unwrap().items.is_empty());
}

async fn the_unchanged_is_erased_in_steps(bed: &Bed) {
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(bed.conversation(number).await);
    }
    bed.store.put_message(&bed.tenant, ids[0], says(Role::User, "changed", 50), None).await.unwrap();
    let retain = async |before| bed.store.retain(before, Timestamp::now(), 2).await.unwrap();
    assert_eq!(retain(None).await, 0);
    assert_eq!(retain(Some(at(4))).await, 2);
    assert_eq!(retain(Some(at(4))).await, 1);
    assert_eq!(retain(Some(at(4))).await, 0);
    let left = bed.store.conversations(&bed.tenant, Default::default(), page(10)).await.unwrap().items;
    assert_eq!(left.iter().map(|item| item.id).collect::<Vec<_>>(), [ids[0], ids[4]]);
}

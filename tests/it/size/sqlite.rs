//! SQLite at a size.

use std::time::Duration;

use store::Config;
use tokio_util::task::TaskTracker;

use super::fill::{self, Words};
use super::overhear::{self, Heard};
use super::{Known, LARGE, QUESTIONS, ask, cursor_of_conversations, cursor_of_messages};

const MESSAGES: u64 = 30_000;

const WORDS: Words = Words {
    series: "(WITH RECURSIVE series (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM series WHERE i < {n}) SELECT i FROM series)",
    // Sixteen bytes that begin with the sort.
    id: |sort, i| format!("CAST(printf('%.1s%015d', '{sort}', {i}) AS BLOB)"),
    words: "",
};

#[tokio::test]
async fn every_question_is_answered_by_an_index() {
    overhear::begin();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.db");
    let path = format!("sqlite:{}", file.display());
    let tracker = TaskTracker::new();
    let store = store::open(&Config::new(&path), &tracker).await.unwrap();
    chat::Maintenance::close(store.as_ref(), Duration::from_secs(10)).await.unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(&file).unwrap();
    for statement in fill::statements(&WORDS, MESSAGES) {
        connection.execute_batch(&statement).unwrap();
    }
    let store = store::open(&Config::new(&path), &tracker).await.unwrap();
    let id =
        |sort: char, number: u32| uuid::Uuid::from_slice(format!("{sort}{number:015}").as_bytes()).unwrap();
    let known = Known {
        tenant: "acme".parse().unwrap(),
        deep: chat::ConversationId::from_uuid(id('c', 1)),
        key: chat::KeyId::from_uuid(id('k', 1)),
        turn: chat::TurnId::from_uuid(id('t', 3)),
    };
    // Made by the time that a first search has been answered.
    ask(&store, &known, "search, a rare word", None).await;
    let index = format!("{}-search", file.display());
    connection.execute("ATTACH DATABASE $1 AS search", [index]).unwrap();
    let mut explained = 0;
    for question in QUESTIONS {
        let cursor = match question {
            "conversations, deep page" => cursor_of_conversations(&store, &known).await,
            "messages, deep page" => cursor_of_messages(&store, &known).await,
            _ => None,
        };
        drop(overhear::taken());
        ask(&store, &known, question, cursor.as_deref()).await;
        for heard in overhear::taken() {
            let Heard::Statement(sql) = heard else { continue };
            if !["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|word| sql.starts_with(word)) {
                continue;
            }
            for step in plan(&connection, &sql) {
                assert!(!is_whole_table(&step), "{question}: {step}\n{sql}");
                explained += 1;
            }
        }
    }
    assert!(explained > QUESTIONS.len(), "{explained}");
    chat::Maintenance::close(store.as_ref(), Duration::from_secs(10)).await.unwrap();
}

fn plan(connection: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get("detail").unwrap());
    }
    steps
}

/// `SCAN conversations`, also by another name; not `SCAN … USING INDEX`, which reads in an index's order as far as it has to.
fn is_whole_table(step: &str) -> bool {
    let Some(rest) = step.strip_prefix("SCAN ") else { return false };
    let table = rest.split(' ').next().unwrap_or_default();
    (LARGE.contains(&table) || ["c", "m", "t"].contains(&table)) && !rest.contains("USING")
}

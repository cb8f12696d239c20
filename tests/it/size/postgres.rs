//! PostgreSQL at a size.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use store::{Config, Store};
use tokio_util::task::TaskTracker;

use super::fill::{self, Words};
use super::overhear::{self, Heard};
use super::{Known, LARGE, QUESTIONS, ask, cursor_of_conversations, cursor_of_messages};
use crate::kit::postgres::Database;

const WORDS: Words = Words {
    series: "generate_series(CAST(1 AS BIGINT), {n}) AS series (i)",
    id: |sort, i| format!("decode(md5('{sort}' || ({i})), 'hex')"),
    words: "array_to_tsvector(string_to_array({text}, ' '))",
};

/// What a question cost.
struct Cost {
    /// Pages of 8 KiB that its statements looked at.
    pages: u64,
    took: Duration,
    plans: Vec<String>,
}

struct Large {
    database: Database,
    store: std::sync::Arc<Store>,
    known: Known,
}

impl Large {
    async fn of(messages: u64) -> Option<Self> {
        let database = Database::new().await?;
        let tracker = TaskTracker::new();
        // Makes the schema.
        let store = store::open(&Config::new(database.url()), &tracker).await.unwrap();
        chat::Maintenance::close(store.as_ref(), Duration::from_secs(10)).await.unwrap();
        let mut connection = database.connect().await;
        // Building an index of words at the end is much quicker than growing it.
        let index: String = sqlx::query("SELECT indexdef FROM pg_indexes WHERE indexname = 'messages_words'")
            .fetch_one(&mut connection)
            .await
            .unwrap()
            .get(0);
        connection.execute("SET synchronous_commit = off; DROP INDEX messages_words").await.unwrap();
        for statement in fill::statements(&WORDS, messages) {
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        connection.execute(AssertSqlSafe(index)).await.unwrap();
        connection.execute("VACUUM ANALYZE").await.unwrap();
        let known = known(&mut connection).await;
        explain_all(&mut connection).await;
        connection.close().await.unwrap();
        // Connections from now on tell the plan of each statement.
        let mut config = Config::new(database.url());
        // Whoever fills a large table beside this slows it down.
        config.deadline = Duration::from_secs(60);
        let store = store::open(&config, &tracker).await.unwrap();
        Some(Self { database, store, known })
    }

    async fn ask(&self, question: &str) -> Cost {
        let cursor = match question {
            "conversations, deep page" => cursor_of_conversations(&self.store, &self.known).await,
            "messages, deep page" => cursor_of_messages(&self.store, &self.known).await,
            _ => None,
        };
        // What the server has to read from its disk the first time says nothing.
        ask(&self.store, &self.known, question, cursor.as_deref()).await;
        drop(overhear::taken());
        let begun = Instant::now();
        ask(&self.store, &self.known, question, cursor.as_deref()).await;
        let took = begun.elapsed();
        let plans: Vec<_> = overhear::taken()
            .into_iter()
            .filter_map(|heard| match heard {
                Heard::Notice(text) if text.contains("Query Text:") => Some(text),
                _ => None,
            })
            .collect();
        assert!(!plans.is_empty(), "{question}: nothing was explained");
        Cost { pages: plans.iter().map(|plan| pages(plan)).sum(), took, plans }
    }

    async fn finish(self) {
        chat::Maintenance::close(self.store.as_ref(), Duration::from_secs(10)).await.unwrap();
        self.database.drop().await;
    }
}

/// The server tells each client the plan of each of its statements, and what it cost.
async fn explain_all(connection: &mut PgConnection) {
    let name: String =
        sqlx::query("SELECT current_database()::text").fetch_one(&mut *connection).await.unwrap().get(0);
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_buffers = on",
        "auto_explain.log_timing = off",
        "client_min_messages = 'log'",
        "jit = off",
        "max_parallel_workers_per_gather = 0",
    ] {
        connection.execute(AssertSqlSafe(format!("ALTER DATABASE {name} SET {setting}"))).await.unwrap();
    }
}

async fn known(connection: &mut PgConnection) -> Known {
    let sql = format!("SELECT {}, {}, {}", (WORDS.id)("c", "1"), (WORDS.id)("k", "1"), (WORDS.id)("t", "3"));
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap();
    let id = |index: usize| uuid::Uuid::from_slice(&row.get::<Vec<u8>, _>(index)).unwrap();
    Known {
        tenant: "acme".parse().unwrap(),
        deep: chat::ConversationId::from_uuid(id(0)),
        key: chat::KeyId::from_uuid(id(1)),
        turn: chat::TurnId::from_uuid(id(2)),
    }
}

/// The pages that a plan's topmost step looked at, with all below it.
fn pages(plan: &str) -> u64 {
    let Some((_, buffers)) = plan.split_once("Buffers: shared ") else { return 0 };
    let line = buffers.lines().next().unwrap_or_default();
    let of = |word: &str| {
        let number = line.split(' ').find_map(|part| part.strip_prefix(word)?.strip_prefix('='));
        number.map_or(0, |number| number.parse::<u64>().unwrap())
    };
    of("hit") + of("read")
}

fn whole_tables(plans: &[String]) -> Vec<String> {
    let scans = plans.iter().flat_map(|plan| plan.lines().map(move |line| (plan, line)));
    let large = scans.filter(|(_, line)| {
        let table = line.split_once("Seq Scan on ").map(|(_, rest)| rest.split(' ').next().unwrap());
        table.is_some_and(|table| LARGE.contains(&table))
    });
    large.map(|(plan, _)| plan.clone()).collect()
}

#[tokio::test]
async fn every_question_is_answered_by_an_index_and_depth_costs_nothing() {
    overhear::begin();
    let Some(large) = Large::of(150_000).await else { return };
    let mut costs = std::collections::HashMap::new();
    for question in QUESTIONS {
        let cost = large.ask(question).await;
        let offences = whole_tables(&cost.plans);
        assert!(offences.is_empty(), "{question}: {}", offences.join("\n"));
        costs.insert(question, cost.pages);
    }
    for list in ["conversations", "messages"] {
        let (first, deep) = (costs[&*format!("{list}, first page")], costs[&*format!("{list}, deep page")]);
        assert!(
            deep <= first * 2 + 20,
            "{list}: {first} pages of the database at the top, {deep} further down"
        );
    }
    // What has nothing to do with how much there is costs a handful of pages.
    for (question, cost) in &costs {
        let grows = question.contains("everywhere") || *question == "usage";
        assert!(grows || *cost < 400, "{question}: {cost} pages of the database");
    }
    large.finish().await;
}

/// How costs grow with the store: prints a table. Sizes stand in the environment; without it this is a small one, to see that it runs.
#[tokio::test]
async fn growth() {
    overhear::begin();
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration to read the sizes from")]
    let sizes = std::env::var("SWITCHBOARD_TEST_SIZES").unwrap_or_else(|_| "3000".to_owned());
    let mut table: Vec<Vec<String>> = QUESTIONS.iter().map(|question| vec![(*question).to_owned()]).collect();
    for size in sizes.split(',') {
        let begun = Instant::now();
        let Some(large) = Large::of(size.parse().unwrap()).await else { return };
        eprintln!("{size} messages: filled in {:.0?}", begun.elapsed());
        for (row, question) in table.iter_mut().zip(QUESTIONS) {
            let cost = large.ask(question).await;
            row.push(format!("{} / {:.1}", cost.pages, cost.took.as_secs_f64() * 1e3));
        }
        large.finish().await;
    }
    eprintln!("| pages of 8 KiB / ms | {} |", sizes.replace(',', " | "));
    for row in table {
        eprintln!("| {} |", row.join(" | "));
    }
}

//! What a PostgreSQL server may do: end connections, refuse new ones.

use std::time::Duration;

use chat::{ConversationStore, Maintenance, StoreError};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::bed::{Bed, turn_in};

#[tokio::test]
async fn a_server_that_was_gone_is_used_again() {
    let Some(bed) = Bed::postgres().await else { return };
    let id = bed.conversation(0).await;
    let (server, name) = bed.database.as_ref().unwrap();
    let mut admin = sqlx::PgConnection::connect(server).await.unwrap();
    for allowed in ["false", "true"] {
        admin
            .execute(AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")))
            .await
            .unwrap();
        admin
            .execute(AssertSqlSafe(format!(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
            )))
            .await
            .unwrap();
        if allowed == "false" {
            for _ in 0..3 {
                assert!(matches!(bed.store.ping().await, Err(StoreError::Unavailable(_))));
                let read = bed.store.conversation(&bed.tenant, id).await;
                assert!(matches!(read, Err(StoreError::Unavailable(_))));
            }
        }
    }
    // It is asked again once in a while.
    let back = async {
        while bed.store.ping().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.unwrap();
    bed.exchange(id, "still", "here", 1).await;
    assert_eq!(bed.texts(id).await, ["still", "here"]);
    bed.finish().await;
}

/// All connections are held up for longer than half of what a call may take: whoever waits for one gets it in time, and nobody takes the
/// server for dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_busy_is_no_server_that_is_gone() {
    let Some(mut bed) = Bed::postgres().await else { return };
    bed.store.close(Duration::from_secs(10)).await.unwrap();
    (bed.config.connections, bed.config.deadline) = (2, Duration::from_secs(5));
    bed.store = store::open(&bed.config, &bed.tracker).await.unwrap();
    let held = [bed.conversation(0).await, bed.conversation(1).await];
    let free = [bed.conversation(2).await, bed.conversation(3).await];

    // The server itself lets go of the rows: after three of the five seconds.
    let mut admin = sqlx::PgConnection::connect(&bed.config.url).await.unwrap();
    admin.execute("BEGIN; SELECT seq FROM conversations ORDER BY seq LIMIT 2 FOR UPDATE").await.unwrap();
    let write = |id, at| {
        let bed = &bed;
        async move { bed.accept(turn_in(id, "hello", at)).await }
    };
    let waiting = async {
        let (server, name) = bed.database.as_ref().unwrap();
        let mut admin = sqlx::PgConnection::connect(server).await.unwrap();
        let count = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock'"
        );
        loop {
            let (locked,): (i64,) =
                sqlx::query_as(AssertSqlSafe(count.clone())).fetch_one(&mut admin).await.unwrap();
            if locked == 2 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let others = async {
        waiting.await;
        tokio::join!(write(free[0], 12), write(free[1], 13), bed.store.conversation(&bed.tenant, free[0]))
    };
    let release = async { admin.execute("SELECT pg_sleep(3); COMMIT").await };
    let (one, two, (three, four, read), released) =
        tokio::join!(write(held[0], 10), write(held[1], 11), others, release);
    released.unwrap();
    for written in [one, two, three, four] {
        written.unwrap();
    }
    read.unwrap();
    bed.finish().await;
}

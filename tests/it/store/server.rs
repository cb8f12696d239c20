//! What a PostgreSQL server may do: end connections, refuse new ones.

use std::time::Duration;

use chat::{ConversationStore, Maintenance, StoreError};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::bed::Bed;

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

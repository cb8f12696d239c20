//! Erasing conversations.
//!
//! One transaction takes a conversation away from everybody, with its turns and threads. Its messages go in steps when there are many, so
//! that no other write waits for ten thousand of them; on SQLite once the search's index, a file of its own, knows them no more. What is
//! left over after [`PATIENCE`], or a crash, is erased with the next retention.

use std::time::Duration;

use chat::{ConversationId, StoreError, TenantId, Timestamp};

use crate::conn::Conn;
use crate::message::{POSITIONS, base};
use crate::row::blob;
use crate::{conversation, search};

/// How many messages one transaction erases.
const STEP: i64 = 256;

/// How long the caller waits for the messages of a conversation to go. Nobody can reach them meanwhile or afterwards.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What is still to be erased: the number of a conversation that is gone already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remains(i64);

impl Remains {
    /// The places between which the messages are, both left out.
    pub(crate) fn places(self) -> (i64, i64) {
        (base(self.0), base(self.0).saturating_add(POSITIONS))
    }
}

/// Takes a tenant's conversation away.
pub(crate) async fn of_tenant(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
) -> Result<Option<Remains>, StoreError> {
    let kept = conversation::locked(conn, tenant, id).await?;
    take_away(conn, kept.ids()).await
}

/// Takes a conversation away if it has still not changed since `before`; none when it has.
pub(crate) async fn unchanged(
    conn: &mut Conn<'_>,
    seq: i64,
    before: Timestamp,
) -> Result<Option<Option<Remains>>, StoreError> {
    match conversation::locked_seq(conn, seq).await {
        Ok(kept) if kept.conversation.updated_at < before => take_away(conn, kept.ids()).await.map(Some),
        Ok(_) | Err(StoreError::NoConversation) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn take_away(
    conn: &mut Conn<'_>,
    (seq, id): (i64, ConversationId),
) -> Result<Option<Remains>, StoreError> {
    search::take_title(conn, seq).await?;
    for sql in [
        "DELETE FROM turn_slices WHERE turn_id IN \
         (SELECT id FROM turns WHERE conversation = $1 AND open = 1 ORDER BY place)",
        // Every turn has a message: this finds the turns without an index of its own.
        "DELETE FROM turns WHERE id IN (SELECT turn_id FROM messages \
         WHERE place > $1 * 16777216 AND place < ($1 + 1) * 16777216 AND turn_id IS NOT NULL)",
        "DELETE FROM threads WHERE conversation = $1",
        "DELETE FROM conversations WHERE seq = $1",
    ] {
        conn.sql(sql).bind(seq).run().await?;
    }
    conn.sql("DELETE FROM idempotency WHERE conversation_id = $1").bind(blob(id.uuid())).run().await?;
    // The index still knows them where it is a file of its own.
    let all = Remains(seq).places();
    if conn.is_postgres() && messages(conn, all).await? < STEP {
        return Ok(None);
    }
    conn.sql("INSERT INTO erasures (conversation) VALUES ($1)").bind(seq).run().await?;
    Ok(Some(Remains(seq)))
}

/// Erases some more of what is before a place; what remains after it.
pub(crate) async fn step(
    conn: &mut Conn<'_>,
    remains: Remains,
    before: i64,
) -> Result<Option<Remains>, StoreError> {
    let (after, end) = remains.places();
    if messages(conn, (after, before.min(end))).await? >= STEP || before < end {
        return Ok(Some(remains));
    }
    let Remains(seq) = remains;
    conn.sql("DELETE FROM erasures WHERE conversation = $1").bind(seq).run().await?;
    Ok(None)
}

/// Erases the first of the messages between two places, both left out; how many they were.
async fn messages(conn: &mut Conn<'_>, places: (i64, i64)) -> Result<i64, StoreError> {
    search::take_messages(conn, places, STEP).await?;
    let erased = conn
        .sql(
            "DELETE FROM messages WHERE place IN \
             (SELECT place FROM messages WHERE place > $1 AND place < $2 ORDER BY place LIMIT $3)",
        )
        .bind(places.0)
        .bind(places.1)
        .bind(STEP)
        .run()
        .await?;
    Ok(i64::try_from(erased).unwrap_or(STEP))
}

/// What a crash left over.
pub(crate) async fn remains(conn: &mut Conn<'_>) -> Result<Vec<Remains>, StoreError> {
    let rows = conn.sql("SELECT conversation FROM erasures ORDER BY conversation LIMIT 100").rows().await?;
    rows.into_iter().map(|mut row| row.number().map(Remains)).collect()
}

/// Conversations that have not changed since `before`, the longest unchanged first.
pub(crate) async fn old(conn: &mut Conn<'_>, before: Timestamp, limit: u32) -> Result<Vec<i64>, StoreError> {
    let rows = conn
        .sql("SELECT seq FROM conversations WHERE updated_at < $1 ORDER BY updated_at LIMIT $2")
        .bind(before.millis())
        .bind(i64::from(limit))
        .rows()
        .await?;
    rows.into_iter().map(|mut row| row.number()).collect()
}

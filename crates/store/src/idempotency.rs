//! Idempotency records: what a client's key already made.

use chat::{ConversationId, Idempotency, StoreError, TenantId, Timestamp, TurnId};
use uuid::Uuid;

use crate::conn::Conn;
use crate::error::damaged;
use crate::row::blob;

/// What the same key made before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    /// The id of the conversation, message or turn.
    pub(crate) subject: Uuid,
    /// Whether it is kept: an unstored turn has no conversation.
    pub(crate) stored: bool,
}

/// What came of claiming a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It is ours now.
    Now,
    /// The same request came before.
    Before(Made),
}

/// Claims a key for a subject in a conversation. A record that has expired counts as none.
///
/// The record goes with the transaction, so a refusal that comes after it frees the key again.
pub(crate) async fn claim(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    key: &Idempotency,
    (subject, conversation): (Uuid, Option<ConversationId>),
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    let claimed = conn
        .sql(
            "INSERT INTO idempotency (tenant, key, fingerprint, subject, conversation_id, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, key) DO UPDATE SET \
             fingerprint = excluded.fingerprint, subject = excluded.subject, \
             conversation_id = excluded.conversation_id, expires_at = excluded.expires_at \
             WHERE idempotency.expires_at <= $7",
        )
        .bind(tenant.as_str())
        .bind(key.key.as_str())
        .bind(key.fingerprint.to_vec())
        .bind(blob(subject))
        .bind(conversation.map(|id| blob(id.uuid())))
        .bind(key.expires_at.millis())
        .bind(now.millis())
        .run()
        .await?;
    if claimed > 0 {
        return Ok(Claimed::Now);
    }
    // Whatever stands in the way has not expired.
    let made = before(conn, tenant, key, Timestamp::from_millis(i64::MIN)).await?;
    made.map(Claimed::Before).ok_or_else(|| damaged("an idempotency record is and is not there"))
}

/// What the key made before, unless the record has expired.
async fn before(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    key: &Idempotency,
    now: Timestamp,
) -> Result<Option<Made>, StoreError> {
    let row = conn
        .sql(
            "SELECT fingerprint, subject, conversation_id FROM idempotency \
             WHERE tenant = $1 AND key = $2 AND expires_at > $3",
        )
        .bind(tenant.as_str())
        .bind(key.key.as_str())
        .bind(now.millis())
        .row()
        .await?;
    let Some(mut row) = row else { return Ok(None) };
    if row.take::<Vec<u8>>()? != key.fingerprint {
        return Err(StoreError::Conflict);
    }
    let subject = row.uuid()?;
    Ok(Some(Made { subject, stored: row.optional_uuid()?.is_some() }))
}

/// Frees the key of a turn that is kept.
pub(crate) async fn free(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    key: &str,
    turn: TurnId,
) -> Result<(), StoreError> {
    conn.sql("DELETE FROM idempotency WHERE tenant = $1 AND key = $2 AND subject = $3")
        .bind(tenant.as_str())
        .bind(key)
        .bind(blob(turn.uuid()))
        .run()
        .await?;
    Ok(())
}

/// See [`chat::ConversationStore::note_unstored`].
pub(crate) async fn note_unstored(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: TurnId,
    key: &Idempotency,
) -> Result<Option<(TurnId, bool)>, StoreError> {
    Ok(match claim(conn, tenant, key, (id.uuid(), None), Timestamp::now()).await? {
        Claimed::Now => None,
        Claimed::Before(made) => Some((TurnId::from_uuid(made.subject), made.stored)),
    })
}

/// See [`chat::ConversationStore::repeat_of`].
pub(crate) async fn repeat_of(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    key: &Idempotency,
) -> Result<Option<(TurnId, bool)>, StoreError> {
    let made = before(conn, tenant, key, Timestamp::now()).await?;
    Ok(made.map(|made| (TurnId::from_uuid(made.subject), made.stored)))
}

/// See [`chat::ConversationStore::free_unstored`].
pub(crate) async fn free_unstored(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: TurnId,
    key: &str,
) -> Result<(), StoreError> {
    conn.sql(
        "DELETE FROM idempotency WHERE tenant = $1 AND key = $2 AND subject = $3 AND conversation_id IS NULL",
    )
    .bind(tenant.as_str())
    .bind(key)
    .bind(blob(id.uuid()))
    .run()
    .await?;
    Ok(())
}

/// Erases records that have expired, a thousand at most.
pub(crate) async fn expire(conn: &mut Conn<'_>, now: Timestamp) -> Result<(), StoreError> {
    conn.sql(
        "DELETE FROM idempotency WHERE (tenant, key) IN \
         (SELECT tenant, key FROM idempotency WHERE expires_at <= $1 ORDER BY expires_at LIMIT 1000)",
    )
    .bind(now.millis())
    .run()
    .await?;
    Ok(())
}

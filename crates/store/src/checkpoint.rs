//! Keeping what has come of a running turn.

use chat::{Checkpoint, StoreError, TenantId, TurnId};

use crate::conn::Conn;
use crate::ledger;
use crate::row::{blob, kept, signed};

/// See [`chat::ConversationStore::checkpoint`].
pub(crate) async fn checkpoint(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: TurnId,
    owner: &str,
    checkpoint: &Checkpoint,
) -> Result<(), StoreError> {
    let slice = &checkpoint.slice;
    let adds = !slice.marks.is_empty() && slice.marks != "[]";
    // One that was held up until a later one was kept comes too late.
    let changed = conn
        .sql(
            "UPDATE turns SET reserved_seq = $1, in_flight = $2, attempts = $3, upstream = $4, slices = slices + $5 \
             WHERE id = $6 AND tenant = $7 AND owner = $8 AND open = 1 AND reserved_seq <= $1",
        )
        .bind(signed(checkpoint.reserved_seq))
        .bind(ledger::to_json(&checkpoint.in_flight)?)
        .bind(checkpoint.attempts.as_str())
        .bind(checkpoint.upstream.as_str())
        .bind(i64::from(adds))
        .bind(blob(id.uuid()))
        .bind(tenant.as_str())
        .bind(owner)
        .run()
        .await?;
    if changed == 0 {
        return Err(why_not(conn, tenant, id).await?);
    }
    if adds {
        conn.sql("DELETE FROM turn_slices WHERE turn_id = $1 AND number > $2")
            .bind(blob(id.uuid()))
            .bind(signed(checkpoint.after_seq))
            .run()
            .await?;
        conn.sql("INSERT INTO turn_slices (turn_id, number, text, marks) VALUES ($1, $2, $3, $4)")
            .bind(blob(id.uuid()))
            .bind(signed(checkpoint.last_seq))
            .bind(kept(&slice.text).as_ref())
            .bind(slice.marks.as_str())
            .run()
            .await?;
    }
    ledger::write(conn, &checkpoint.ledger).await
}

/// A turn that is there but has another owner, or has been ended by one who took it over.
async fn why_not(conn: &mut Conn<'_>, tenant: &TenantId, id: TurnId) -> Result<StoreError, StoreError> {
    let row = conn
        .sql("SELECT 1 FROM turns WHERE id = $1 AND tenant = $2")
        .bind(blob(id.uuid()))
        .bind(tenant.as_str())
        .row()
        .await?;
    Ok(if row.is_some() { StoreError::Fenced } else { StoreError::NoTurn })
}

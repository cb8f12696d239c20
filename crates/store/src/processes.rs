//! Gateway processes: who lives, who is gone, and whose turns are whose.

use chat::{Peer, Roll, StoreError, TenantId, TurnId};

use crate::conn::Conn;
use crate::row::{signed, unsigned};

/// See [`chat::Maintenance::join`]. Only several processes need to know of each other.
pub(crate) async fn join(conn: &mut Conn<'_>, owner: &str) -> Result<u64, StoreError> {
    if !conn.is_postgres() {
        return Ok(0);
    }
    let mut row = conn
        .sql(
            "INSERT INTO processes (owner) VALUES ($1) ON CONFLICT (owner) DO UPDATE SET beats = processes.beats + 1 \
             RETURNING token",
        )
        .bind(owner)
        .one()
        .await?;
    Ok(unsigned(row.number()?))
}

/// See [`chat::Maintenance::renew`]: on PostgreSQL.
pub(crate) async fn renew(conn: &mut Conn<'_>, owner: &str) -> Result<Roll, StoreError> {
    let renewed = conn
        .sql("UPDATE processes SET beats = beats + 1, renewed_at = clock_timestamp() WHERE owner = $1")
        .bind(owner)
        .run()
        .await?;
    if renewed == 0 {
        return Err(StoreError::Fenced);
    }
    let rows = conn.sql("SELECT owner, beats FROM processes WHERE owner <> $1").bind(owner).rows().await?;
    let peer = |mut row: crate::conn::Row| Ok(Peer { owner: row.string()?, beats: unsigned(row.number()?) });
    let others = rows.into_iter().map(peer).collect::<Result<_, StoreError>>()?;
    let rows = conn
        .sql("SELECT id FROM turns WHERE owner = $1 AND open = 1 AND stop = 1")
        .bind(owner)
        .rows()
        .await?;
    let stop = rows.into_iter().map(|mut row| row.uuid().map(TurnId::from_uuid)).collect::<Result<_, _>>()?;
    Ok(Roll { stop, others })
}

/// See [`chat::Maintenance::take_over`].
pub(crate) async fn take_over(conn: &mut Conn<'_>, owner: &str, lapsed: &[Peer]) -> Result<u64, StoreError> {
    for peer in lapsed {
        // One that has said something since lives; one that another survivor has taken over is gone already.
        conn.sql("DELETE FROM processes WHERE owner = $1 AND beats = $2")
            .bind(peer.owner.as_str())
            .bind(signed(peer.beats))
            .run()
            .await?;
    }
    // Two that come here at the same time wait for each other, row by row: the second finds that the rows have a living owner.
    conn.sql(
        "UPDATE turns SET owner = $1 WHERE open = 1 AND owner <> $1 \
         AND NOT EXISTS (SELECT 1 FROM processes WHERE processes.owner = turns.owner)",
    )
    .bind(owner)
    .run()
    .await
}

/// See [`chat::Maintenance::open_turns`].
pub(crate) async fn open_turns(
    conn: &mut Conn<'_>,
    owner: Option<&str>,
) -> Result<Vec<(TenantId, TurnId)>, StoreError> {
    let rows = conn
        .sql("SELECT tenant, id FROM turns WHERE open = 1 AND owner = COALESCE($1, owner) ORDER BY id")
        .bind(owner)
        .rows()
        .await?;
    rows.into_iter().map(|mut row| Ok((row.name()?, TurnId::from_uuid(row.uuid()?)))).collect()
}

/// See [`chat::Maintenance::leave`].
pub(crate) async fn leave(conn: &mut Conn<'_>, owner: &str) -> Result<(), StoreError> {
    conn.sql("DELETE FROM processes WHERE owner = $1").bind(owner).run().await?;
    Ok(())
}

//! Keys that clients authenticate with, and the gateway's own secrets.

use chat::{KeyId, KeyRecord, NewKey, StoreError, Timestamp};

use crate::conn::{Conn, Row};
use crate::error::damaged;
use crate::row::{blob, json};

macro_rules! columns {
    () => {
        "id, name, hash, tenant, assistants, may, admin, expires_at, limits, created_at, revoked_at"
    };
}

/// Keeps a new key.
pub(crate) async fn create(
    conn: &mut Conn<'_>,
    id: KeyId,
    key: &NewKey,
    now: Timestamp,
) -> Result<KeyRecord, StoreError> {
    conn.sql(
        "INSERT INTO keys (id, name, hash, tenant, assistants, may, admin, expires_at, limits, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(blob(id.uuid()))
    .bind(key.name.as_str())
    .bind(key.hash.to_vec())
    .bind(key.tenant.as_str())
    .bind(key.assistants.as_ref().map(json).transpose()?)
    .bind(json(&key.may)?)
    .bind(i64::from(key.admin))
    .bind(key.expires_at.map(Timestamp::millis))
    .bind(key.limits.as_str())
    .bind(now.millis())
    .run()
    .await?;
    Ok(KeyRecord { id, key: key.clone(), created_at: now, revoked_at: None })
}

/// All keys, newest first.
pub(crate) async fn all(conn: &mut Conn<'_>) -> Result<Vec<KeyRecord>, StoreError> {
    let rows = conn
        .sql(concat!("SELECT ", columns!(), " FROM keys ORDER BY created_at DESC, id DESC"))
        .rows()
        .await?;
    rows.into_iter().map(read).collect()
}

/// Revokes a key, once.
pub(crate) async fn revoke(conn: &mut Conn<'_>, id: KeyId, now: Timestamp) -> Result<KeyRecord, StoreError> {
    conn.sql("UPDATE keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
        .bind(now.millis())
        .bind(blob(id.uuid()))
        .run()
        .await?;
    by_id(conn, id).await?.ok_or(StoreError::NoKey)
}

pub(crate) async fn by_id(conn: &mut Conn<'_>, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
    let row = conn
        .sql(concat!("SELECT ", columns!(), " FROM keys WHERE id = $1"))
        .bind(blob(id.uuid()))
        .row()
        .await?;
    row.map(read).transpose()
}

pub(crate) async fn by_hash(conn: &mut Conn<'_>, hash: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
    let row = conn
        .sql(concat!("SELECT ", columns!(), " FROM keys WHERE hash = $1"))
        .bind(hash.to_vec())
        .row()
        .await?;
    row.map(read).transpose()
}

fn read(mut row: Row) -> Result<KeyRecord, StoreError> {
    let id = KeyId::from_uuid(row.uuid()?);
    let key = NewKey {
        name: row.string()?,
        hash: bytes(&mut row)?,
        tenant: row.name()?,
        assistants: row.optional_json()?,
        may: row.json()?,
        admin: row.flag()?,
        expires_at: row.optional_time()?,
        limits: row.string()?,
    };
    Ok(KeyRecord { id, key, created_at: row.time()?, revoked_at: row.optional_time()? })
}

fn bytes(row: &mut Row) -> Result<[u8; 32], StoreError> {
    row.take::<Vec<u8>>()?.try_into().map_err(|_| damaged("a hash or secret that is not 32 bytes long"))
}

/// The secret of this name: `fresh` where there was none.
pub(crate) async fn secret(
    conn: &mut Conn<'_>,
    name: &str,
    fresh: &[u8; 32],
) -> Result<[u8; 32], StoreError> {
    conn.sql("INSERT INTO secrets (name, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(name)
        .bind(fresh.to_vec())
        .run()
        .await?;
    bytes(&mut conn.sql("SELECT secret FROM secrets WHERE name = $1").bind(name).one().await?)
}

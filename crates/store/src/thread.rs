//! Providers' threads: one per conversation, assistant and what the assistant points at.

use chat::{ConversationId, ProviderName, StoreError, StoredThread, TenantId, ThreadSeed, ThreadUpdate};

use crate::conn::{Conn, Row};
use crate::conversation::{self, Kept};
use crate::turn;

/// What [`claim`] leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A turn uses it: in doubt until the turn's end says otherwise.
    InDoubt,
    /// It is as sure as it was.
    Sure,
}

/// An assistant's thread; one that is in doubt, or of another provider, is replaced by the seed's.
pub(crate) async fn claim(
    conn: &mut Conn<'_>,
    conversation: i64,
    provider: &ProviderName,
    seed: &ThreadSeed,
    claim: Claim,
) -> Result<StoredThread, StoreError> {
    let mut row = conn
        .sql(
            "INSERT INTO threads (conversation, assistant, upstream_id, provider, thread_id, reached, in_doubt) \
             VALUES ($1, $2, $3, $4, $5, 0, $6) \
             ON CONFLICT (conversation, assistant, upstream_id) DO UPDATE SET \
             thread_id = CASE WHEN threads.in_doubt = 1 OR threads.provider <> excluded.provider \
                 THEN excluded.thread_id ELSE COALESCE(threads.thread_id, excluded.thread_id) END, \
             reached = CASE WHEN threads.in_doubt = 1 OR threads.provider <> excluded.provider \
                 THEN 0 ELSE threads.reached END, \
             told_position = CASE WHEN threads.in_doubt = 1 OR threads.provider <> excluded.provider \
                 THEN NULL ELSE threads.told_position END, \
             told_hash = CASE WHEN threads.in_doubt = 1 OR threads.provider <> excluded.provider \
                 THEN NULL ELSE threads.told_hash END, \
             provider = excluded.provider, in_doubt = excluded.in_doubt \
             RETURNING thread_id, reached, told_position, told_hash",
        )
        .bind(conversation)
        .bind(seed.assistant.as_str())
        .bind(seed.upstream_id.as_str())
        .bind(provider.as_str())
        .bind(seed.fresh_id.as_deref())
        .bind(i64::from(claim == Claim::InDoubt))
        .one()
        .await?;
    read(&mut row)
}

/// Keeps a thread that is known to reach so far: one that was adopted or read from upstream.
pub(crate) async fn adopt(
    conn: &mut Conn<'_>,
    conversation: i64,
    provider: &ProviderName,
    seed: &ThreadSeed,
    reached: i64,
) -> Result<(), StoreError> {
    conn.sql(
        "INSERT INTO threads (conversation, assistant, upstream_id, provider, thread_id, reached, in_doubt) \
         VALUES ($1, $2, $3, $4, $5, $6, 0) ON CONFLICT (conversation, assistant, upstream_id) DO UPDATE SET \
         provider = excluded.provider, thread_id = COALESCE(excluded.thread_id, threads.thread_id), \
         reached = excluded.reached, in_doubt = 0",
    )
    .bind(conversation)
    .bind(seed.assistant.as_str())
    .bind(seed.upstream_id.as_str())
    .bind(provider.as_str())
    .bind(seed.fresh_id.as_deref())
    .bind(reached)
    .run()
    .await?;
    Ok(())
}

/// Records how far a thread reaches.
pub(crate) async fn set(
    conn: &mut Conn<'_>,
    conversation: i64,
    provider: &ProviderName,
    (assistant, upstream_id): (&str, &str),
    update: &ThreadUpdate,
) -> Result<(), StoreError> {
    let done = match update {
        ThreadUpdate::Untouched | ThreadUpdate::InDoubt => conn
            .sql(
                "UPDATE threads SET in_doubt = $4 \
                 WHERE conversation = $1 AND assistant = $2 AND upstream_id = $3",
            )
            .bind(conversation)
            .bind(assistant)
            .bind(upstream_id)
            .bind(i64::from(*update == ThreadUpdate::InDoubt))
            .run(),
        ThreadUpdate::Reached { id, reached, told } => conn
            .sql(
                "INSERT INTO threads (conversation, assistant, upstream_id, provider, thread_id, reached, \
                 told_position, told_hash, in_doubt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) \
                 ON CONFLICT (conversation, assistant, upstream_id) DO UPDATE SET \
                 provider = excluded.provider, thread_id = excluded.thread_id, reached = excluded.reached, \
                 told_position = excluded.told_position, told_hash = excluded.told_hash, in_doubt = 0",
            )
            .bind(conversation)
            .bind(assistant)
            .bind(upstream_id)
            .bind(provider.as_str())
            .bind(id.as_str())
            .bind(*reached)
            .bind(told.map(|(position, _)| position))
            .bind(told.map(|(_, hash)| hash.cast_signed()))
            .run(),
    };
    done.await?;
    Ok(())
}

/// See [`chat::ConversationStore::conversation_of_thread`].
pub(crate) async fn holder(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    provider: &ProviderName,
    upstream_id: &str,
    thread: &str,
) -> Result<Option<ConversationId>, StoreError> {
    let rows = conn
        .sql(
            "SELECT c.tenant, c.id FROM threads t JOIN conversations c ON c.seq = t.conversation \
             WHERE t.thread_id = $1 AND t.provider = $2 AND t.upstream_id = $3 ORDER BY c.seq",
        )
        .bind(thread)
        .bind(provider.as_str())
        .bind(upstream_id)
        .rows()
        .await?;
    let taken = !rows.is_empty();
    for mut row in rows {
        if row.string()? == tenant.as_str() {
            return Ok(Some(ConversationId::from_uuid(row.uuid()?)));
        }
    }
    let others =
        taken || owner(conn, provider, upstream_id, thread).await?.is_some_and(|own| own != tenant.as_str());
    if others { Err(StoreError::NoConversation) } else { Ok(None) }
}

/// The tenant whose turn made a thread, or who adopted it, where that is known.
async fn owner(
    conn: &mut Conn<'_>,
    provider: &ProviderName,
    upstream_id: &str,
    thread: &str,
) -> Result<Option<String>, StoreError> {
    let row = conn
        .sql("SELECT tenant FROM thread_owners WHERE thread_id = $1 AND provider = $2 AND upstream_id = $3")
        .bind(thread)
        .bind(provider.as_str())
        .bind(upstream_id)
        .row()
        .await?;
    row.map(|mut row| row.string()).transpose()
}

/// See [`chat::ConversationStore::own_thread`].
pub(crate) async fn own(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    provider: &ProviderName,
    upstream_id: &str,
    thread: &str,
) -> Result<(), StoreError> {
    conn.sql(
        "INSERT INTO thread_owners (thread_id, provider, upstream_id, tenant) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (thread_id, provider, upstream_id) DO NOTHING",
    )
    .bind(thread)
    .bind(provider.as_str())
    .bind(upstream_id)
    .bind(tenant.as_str())
    .run()
    .await?;
    Ok(())
}

/// Refuses a thread that any conversation holds. On PostgreSQL nobody else can adopt it until the transaction ends; a SQLite
/// file has one writer anyway.
pub(crate) async fn must_be_free(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    provider: &ProviderName,
    seed: &ThreadSeed,
) -> Result<(), StoreError> {
    let Some(id) = &seed.fresh_id else { return Ok(()) };
    if conn.is_postgres() {
        conn.sql("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(format!("{provider}\n{}\n{id}", seed.upstream_id))
            .run()
            .await?;
    }
    match holder(conn, tenant, provider, &seed.upstream_id, id).await? {
        Some(_) => Err(StoreError::NoConversation),
        None => own(conn, tenant, provider, &seed.upstream_id, id).await,
    }
}

/// See [`chat::ConversationStore::thread`].
pub(crate) async fn outside_turns(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
    seed: &ThreadSeed,
) -> Result<StoredThread, StoreError> {
    let kept = conversation::locked(conn, tenant, id).await?;
    if let Some(running) = turn::open(conn, kept.seq).await?.first() {
        return Err(StoreError::Busy { running: *running });
    }
    claim(conn, kept.seq, &kept.conversation.provider, seed, Claim::Sure).await
}

/// See [`chat::ConversationStore::reach_thread`].
pub(crate) async fn reach(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
    seed: &ThreadSeed,
    update: &ThreadUpdate,
) -> Result<(), StoreError> {
    let Kept { seq, conversation, .. } = conversation::locked(conn, tenant, id).await?;
    let of = (seed.assistant.as_str(), seed.upstream_id.as_str());
    set(conn, seq, &conversation.provider, of, update).await?;
    if seed.assistant == conversation.assistant {
        show(conn, seq, update).await?;
    }
    Ok(())
}

/// Shows an assistant's thread as its conversation's upstream id; only for the assistant that the conversation is with.
pub(crate) async fn show(
    conn: &mut Conn<'_>,
    conversation: i64,
    update: &ThreadUpdate,
) -> Result<(), StoreError> {
    let shown = match update {
        ThreadUpdate::Untouched => return Ok(()),
        ThreadUpdate::Reached { id, .. } => Some(id.as_str()),
        ThreadUpdate::InDoubt => None,
    };
    conn.sql("UPDATE conversations SET upstream_id = $1 WHERE seq = $2")
        .bind(shown)
        .bind(conversation)
        .run()
        .await?;
    Ok(())
}

fn read(row: &mut Row) -> Result<StoredThread, StoreError> {
    let id = row.optional_string()?;
    let reached = row.number()?;
    let told = row.optional_number()?.zip(row.optional_number()?);
    Ok(StoredThread { id, reached, told: told.map(|(position, hash)| (position, hash.cast_unsigned())) })
}

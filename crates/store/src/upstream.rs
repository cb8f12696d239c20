//! Taking in what was said upstream.

use std::collections::HashSet;

use chat::{ConversationId, NewMessage, StoreError, TenantId, ThreadSeed};

use crate::conn::{Conn, plain};
use crate::message::{self, POSITIONS, base, place};
use crate::{conversation, thread, turn};

/// See [`chat::ConversationStore::put_upstream_messages`].
pub(crate) async fn put(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
    seed: &ThreadSeed,
    messages: &[NewMessage],
) -> Result<u64, StoreError> {
    let mut kept = conversation::locked(conn, tenant, id).await?;
    if let Some(running) = turn::open(conn, kept.seq).await?.first() {
        return Err(StoreError::Busy { running: *running });
    }
    let mut known = known(conn, kept.seq).await?;
    let mut added = 0_u64;
    for new in messages {
        if let Some(upstream) = &new.upstream_message_id
            // As the column has it, or it would be new each time.
            && !known.insert(if conn.is_postgres() { plain(upstream).into_owned() } else { upstream.clone() })
        {
            continue;
        }
        let position = kept.next_position;
        message::insert(conn, place(kept.seq, position), None, new).await?;
        kept.add(position, &new.content.text(), new.created_at);
        added = added.saturating_add(1);
    }
    if added > 0 {
        // All that is here is there, too: the thread reaches to the last.
        let reached = kept.next_position.saturating_sub(1);
        let provider = kept.conversation.provider.clone();
        thread::adopt(conn, kept.seq, &provider, seed, reached).await?;
        if seed.assistant == kept.conversation.assistant && seed.fresh_id.is_some() {
            kept.conversation.upstream_conversation_id.clone_from(&seed.fresh_id);
        }
        conversation::update(conn, &kept).await?;
    }
    Ok(added)
}

/// The upstream's ids of the messages that are there.
async fn known(conn: &mut Conn<'_>, conversation: i64) -> Result<HashSet<String>, StoreError> {
    let rows = conn
        .sql(
            "SELECT upstream_message_id FROM messages \
             WHERE place > $1 AND place < $2 AND upstream_message_id IS NOT NULL",
        )
        .bind(base(conversation))
        .bind(base(conversation).saturating_add(POSITIONS))
        .rows()
        .await?;
    rows.into_iter().map(|mut row| row.string()).collect()
}

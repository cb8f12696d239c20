//! Copying a conversation.

use chat::{
    Conversation, ConversationId, Fork, Idempotency, MessageId, NewConversation, NewMessage, StoreError,
    TenantId,
};

use crate::conn::Conn;
use crate::conversation;
use crate::idempotency::{self, Claimed};
use crate::message;

/// See [`chat::ConversationStore::fork`].
pub(crate) async fn fork(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    fork: &Fork,
    key: Option<&Idempotency>,
) -> Result<Conversation, StoreError> {
    if let Some(key) = key {
        let subject = (fork.id.uuid(), Some(fork.id));
        if let Claimed::Before(made) = idempotency::claim(conn, tenant, key, subject, fork.created_at).await?
        {
            let id = ConversationId::from_uuid(made.subject);
            return Ok(conversation::find(conn, tenant, id).await?.conversation);
        }
    }
    let from = conversation::locked(conn, tenant, fork.from).await?;
    let end = match fork.up_to {
        Some(id) => {
            let last = message::by_id(conn, from.ids(), id).await?.ok_or(StoreError::NoMessage)?;
            last.position.saturating_add(1)
        }
        None => message::POSITIONS,
    };
    let messages = message::between(conn, from.ids(), (0, end), false, message::POSITIONS).await?;
    let copies = messages.into_iter().map(|message| NewMessage {
        id: MessageId::new(),
        role: message.role,
        author: message.author,
        content: message.content,
        sources: message.sources,
        status: message.status,
        created_at: message.created_at,
        // The copy has no thread, so nothing of it is ever fetched from upstream.
        upstream_message_id: None,
    });
    let original = from.conversation;
    let new = NewConversation {
        id: fork.id,
        assistant: original.assistant,
        provider: original.provider,
        user: original.user,
        title: original.title,
        metadata: original.metadata,
        created_at: fork.created_at,
        messages: copies.collect(),
        thread: None,
    };
    let mut kept = conversation::begun(&new);
    conversation::insert(conn, tenant, &new, &mut kept).await?;
    Ok(kept.conversation)
}

//! Conversations as rows.

use chat::{
    AssistantName, Conversation, ConversationChange, ConversationId, Idempotency, Message, NewConversation,
    NewMessage, ProviderName, StoreError, TenantId, Timestamp, TurnId, UserId,
};

use crate::conn::{Both, Conn, Row};
use crate::idempotency::{self, Claimed};
use crate::row::{blob, json, kept, signed, unkept, unsigned};
use crate::{message, search, thread, turn};

macro_rules! columns {
    () => {
        "c.seq, c.next_position, c.preview_position, c.id, c.assistant, c.provider, c.user_id, c.title, c.metadata, \
         c.message_count, c.preview, c.created_at, c.updated_at, c.upstream_id"
    };
}
pub(crate) use columns;

/// The columns that [`read`] reads.
pub(crate) const COLUMNS: &str = columns!();

/// A conversation and what only the store knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Its number in this store.
    pub(crate) seq: i64,
    /// The position that the next message gets.
    pub(crate) next_position: i64,
    /// The position of the message that the preview shows.
    pub(crate) preview_position: i64,
    /// What clients see.
    pub(crate) conversation: Conversation,
}

impl Kept {
    /// Its number and its id.
    pub(crate) fn ids(&self) -> (i64, ConversationId) {
        (self.seq, self.conversation.id)
    }

    /// Takes note of a message that now stands at a position.
    pub(crate) fn add(&mut self, position: i64, text: &str, now: Timestamp) {
        let conversation = &mut self.conversation;
        conversation.message_count = conversation.message_count.saturating_add(1);
        conversation.updated_at = conversation.updated_at.max(now);
        if position >= self.preview_position {
            self.preview_position = position;
            conversation.preview = Some(Conversation::preview_of(text));
        }
        self.next_position = self.next_position.max(position.saturating_add(1));
    }
}

/// Reads [`COLUMNS`].
pub(crate) fn read(row: &mut Row) -> Result<Kept, StoreError> {
    Ok(Kept {
        seq: row.number()?,
        next_position: row.number()?,
        preview_position: row.number()?,
        conversation: Conversation {
            id: ConversationId::from_uuid(row.uuid()?),
            object: Conversation::OBJECT,
            assistant: row.name()?,
            provider: row.name()?,
            user: row.optional_name()?,
            title: row.optional_string()?,
            metadata: row.json()?,
            message_count: unsigned(row.number()?),
            preview: row.optional_string()?.map(unkept),
            created_at: row.time()?,
            updated_at: row.time()?,
            upstream_conversation_id: row.optional_string()?,
        },
    })
}

/// A tenant's conversation.
pub(crate) async fn find(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
) -> Result<Kept, StoreError> {
    let row = conn
        .sql(concat!("SELECT ", columns!(), " FROM conversations c WHERE c.id = $1 AND c.tenant = $2"))
        .bind(blob(id.uuid()))
        .bind(tenant.as_str())
        .row()
        .await?;
    row.map(|mut row| read(&mut row)).transpose()?.ok_or(StoreError::NoConversation)
}

/// A tenant's conversation, which nobody else changes until the transaction ends.
pub(crate) async fn locked(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
) -> Result<Kept, StoreError> {
    const SQL: Both = Both {
        sqlite: concat!("SELECT ", columns!(), " FROM conversations c WHERE c.id = $1 AND c.tenant = $2"),
        postgres: concat!(
            "SELECT ",
            columns!(),
            " FROM conversations c WHERE c.id = $1 AND c.tenant = $2 FOR UPDATE"
        ),
    };
    let row = conn.own(SQL).bind(blob(id.uuid())).bind(tenant.as_str()).row().await?;
    row.map(|mut row| read(&mut row)).transpose()?.ok_or(StoreError::NoConversation)
}

/// The same by its number.
pub(crate) async fn locked_seq(conn: &mut Conn<'_>, seq: i64) -> Result<Kept, StoreError> {
    const SQL: Both = Both {
        sqlite: concat!("SELECT ", columns!(), " FROM conversations c WHERE c.seq = $1"),
        postgres: concat!("SELECT ", columns!(), " FROM conversations c WHERE c.seq = $1 FOR UPDATE"),
    };
    let row = conn.own(SQL).bind(seq).row().await?;
    row.map(|mut row| read(&mut row)).transpose()?.ok_or(StoreError::NoConversation)
}

/// Writes what turns and messages change.
pub(crate) async fn update(conn: &mut Conn<'_>, kept: &Kept) -> Result<(), StoreError> {
    let conversation = &kept.conversation;
    conn.sql(
        "UPDATE conversations SET assistant = $1, provider = $2, user_id = $3, message_count = $4, preview = $5, \
         preview_position = $6, next_position = $7, updated_at = $8, upstream_id = $9 WHERE seq = $10",
    )
    .bind(conversation.assistant.as_str())
    .bind(conversation.provider.as_str())
    .bind(conversation.user.as_ref().map(UserId::as_str))
    .bind(signed(conversation.message_count))
    .bind(conversation.preview.as_deref().map(self::kept_preview))
    .bind(kept.preview_position)
    .bind(kept.next_position)
    .bind(conversation.updated_at.millis())
    .bind(conversation.upstream_conversation_id.as_deref())
    .bind(kept.seq)
    .run()
    .await?;
    Ok(())
}

fn kept_preview(preview: &str) -> String {
    kept(preview).into_owned()
}

/// A conversation as it is with the messages that it begins with, before it has a number.
pub(crate) fn begun(new: &NewConversation) -> Kept {
    let mut kept = Kept { seq: 0, next_position: 1, preview_position: 0, conversation: as_asked(new) };
    for (position, message) in (1..).zip(&new.messages) {
        kept.add(position, &message.content.text(), new.created_at);
    }
    kept
}

/// Inserts a conversation as it is with its first messages and its thread, and gives it its number.
pub(crate) async fn insert(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    new: &NewConversation,
    kept: &mut Kept,
) -> Result<(), StoreError> {
    const INSERT: Both = Both {
        sqlite: "INSERT INTO conversations (id, tenant, assistant, provider, user_id, title, metadata, message_count, \
                 preview, preview_position, next_position, created_at, updated_at, upstream_id) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING seq",
        postgres: "INSERT INTO conversations (id, tenant, assistant, provider, user_id, title, metadata, message_count, \
                   preview, preview_position, next_position, created_at, updated_at, upstream_id, title_words) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, array_to_tsvector($15)) \
                   RETURNING seq",
    };
    let conversation = &kept.conversation;
    let mut row = conn
        .own(INSERT)
        .bind(blob(new.id.uuid()))
        .bind(tenant.as_str())
        .bind(conversation.assistant.as_str())
        .bind(conversation.provider.as_str())
        .bind(conversation.user.as_ref().map(UserId::as_str))
        .bind(new.title.as_deref())
        .bind(json(&new.metadata)?)
        .bind(signed(conversation.message_count))
        .bind(conversation.preview.as_deref().map(kept_preview))
        .bind(kept.preview_position)
        .bind(kept.next_position)
        .bind(new.created_at.millis())
        .bind(conversation.updated_at.millis())
        .bind(conversation.upstream_conversation_id.as_deref())
        .bind_postgres(|| search::words_of(new.title.as_deref().unwrap_or_default()))
        .one()
        .await?;
    kept.seq = row.number()?;
    if new.title.is_some() {
        search::add_title(conn, kept.seq).await?;
    }
    message::insert_all(conn, message::place(kept.seq, 1), &new.messages).await?;
    if let Some(seed) = &new.thread {
        let reached = i64::try_from(new.messages.len()).unwrap_or(i64::MAX);
        thread::adopt(conn, kept.seq, &new.provider, seed, reached).await?;
    }
    Ok(())
}

fn as_asked(new: &NewConversation) -> Conversation {
    Conversation {
        id: new.id,
        object: Conversation::OBJECT,
        assistant: new.assistant.clone(),
        provider: new.provider.clone(),
        user: new.user.clone(),
        title: new.title.clone(),
        metadata: new.metadata.clone(),
        message_count: 0,
        preview: None,
        created_at: new.created_at,
        updated_at: new.created_at,
        upstream_conversation_id: new.thread.as_ref().and_then(|seed| seed.fresh_id.clone()),
    }
}

/// See [`chat::ConversationStore::create_conversation`].
pub(crate) async fn create(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    new: &NewConversation,
    key: Option<&Idempotency>,
) -> Result<Conversation, StoreError> {
    if let Some(key) = key {
        let subject = (new.id.uuid(), Some(new.id));
        if let Claimed::Before(made) = idempotency::claim(conn, tenant, key, subject, new.created_at).await? {
            return Ok(find(conn, tenant, ConversationId::from_uuid(made.subject)).await?.conversation);
        }
    }
    if let Some(seed) = &new.thread {
        thread::must_be_free(conn, tenant, &new.provider, seed).await?;
    }
    let mut kept = begun(new);
    insert(conn, tenant, new, &mut kept).await?;
    Ok(kept.conversation)
}

/// See [`chat::ConversationStore::change_conversation`].
pub(crate) async fn change(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
    change: &ConversationChange,
    now: Timestamp,
) -> Result<Conversation, StoreError> {
    const UPDATE: Both = Both {
        sqlite: "UPDATE conversations SET title = $1, metadata = $2, updated_at = $3 WHERE seq = $4",
        postgres: "UPDATE conversations SET title = $1, metadata = $2, updated_at = $3, \
                   title_words = array_to_tsvector($5) WHERE seq = $4",
    };
    let Kept { seq, mut conversation, .. } = locked(conn, tenant, id).await?;
    let renamed = change.title.as_ref().is_some_and(|title| *title != conversation.title);
    if let Some(title) = &change.title {
        conversation.title.clone_from(title);
    }
    if renamed {
        search::take_title(conn, seq).await?;
    }
    if let Some(metadata) = &change.metadata {
        conversation.metadata = metadata.clone().unwrap_or_default();
    }
    conversation.updated_at = conversation.updated_at.max(now);
    conn.own(UPDATE)
        .bind(conversation.title.as_deref())
        .bind(json(&conversation.metadata)?)
        .bind(conversation.updated_at.millis())
        .bind(seq)
        .bind_postgres(|| search::words_of(conversation.title.as_deref().unwrap_or_default()))
        .run()
        .await?;
    if renamed {
        search::add_title(conn, seq).await?;
    }
    Ok(conversation)
}

/// See [`chat::ConversationStore::put_message`].
pub(crate) async fn put_message(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
    new: &NewMessage,
    key: Option<&Idempotency>,
) -> Result<Message, StoreError> {
    let mut kept = locked(conn, tenant, id).await?;
    if let Some(key) = key {
        let subject = (new.id.uuid(), Some(id));
        if let Claimed::Before(made) = idempotency::claim(conn, tenant, key, subject, new.created_at).await? {
            let made = message::by_id(conn, kept.ids(), chat::MessageId::from_uuid(made.subject)).await?;
            return made.ok_or(StoreError::NoMessage);
        }
    }
    let position = kept.next_position;
    let place = message::place(kept.seq, position);
    message::insert(conn, place, None, new).await?;
    kept.add(position, &new.content.text(), new.created_at);
    update(conn, &kept).await?;
    message::at(conn, id, place).await?.ok_or(StoreError::NoMessage)
}

/// See [`chat::ConversationStore::conversations_of_user`].
pub(crate) async fn of_user(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    user: &UserId,
) -> Result<Vec<(ConversationId, AssistantName)>, StoreError> {
    let rows = conn
        .sql("SELECT id, assistant FROM conversations WHERE tenant = $1 AND user_id = $2 ORDER BY updated_at DESC")
        .bind(tenant.as_str())
        .bind(user.as_str())
        .rows()
        .await?;
    rows.into_iter().map(|mut row| Ok((ConversationId::from_uuid(row.uuid()?), row.name()?))).collect()
}

/// See [`chat::ConversationStore::running_turns`].
pub(crate) async fn running(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
) -> Result<Vec<TurnId>, StoreError> {
    let kept = find(conn, tenant, id).await?;
    turn::open(conn, kept.seq).await
}

/// Moves the conversation to an assistant.
pub(crate) fn move_to(kept: &mut Kept, assistant: &AssistantName, provider: &ProviderName) {
    let conversation = &mut kept.conversation;
    if conversation.assistant != *assistant {
        conversation.assistant = assistant.clone();
        conversation.upstream_conversation_id = None;
    }
    conversation.provider = provider.clone();
}

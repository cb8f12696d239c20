//! Recording the end of a turn, once.

use chat::{
    AssistantName, MessageId, MessageStatus, NewMessage, ProviderName, Role, StoreError, TenantId,
    ThreadUpdate, Timestamp, TurnEnd, TurnStatus,
};

use crate::conn::{Both, Conn};
use crate::conversation::{self, Kept, columns};
use crate::message::{self, place, position};
use crate::row::{blob, json, kept};
use crate::thread;
use crate::turn::Detail;
use crate::{idempotency, ledger};

/// What came of it. Where the turn is gone its ledger rows are written all the same, so this is no error yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Recorded,
    Gone,
}

/// The turn as it stood.
struct Running {
    open: bool,
    owner: String,
    position: i64,
    asked: (AssistantName, ProviderName),
    thread_upstream_id: Option<String>,
    reply_id: MessageId,
    idempotency_key: Option<String>,
    slices: i64,
}

/// See [`chat::ConversationStore::end_turn`].
pub(crate) async fn end(conn: &mut Conn<'_>, tenant: &TenantId, end: &TurnEnd) -> Result<Ended, StoreError> {
    let Some((kept, running)) = find(conn, tenant, end).await? else {
        ledger::write(conn, &end.ledger).await?;
        return Ok(Ended::Gone);
    };
    // Also where it has ended: whoever took it over gave it another end than this one.
    if running.owner != end.owner {
        return Err(StoreError::Fenced);
    }
    if !running.open {
        return Ok(Ended::Recorded);
    }
    let conversation = kept.seq;
    let replied = write_messages(conn, kept, &running, end).await?;
    write_turn(conn, end, replied).await?;
    if let Some(upstream_id) = &running.thread_upstream_id {
        let (assistant, provider) = &running.asked;
        let of = (assistant.as_str(), upstream_id.as_str());
        thread::set(conn, conversation, provider, of, &end.thread).await?;
    }
    if running.slices > 0 {
        conn.sql("DELETE FROM turn_slices WHERE turn_id = $1").bind(blob(end.turn.id.uuid())).run().await?;
    }
    if let Some(key) = running.idempotency_key.filter(|_| end.free_idempotency) {
        idempotency::free(conn, tenant, &key, end.turn.id).await?;
    }
    ledger::write(conn, &end.ledger).await?;
    Ok(Ended::Recorded)
}

/// The turn and its conversation, both of which nobody else changes until the transaction ends.
async fn find(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    end: &TurnEnd,
) -> Result<Option<(Kept, Running)>, StoreError> {
    macro_rules! select {
        () => {
            concat!(
                "SELECT ",
                columns!(),
                ", t.open, t.owner, t.place, t.asked_assistant, t.asked_provider, t.thread_upstream_id, \
                 t.reply_id, t.idempotency_key, t.slices FROM turns t \
                 JOIN conversations c ON c.seq = t.conversation WHERE t.id = $1 AND t.tenant = $2"
            )
        };
    }
    const SQL: Both = Both { sqlite: select!(), postgres: concat!(select!(), " FOR UPDATE") };
    let row = conn.own(SQL).bind(blob(end.turn.id.uuid())).bind(tenant.as_str()).row().await?;
    let Some(mut row) = row else { return Ok(None) };
    let kept = conversation::read(&mut row)?;
    let running = Running {
        open: row.flag()?,
        owner: row.string()?,
        position: position(row.number()?),
        asked: (row.name()?, row.name()?),
        thread_upstream_id: row.optional_string()?,
        reply_id: MessageId::from_uuid(row.uuid()?),
        idempotency_key: row.optional_string()?,
        slices: row.number()?,
    };
    Ok(Some((kept, running)))
}

/// The reply, the user's message where it came to nothing, and what the conversation shows of them. Says whether there is a
/// reply.
async fn write_messages(
    conn: &mut Conn<'_>,
    mut kept: Kept,
    running: &Running,
    end: &TurnEnd,
) -> Result<bool, StoreError> {
    let turn = &end.turn;
    let conversation = kept.seq;
    let now = turn.completed_at.unwrap_or(turn.created_at);
    if turn.status == TurnStatus::Failed {
        let place = place(conversation, running.position);
        message::set_status(conn, place, MessageStatus::Failed).await?;
    }
    let reply = turn.message.as_ref().filter(|message| !message.content.parts.is_empty());
    if let Some(reply) = reply {
        let position = running.position.saturating_add(1);
        let message = NewMessage {
            id: running.reply_id,
            role: Role::Assistant,
            author: Role::Assistant.as_str().to_owned(),
            content: reply.content.clone(),
            sources: turn.sources.clone(),
            status: reply_status(turn.status),
            created_at: reply.created_at,
            upstream_message_id: turn.upstream.message_id.clone(),
        };
        message::insert(conn, place(conversation, position), Some(turn.id), &message).await?;
        kept.add(position, &message.content.text(), now);
    }
    kept.conversation.updated_at = kept.conversation.updated_at.max(now);
    if kept.conversation.assistant == running.asked.0 && running.thread_upstream_id.is_some() {
        match &end.thread {
            ThreadUpdate::Untouched => {}
            ThreadUpdate::Reached { id, .. } => {
                kept.conversation.upstream_conversation_id = Some(id.clone());
            }
            ThreadUpdate::InDoubt => kept.conversation.upstream_conversation_id = None,
        }
    }
    conversation::update(conn, &kept).await?;
    Ok(reply.is_some())
}

fn reply_status(turn: TurnStatus) -> MessageStatus {
    match turn {
        TurnStatus::Completed => MessageStatus::Completed,
        TurnStatus::Cancelled => MessageStatus::Cancelled,
        TurnStatus::Failed => MessageStatus::Failed,
        TurnStatus::Incomplete | TurnStatus::Queued | TurnStatus::InProgress => MessageStatus::Incomplete,
    }
}

async fn write_turn(conn: &mut Conn<'_>, end: &TurnEnd, replied: bool) -> Result<(), StoreError> {
    let turn = &end.turn;
    let log_text = if end.log_text_is_reply && replied { None } else { Some(kept(&end.log.text)) };
    conn.sql(
        "UPDATE turns SET status = $1, open = 0, assistant = $2, provider = $3, completed_at = $4, detail = $5, \
         log_marks = $6, log_text = $7, request = '', in_flight = '[]', attempts = '', upstream = '' \
         WHERE id = $8",
    )
    .bind(turn.status.as_str())
    .bind(turn.assistant.as_str())
    .bind(turn.provider.as_str())
    .bind(turn.completed_at.map(Timestamp::millis))
    .bind(json(&Detail::of(turn, replied))?)
    .bind(end.log.marks.as_str())
    .bind(log_text.as_deref())
    .bind(blob(turn.id.uuid()))
    .run()
    .await?;
    Ok(())
}

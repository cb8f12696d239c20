//! Turns as rows, and how one is read back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use chat::{
    AssistantName, Attempt, ConversationId, Emulated, EventLog, FinishReason, KeyId, LogSlice, MessageId,
    ProviderName, Source, StoreError, StoredTurn, TenantId, Turn, TurnError, TurnId, TurnMessage, TurnNews,
    TurnStatus, Unsettled, UpstreamIds, Usage, UserId,
};

use crate::conn::{Conn, Row};
use crate::error::damaged;
use crate::row::{blob, parsed, signed, unkept, unsigned};
use crate::{ledger, message};

/// What a turn that has ended says beside its columns and its reply.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Detail {
    model: Option<String>,
    finish_reason: Option<FinishReason>,
    usage: Option<Usage>,
    emulated: Vec<Emulated>,
    attempts: Vec<Attempt>,
    upstream: UpstreamIds,
    error: Option<TurnError>,
    /// Not a part of the error's own JSON.
    retry_after: Option<u64>,
    /// Where there is no reply to keep them with.
    sources: Vec<Source>,
}

impl Detail {
    pub(crate) fn of(turn: &Turn, replied: bool) -> Self {
        Self {
            model: turn.model.clone(),
            finish_reason: turn.finish_reason,
            usage: turn.usage.clone(),
            emulated: turn.emulated.clone(),
            attempts: turn.attempts.clone(),
            upstream: turn.upstream.clone(),
            error: turn.error.clone(),
            retry_after: turn.error.as_ref().and_then(|error| error.retry_after),
            sources: if replied { Vec::new() } else { turn.sources.clone() },
        }
    }

    fn onto(self, turn: &mut Turn) {
        turn.model = self.model;
        turn.finish_reason = self.finish_reason;
        turn.usage = self.usage;
        turn.emulated = self.emulated;
        turn.attempts = self.attempts;
        turn.upstream = self.upstream;
        turn.error = self.error.map(|error| TurnError { retry_after: self.retry_after, ..error });
        turn.sources = self.sources;
    }
}

/// What a checkpoint's `upstream` says beside the ids: `{"request_id", "conversation_id", "message_id", "model", "usage"}`,
/// each of which may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SoFar {
    model: Option<String>,
    usage: Option<Usage>,
}

/// The turns that run or wait in a conversation, in order.
pub(crate) async fn open(conn: &mut Conn<'_>, conversation: i64) -> Result<Vec<TurnId>, StoreError> {
    let rows = conn
        .sql("SELECT id FROM turns WHERE conversation = $1 AND open = 1 ORDER BY place")
        .bind(conversation)
        .rows()
        .await?;
    rows.into_iter().map(|mut row| row.uuid().map(TurnId::from_uuid)).collect()
}

/// A turn's row.
struct Kept {
    stored: StoredTurn,
    key: KeyId,
    conversation: ConversationId,
    place: i64,
    in_flight: String,
    attempts: String,
    upstream: String,
    detail: Option<String>,
    log_marks: Option<String>,
    log_text: Option<String>,
}

/// See [`chat::ConversationStore::turn`].
pub(crate) async fn find(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: TurnId,
) -> Result<StoredTurn, StoreError> {
    Ok(load(conn, tenant, id).await?.stored)
}

/// See [`chat::Maintenance::unsettled`].
pub(crate) async fn unsettled(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: TurnId,
) -> Result<Option<Unsettled>, StoreError> {
    let kept = match load(conn, tenant, id).await {
        Ok(kept) if !kept.stored.turn.status.is_end() => kept,
        Ok(_) | Err(StoreError::NoTurn) => return Ok(None),
        Err(error) => return Err(error),
    };
    let in_flight = ledger::from_json(&kept.in_flight, id)?;
    let Kept { stored, key, .. } = kept;
    Ok(Some(Unsettled { tenant: tenant.clone(), stored, key, in_flight }))
}

/// See [`chat::ConversationStore::turn_news`].
pub(crate) async fn news(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: TurnId,
    after: u64,
) -> Result<TurnNews, StoreError> {
    let mut row = conn
        .sql("SELECT status, reserved_seq FROM turns WHERE id = $1 AND tenant = $2")
        .bind(blob(id.uuid()))
        .bind(tenant.as_str())
        .row()
        .await?
        .ok_or(StoreError::NoTurn)?;
    let (status, reserved_seq) = (row.word()?, unsigned(row.number()?));
    let rows = conn
        .sql("SELECT number, text, marks FROM turn_slices WHERE turn_id = $1 AND number > $2 ORDER BY number")
        .bind(blob(id.uuid()))
        .bind(signed(after))
        .rows()
        .await?;
    let slice =
        |mut row: Row| Ok((unsigned(row.number()?), LogSlice { text: row.text()?, marks: row.string()? }));
    let slices = rows.into_iter().map(slice).collect::<Result<_, StoreError>>()?;
    Ok(TurnNews { status, slices, reserved_seq })
}

/// See [`chat::ConversationStore::wish_stop`].
pub(crate) async fn wish_stop(conn: &mut Conn<'_>, tenant: &TenantId, id: TurnId) -> Result<(), StoreError> {
    let found = conn
        .sql("UPDATE turns SET stop = CASE WHEN open = 1 THEN 1 ELSE stop END WHERE id = $1 AND tenant = $2")
        .bind(blob(id.uuid()))
        .bind(tenant.as_str())
        .run()
        .await?;
    if found == 0 { Err(StoreError::NoTurn) } else { Ok(()) }
}

async fn load(conn: &mut Conn<'_>, tenant: &TenantId, id: TurnId) -> Result<Kept, StoreError> {
    let row = conn
        .sql(
            "SELECT t.status, t.queued, t.owner, t.asked_assistant, t.asked_provider, t.assistant, t.provider, \
             t.reply_id, t.created_at, t.completed_at, t.reserved_seq, t.metadata, t.in_flight, t.attempts, \
             t.upstream, t.detail, t.log_marks, t.log_text, t.place, t.key_id, c.id, c.user_id \
             FROM turns t JOIN conversations c ON c.seq = t.conversation WHERE t.id = $1 AND t.tenant = $2",
        )
        .bind(blob(id.uuid()))
        .bind(tenant.as_str())
        .row()
        .await?;
    let mut kept = read(row.ok_or(StoreError::NoTurn)?, id)?;
    if kept.stored.turn.status.is_end() {
        ended(conn, &mut kept).await?;
    } else {
        running(conn, &mut kept).await?;
    }
    Ok(kept)
}

fn read(mut row: Row, id: TurnId) -> Result<Kept, StoreError> {
    let status: TurnStatus = row.word()?;
    let (queued, owner) = (row.flag()?, row.string()?);
    let asked: (AssistantName, ProviderName) = (row.name()?, row.name()?);
    let answered = (row.name()?, row.name()?);
    let reply_id = MessageId::from_uuid(row.uuid()?);
    let mut turn = Turn::accepted(id, status, row.time()?, None, answered);
    turn.completed_at = row.optional_time()?;
    let reserved_seq = unsigned(row.number()?);
    turn.metadata = row.json()?;
    let (in_flight, attempts, upstream) = (row.string()?, row.string()?, row.string()?);
    let (detail, log_marks) = (row.optional_string()?, row.optional_string()?);
    let log_text = row.optional_string()?.map(unkept);
    let place = row.number()?;
    let key = KeyId::from_uuid(row.uuid()?);
    let conversation = ConversationId::from_uuid(row.uuid()?);
    let user: Option<UserId> = row.optional_name()?;
    turn.conversation_id = Some(conversation);
    let position = message::position(place);
    let stored =
        StoredTurn { turn, asked, queued, log: Vec::new(), reserved_seq, position, reply_id, owner, user };
    Ok(Kept { stored, key, conversation, place, in_flight, attempts, upstream, detail, log_marks, log_text })
}

/// Adds the reply, which stands with the messages, and the log.
async fn ended(conn: &mut Conn<'_>, kept: &mut Kept) -> Result<(), StoreError> {
    let turn = &mut kept.stored.turn;
    if let Some(detail) = &kept.detail {
        parsed::<Detail>(detail)?.onto(turn);
    }
    let reply = message::at(conn, kept.conversation, kept.place.saturating_add(1)).await?;
    let mut reply_text = String::new();
    if let Some(reply) = reply.filter(|reply| reply.turn_id == Some(turn.id)) {
        if kept.log_text.is_none() {
            reply_text = reply.content.text().into_owned();
        }
        turn.sources = reply.sources;
        turn.message =
            Some(TurnMessage { id: reply.id, content: reply.content, created_at: reply.created_at });
    }
    let text = kept.log_text.take().unwrap_or(reply_text);
    let marks = kept.log_marks.take().unwrap_or_default();
    kept.stored.log = vec![LogSlice { text, marks }];
    Ok(())
}

/// Adds what the checkpoints kept.
async fn running(conn: &mut Conn<'_>, kept: &mut Kept) -> Result<(), StoreError> {
    let turn = &mut kept.stored.turn;
    if !kept.attempts.is_empty() {
        turn.attempts = parsed(&kept.attempts)?;
    }
    if !kept.upstream.is_empty() {
        turn.upstream = parsed(&kept.upstream)?;
        let so_far: SoFar = parsed(&kept.upstream)?;
        (turn.model, turn.usage) = (so_far.model, so_far.usage);
    }
    let rows = conn
        .sql("SELECT text, marks FROM turn_slices WHERE turn_id = $1 ORDER BY number")
        .bind(blob(turn.id.uuid()))
        .rows()
        .await?;
    let slices: Vec<LogSlice> = rows
        .into_iter()
        .map(|mut row| Ok(LogSlice { text: row.text()?, marks: row.string()? }))
        .collect::<Result<_, StoreError>>()?;
    let pieces = slices.iter().map(|slice| (slice.text.as_str(), slice.marks.as_str()));
    let log = EventLog::restore(pieces, &Arc::new(turn.clone()), None).map_err(damaged)?;
    turn.sources = log.sources().to_vec();
    let content = log.content();
    if !content.parts.is_empty() {
        turn.message = Some(TurnMessage { id: kept.stored.reply_id, content, created_at: turn.created_at });
    }
    kept.stored.log = slices;
    Ok(())
}

//! Accepting a turn, and beginning one that has waited.

use chat::{
    Acceptance, Accepted, ConversationId, Message, NewConversation, NewTurn, ProviderName, StoreError,
    StoredThread, TenantId, ThreadSeed, TurnId, TurnStatus, TurnTarget, WhenBusy,
};

use crate::conn::Conn;
use crate::conversation::{self, Kept};
use crate::idempotency::{self, Claimed};
use crate::message::{history, insert as insert_message, place, position};
use crate::row::{blob, json};
use crate::thread::{self, Claim};
use crate::turn;

/// See [`chat::ConversationStore::accept_turn`].
pub(crate) async fn accept(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    new: &NewTurn,
) -> Result<Acceptance, StoreError> {
    if let Some(key) = &new.idempotency {
        let subject = (new.id.uuid(), Some(target(new)));
        if let Claimed::Before(made) = idempotency::claim(conn, tenant, key, subject, new.created_at).await? {
            let turn_id = TurnId::from_uuid(made.subject);
            return Ok(Acceptance::Repeat { turn_id, stored: made.stored });
        }
    }
    let (mut kept, waits_for) = match &new.target {
        TurnTarget::New(begun) => return accept_first(conn, tenant, new, begun).await,
        TurnTarget::Existing(id) => {
            let kept = conversation::locked(conn, tenant, *id).await?;
            let waits_for = place_in_line(&turn::open(conn, kept.seq).await?, new)?;
            (kept, waits_for)
        }
    };
    fix_user(&mut kept, new)?;
    conversation::move_to(&mut kept, &new.assistant, &new.provider);
    let position = kept.next_position;
    let (thread, history) = match waits_for {
        None => given(conn, &mut kept, position, Wants::of(new)).await?,
        Some(_) => (None, Vec::new()),
    };
    insert_message(conn, place(kept.seq, position), Some(new.id), &new.message).await?;
    insert(conn, tenant, new, (kept.seq, position), waits_for.is_some()).await?;
    add_question(&mut kept, position, new);
    conversation::update(conn, &kept).await?;
    let conversation = kept.conversation;
    Ok(Acceptance::Accepted(Box::new(Accepted { conversation, waits_for, position, thread, history })))
}

/// The first turn of a conversation: its row is written as the turn leaves it, each of its indexes once.
async fn accept_first(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    new: &NewTurn,
    begun: &NewConversation,
) -> Result<Acceptance, StoreError> {
    let mut kept = conversation::begun(begun);
    fix_user(&mut kept, new)?;
    conversation::move_to(&mut kept, &new.assistant, &new.provider);
    let position = kept.next_position;
    add_question(&mut kept, position, new);
    conversation::insert(conn, tenant, begun, &mut kept).await?;
    let shown = kept.conversation.upstream_conversation_id.clone();
    let (thread, history) = given(conn, &mut kept, position, Wants::of(new)).await?;
    insert_message(conn, place(kept.seq, position), Some(new.id), &new.message).await?;
    insert(conn, tenant, new, (kept.seq, position), false).await?;
    if kept.conversation.upstream_conversation_id != shown {
        conversation::update(conn, &kept).await?;
    }
    let conversation = kept.conversation;
    Ok(Acceptance::Accepted(Box::new(Accepted { conversation, waits_for: None, position, thread, history })))
}

/// Takes note of the user's message.
fn add_question(kept: &mut Kept, position: i64, new: &NewTurn) {
    kept.add(position, &new.message.content.text(), new.created_at);
    // The next place is the reply's, however long it takes: what is put in meanwhile stands after it.
    kept.next_position = position.saturating_add(2);
}

fn target(new: &NewTurn) -> ConversationId {
    match &new.target {
        TurnTarget::New(begun) => begun.id,
        TurnTarget::Existing(id) => *id,
    }
}

/// The turn that the new one waits for; none when it may run at once.
fn place_in_line(open: &[TurnId], new: &NewTurn) -> Result<Option<TurnId>, StoreError> {
    let Some(first) = open.first().copied() else { return Ok(None) };
    let waiting = open.len().saturating_sub(1);
    let room = usize::try_from(new.queue_max).is_ok_and(|most| waiting < most);
    match new.when_busy {
        WhenBusy::Queue | WhenBusy::Interrupt if room => Ok(Some(first)),
        _ => Err(StoreError::Busy { running: first }),
    }
}

/// A conversation belongs to the first user that a turn of it names.
fn fix_user(kept: &mut Kept, new: &NewTurn) -> Result<(), StoreError> {
    match (&kept.conversation.user, &new.user) {
        (Some(owner), Some(user)) if owner != user => Err(StoreError::OtherUser),
        (None, Some(user)) => {
            kept.conversation.user = Some(user.clone());
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What a turn wants to be given.
struct Wants<'a> {
    provider: &'a ProviderName,
    thread: Option<&'a ThreadSeed>,
    context_messages: u32,
}

impl<'a> Wants<'a> {
    fn of(new: &'a NewTurn) -> Self {
        let NewTurn { provider, thread, context_messages, .. } = new;
        Self { provider, thread: thread.as_ref(), context_messages: *context_messages }
    }
}

/// What a turn that runs is given: the provider's thread and the messages before it.
async fn given(
    conn: &mut Conn<'_>,
    kept: &mut Kept,
    position: i64,
    wants: Wants<'_>,
) -> Result<(Option<StoredThread>, Vec<Message>), StoreError> {
    let mut thread = None;
    if let Some(seed) = wants.thread {
        let claimed = thread::claim(conn, kept.seq, wants.provider, seed, Claim::InDoubt).await?;
        if seed.assistant == kept.conversation.assistant {
            // An id that the gateway made means nothing to the provider until a turn has used it.
            kept.conversation.upstream_conversation_id = claimed.id.clone().filter(|_| claimed.reached > 0);
        }
        thread = Some(claimed);
    }
    let history = history(conn, kept.ids(), position, wants.context_messages).await?;
    Ok((thread, history))
}

async fn insert(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    new: &NewTurn,
    (conversation, position): (i64, i64),
    queued: bool,
) -> Result<(), StoreError> {
    let status = if queued { TurnStatus::Queued } else { TurnStatus::InProgress };
    conn.sql(
        "INSERT INTO turns (id, tenant, conversation, place, status, open, queued, owner, asked_assistant, \
         asked_provider, assistant, provider, thread_upstream_id, reply_id, key_id, idempotency_key, created_at, \
         reserved_seq, slices, metadata, request, in_flight, attempts, upstream) \
         VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9, $8, $9, $10, $11, $12, $13, $14, 0, 0, $15, $16, \
         '[]', '', '')",
    )
    .bind(blob(new.id.uuid()))
    .bind(tenant.as_str())
    .bind(conversation)
    .bind(place(conversation, position))
    .bind(status.as_str())
    .bind(i64::from(queued))
    .bind(new.owner.as_str())
    .bind(new.assistant.as_str())
    .bind(new.provider.as_str())
    // A turn that waits has no part in the thread yet: its end must not settle what the running one left in doubt.
    .bind(new.thread.as_ref().filter(|_| !queued).map(|seed| seed.upstream_id.as_str()))
    .bind(blob(new.reply_id.uuid()))
    .bind(blob(new.key.uuid()))
    .bind(new.idempotency.as_ref().map(|key| key.key.as_str()))
    .bind(new.created_at.millis())
    .bind(json(&new.metadata)?)
    .bind(new.request.as_str())
    .run()
    .await?;
    Ok(())
}

/// See [`chat::ConversationStore::begin_turn`].
pub(crate) async fn begin(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: TurnId,
    owner: &str,
    (seed, context_messages): (Option<&ThreadSeed>, u32),
) -> Result<Accepted, StoreError> {
    let mut row = conn
        .sql("SELECT conversation FROM turns WHERE id = $1 AND tenant = $2")
        .bind(blob(id.uuid()))
        .bind(tenant.as_str())
        .row()
        .await?
        .ok_or(StoreError::NoTurn)?;
    let conversation = row.number()?;
    let mut kept = conversation::locked_seq(conn, conversation).await.map_err(gone)?;
    let mut row = conn
        .sql("SELECT status, queued, place, asked_provider, owner FROM turns WHERE id = $1")
        .bind(blob(id.uuid()))
        .row()
        .await?
        .ok_or(StoreError::NoTurn)?;
    // Whoever was not told that the turn has begun asks again: it is the only one that runs it.
    let (status, waited): (TurnStatus, bool) = (row.word()?, row.flag()?);
    if status.is_end() || !waited {
        return Err(StoreError::NoTurn);
    }
    let position = position(row.number()?);
    let provider: ProviderName = row.name()?;
    if row.string()? != owner {
        return Err(StoreError::Fenced);
    }
    match turn::open(conn, conversation).await?.first() {
        Some(first) if *first != id => return Err(StoreError::Busy { running: *first }),
        _ => {}
    }
    let wants = Wants { provider: &provider, thread: seed, context_messages };
    let shown = kept.conversation.upstream_conversation_id.clone();
    let (thread, history) = given(conn, &mut kept, position, wants).await?;
    conn.sql("UPDATE turns SET status = 'in_progress', thread_upstream_id = $1 WHERE id = $2")
        .bind(seed.map(|seed| seed.upstream_id.as_str()))
        .bind(blob(id.uuid()))
        .run()
        .await?;
    if kept.conversation.upstream_conversation_id != shown {
        conversation::update(conn, &kept).await?;
    }
    let conversation = kept.conversation;
    Ok(Accepted { conversation, waits_for: None, position, thread, history })
}

/// A turn whose conversation has gone has gone, too.
fn gone(error: StoreError) -> StoreError {
    match error {
        StoreError::NoConversation => StoreError::NoTurn,
        other => other,
    }
}

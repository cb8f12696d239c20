//! Finding a turn that runs here or has ended, and what can be done with it: read, follow, cancel.

use std::sync::Arc;
use std::time::Duration;

use chat::{Caller, EventLog, StoreError, StoredTurn, Turn, TurnId, TurnStatus};

use crate::Refused;
use crate::accept::reader;
use crate::engine::{Engine, Inner, draining};
use crate::follow::{self, TOLD_WITHIN};
use crate::running::{Reader, Running, Stop};

/// How long an event that a client has from another process is waited for: until a turn whose process is gone is certainly settled.
const REACHED_WITHIN: Duration = Duration::from_secs(15);
/// How long the end of a turn that runs elsewhere is waited for once it is to stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

impl Engine {
    /// A turn as it stands: with the text so far.
    ///
    /// # Errors
    /// No such turn for this caller.
    pub async fn turn(&self, caller: &Caller, id: TurnId) -> Result<Arc<Turn>, Refused> {
        let running = find(&self.0, caller, id).await?;
        Ok(as_it_stands(&running))
    }

    /// Reads a turn's events after the one numbered `after` (0: from the start); none when `after` is the last one of an ended
    /// turn.
    ///
    /// # Errors
    /// No such turn for this caller, or it has not reached `after`.
    pub async fn events(&self, caller: &Caller, id: TurnId, after: u64) -> Result<Option<Reader>, Refused> {
        let running = find(&self.0, caller, id).await?;
        if running.owner.is_none() {
            // What a client has from where the turn runs may not be known here yet.
            let within = if running.stored { REACHED_WITHIN } else { TOLD_WITHIN };
            tokio::select! {
                biased;
                _ = tokio::time::timeout(within, running.reached(after)) => {}
                // Nothing more will be known here: another gateway knows.
                () = running.abandoned.cancelled() => return Err(draining()),
            }
        }
        let (last, ended) = running.read(|log| (log.last_seq(), log.is_ended()));
        if after > last {
            return Err(Refused::invalid(
                "Last-Event-ID",
                format!("the turn has not reached event {after}: its last one is {last}"),
            ));
        }
        if ended && after == last {
            return Ok(None);
        }
        Ok(Some(reader(&self.0, &running, after, false)))
    }

    /// Stops a running turn and keeps what came; resolves once the end is recorded. One that has ended is left as it is.
    ///
    /// # Errors
    /// No such turn for this caller.
    pub async fn cancel(&self, caller: &Caller, id: TurnId) -> Result<Arc<Turn>, Refused> {
        let running = find(&self.0, caller, id).await?;
        if !running.read(EventLog::is_ended) {
            // The reader keeps a turn that is not stored from being forgotten before its end is read here.
            let mut reader = Reader::new(Arc::clone(&running), 0, false, None);
            running.stop(Stop::Cancel);
            if running.owner.is_some() {
                return Ok(reader.end().await);
            }
            let ended = tokio::time::timeout(STOPPED_WITHIN, reader.end()).await;
            return ended.map_err(|elapsed| StoreError::Unavailable(Box::new(elapsed)).into());
        }
        Ok(as_it_stands(&running))
    }
}

async fn find(inner: &Arc<Inner>, caller: &Caller, id: TurnId) -> Result<Arc<Running>, Refused> {
    let running = match inner.registry.find(id).await {
        Some(running) => running,
        None => follow::find(inner, &caller.tenant, id).await?,
    };
    if running.visible_to(&caller.tenant, caller.user.as_ref(), &caller.assistants) {
        Ok(running)
    } else {
        Err(StoreError::NoTurn.into())
    }
}

/// The turn and its event log, from what the store keeps.
pub(crate) fn restore(stored: StoredTurn) -> Result<(Arc<Turn>, EventLog), StoreError> {
    let started = Arc::new(started(&stored));
    let turn = Arc::new(stored.turn);
    let ended = turn.status.is_end().then_some(&turn);
    let reply = turn.message.as_ref().map(|message| message.content.text()).unwrap_or_default();
    let alone = stored.log.len() == 1;
    let slices = stored.log.iter().map(|slice| {
        // The only slice of an ended turn has no text of its own where its text is the reply's.
        let text =
            if alone && slice.text.is_empty() && ended.is_some() { reply.as_ref() } else { &slice.text };
        (text, slice.marks.as_str())
    });
    let log =
        EventLog::restore(slices, &started, ended).map_err(|error| StoreError::Damaged(Box::new(error)))?;
    Ok((turn, log))
}

/// The turn as its first event showed it.
pub(crate) fn started(stored: &StoredTurn) -> Turn {
    let status = if stored.queued { TurnStatus::Queued } else { TurnStatus::InProgress };
    let turn = &stored.turn;
    let mut started =
        Turn::accepted(turn.id, status, turn.created_at, turn.conversation_id, stored.asked.clone());
    started.metadata = turn.metadata.clone();
    started
}

fn as_it_stands(running: &Running) -> Arc<Turn> {
    if let Some(turn) = running.read(|log| log.ended().map(Arc::clone)) {
        return turn;
    }
    let snapshot = running.snapshot();
    let (content, sources) = running.read(|log| (log.content(), log.sources().to_vec()));
    if content.is_empty() && sources.is_empty() {
        return snapshot;
    }
    let mut turn = snapshot.as_ref().clone();
    turn.sources = sources;
    if !content.is_empty() {
        turn.message = Some(chat::TurnMessage { id: running.reply_id, content, created_at: turn.created_at });
    }
    Arc::new(turn)
}

//! What other gateways are told of a turn that runs here, while it runs.
//!
//! A task beside the turn says what has come since it last said something, one call at a time: a turn waits for nothing of it, and
//! a gateway that is alone has no such task.

use std::sync::Arc;
use std::time::Duration;

use chat::{LiveEnd, LiveEntry, LiveHead, LiveTurns, LogSlice, Turn};
use futures_util::StreamExt as _;

use crate::engine::Inner;
use crate::membership;
use crate::running::Running;

/// The pause after each call: what comes meanwhile comes together.
const PAUSE: Duration = Duration::from_millis(100);
/// With many turns the pause grows by this for each: Redis has others to answer.
const PAUSE_PER_TURN: Duration = Duration::from_micros(100);
/// About how much text is told at once: an answer that others wait for is not to stand behind a long one.
const TEXT_BYTES: usize = 64 * 1024;
/// The pause before what nobody could be told is told again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a turn that nothing comes of gives a sign of life, where there is no store to look at.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// How often the end is told before it is given up.
const END_TRIES: u32 = 10;

/// Tells of a turn until it has ended.
pub(crate) async fn publish(
    inner: Arc<Inner>,
    live: Arc<dyn LiveTurns>,
    running: Arc<Running>,
    started: Arc<Turn>,
) {
    let mut told = 0;
    let mut tries = 0;
    loop {
        // Asked for before looking, so that nothing written in between is missed.
        let news = running.news();
        let entry = next(&running, &started, told);
        let last = entry.last_seq;
        if last == told && entry.end.is_none() {
            let shows_life = tokio::select! {
                () = news => false,
                () = tokio::time::sleep(SIGN_OF_LIFE), if !running.stored => true,
                () = inner.closed.cancelled() => return,
            };
            if !shows_life {
                continue;
            }
        }
        let ended = entry.end.is_some();
        let pause = match live.publish(running.id, entry).await {
            Ok(()) if ended => return,
            Ok(()) => {
                told = last;
                let turns = u32::try_from(inner.registry.len()).unwrap_or(u32::MAX);
                PAUSE.max(PAUSE_PER_TURN.saturating_mul(turns))
            }
            Err(_) => {
                tries += u32::from(ended);
                if tries >= END_TRIES || (ended && inner.closed.is_cancelled()) {
                    return;
                }
                if !running.stored {
                    // It may all be gone there, and stands nowhere else.
                    told = 0;
                }
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What has come after the event numbered `told`.
fn next(running: &Running, started: &Arc<Turn>, told: u64) -> LiveEntry {
    let (slice, last_seq, end) = running.read(|log| {
        let (slice, last_seq) = log.slice_up_to(told, TEXT_BYTES);
        (
            slice,
            last_seq,
            log.ended().filter(|_| running.stored || last_seq == log.last_seq()).map(Arc::clone),
        )
    });
    let head = (told == 0).then(|| {
        Box::new(LiveHead {
            tenant: running.tenant.clone(),
            user: running.user.clone(),
            assistant: running.assistant.clone(),
            reply_id: running.reply_id,
            stored: running.stored,
            started: started.as_ref().clone(),
        })
    });
    match end {
        // Whatever came last: the whole of it is in the store.
        Some(_) if running.stored => {
            let slice = LogSlice { text: String::new(), marks: "[]".to_owned() };
            LiveEntry { head, slice, last_seq: told, end: Some(Box::default()) }
        }
        end => {
            let end = end.map(|turn| {
                let retry_after = turn.error.as_ref().and_then(|error| error.retry_after);
                Box::new(LiveEnd { turn: Some(turn.as_ref().clone()), retry_after })
            });
            LiveEntry { head, slice, last_seq, end }
        }
    }
}

/// Stops the turns of this gateway that others want stopped.
pub(crate) async fn hear_stops(inner: Arc<Inner>, live: Arc<dyn LiveTurns>) {
    let mut stops = live.stops();
    let hearing = async {
        while let Some(id) = stops.next().await {
            membership::stop(&inner, id);
        }
    };
    inner.closed.run_until_cancelled(hearing).await;
}

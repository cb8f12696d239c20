//! Turns that nobody reads any more, where such turns are to end.

use std::sync::Arc;
use std::time::Duration;

use chat::{EventLog, LiveTurns};

use crate::engine::Inner;
use crate::running::{Running, Stop};

/// How often it is asked whether a turn that nobody reads here is read elsewhere.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Stops a turn whose last reader here has left, unless it is read elsewhere: then once nobody does there either.
pub(crate) fn stop(inner: &Inner, running: &Arc<Running>) {
    match inner.live.get().filter(|live| live.is_up()) {
        Some(live) if running.begin_asking() => {
            inner.tasks.spawn(ask(Arc::clone(live), Arc::clone(running)));
        }
        // Somebody asks already.
        Some(_) => {}
        None if is_unread(running) => running.stop(Stop::Cancel),
        None => {}
    }
}

/// Asks until the turn has ended: readers may come back meanwhile, and leave again.
async fn ask(live: Arc<dyn LiveTurns>, running: Arc<Running>) {
    while !running.read(EventLog::is_ended) {
        if is_unread(&running) && !live.is_watched(running.id).await && is_unread(&running) {
            running.stop(Stop::Cancel);
            return;
        }
        let _ = tokio::time::timeout(ASK_AGAIN, running.settled.cancelled()).await;
    }
}

fn is_unread(running: &Running) -> bool {
    running.readers() == 0 && !running.is_unattended() && !running.read(EventLog::is_ended)
}

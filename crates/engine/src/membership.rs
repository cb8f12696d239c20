//! This process among the gateways on one store: it says each second that it lives, stops the turns that others want stopped,
//! and takes over what those leave that are gone.
//!
//! Nobody's clock is trusted. A process counts as gone when the number of its beats has stood still through [`LAPSED_AFTER`] looks
//! in a row of one that itself was answered each time: an outage of the store, a jump of a clock or a pause of the one who looks
//! makes nobody seem dead. One that was taken for dead is fenced: the rows of its turns have another owner, whatever it still
//! writes is refused, and it goes on under a new name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use chat::{Peer, Roll, StoreError};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use crate::engine::Inner;
use crate::running::Stop;
use crate::settle;

/// After how many looks without a beat a process counts as gone.
const LAPSED_AFTER: u32 = 5;
/// Every so many beats it is looked whether turns have an owner that is on no list: one that has left, or was fenced.
const ORPHANS_EVERY: u32 = 5;

/// Under which name turns run here, and how sure that is.
#[derive(Debug)]
pub(crate) struct Membership {
    owner: ArcSwap<String>,
    renewed: Mutex<Instant>,
    joining: tokio::sync::Mutex<()>,
    /// A sweep is under way.
    sweeping: AtomicBool,
    /// A sweep was broken off: what it took may still be unsettled.
    unsure: AtomicBool,
}

fn new_name() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

impl Membership {
    pub(crate) fn new() -> Self {
        Self {
            owner: ArcSwap::from_pointee(new_name()),
            renewed: Mutex::new(Instant::now()),
            joining: tokio::sync::Mutex::default(),
            sweeping: AtomicBool::new(false),
            unsure: AtomicBool::new(false),
        }
    }

    /// The name under which turns are accepted now: one that no other process has.
    pub(crate) fn owner(&self) -> Arc<String> {
        self.owner.load_full()
    }

    /// Turns may be this process's that nobody runs: the next sweep looks for them.
    pub(crate) fn look_for_all(&self) {
        self.unsure.store(true, Ordering::Release);
    }

    fn is_fresh(&self, beat: Duration) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.elapsed() < beat.saturating_mul(LAPSED_AFTER)
    }

    fn note_renewed(&self) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Enters the list of processes that run turns.
pub(crate) async fn join(inner: &Inner) -> Result<(), StoreError> {
    let owner = inner.membership.owner();
    let token = inner.maintenance.join(&owner).await?;
    inner.membership.note_renewed();
    if inner.maintenance.is_shared() {
        info!(process = %owner, token, "joined the gateways on this store");
    }
    Ok(())
}

/// The name under which a turn is accepted. A process that has not been heard of for so long that others may have taken it for dead
/// (it was paused, or cut off from the store) asks first.
pub(crate) async fn owner(inner: &Inner) -> Result<Arc<String>, StoreError> {
    let membership = &inner.membership;
    if inner.maintenance.is_shared() && !membership.is_fresh(inner.settings.load().beat) {
        renew(inner).await?;
    }
    Ok(membership.owner())
}

/// Says that this process lives; joins anew when others took it for dead.
async fn renew(inner: &Inner) -> Result<Roll, StoreError> {
    let owner = inner.membership.owner();
    match inner.maintenance.renew(&owner).await {
        Ok(roll) => {
            inner.membership.note_renewed();
            Ok(roll)
        }
        Err(StoreError::Fenced) if !inner.closed.is_cancelled() => {
            fenced(inner, &owner).await?;
            Ok(Roll::default())
        }
        Err(error) => Err(error),
    }
}

/// Others took this process for dead: the turns that run here are theirs.
async fn fenced(inner: &Inner, before: &Arc<String>) -> Result<(), StoreError> {
    let _one = inner.membership.joining.lock().await;
    if !Arc::ptr_eq(&inner.membership.owner(), before) {
        return Ok(());
    }
    let lost = inner.registry.all();
    let lost = lost.iter().filter(|running| running.owner.as_ref().is_some_and(|owner| **owner == **before));
    let mut turns = 0_usize;
    for running in lost.filter(|running| running.stored) {
        running.stop(Stop::Fenced);
        turns = turns.saturating_add(1);
    }
    warn!(process = %before, turns, "others took this process for dead: its turns are theirs, it joins anew");
    metrics::counter!("switchboard_fenced_total").increment(1);
    let name = Arc::new(new_name());
    let token = inner.maintenance.join(&name).await?;
    info!(process = %name, token, "joined the gateways on this store");
    inner.membership.owner.store(name);
    inner.membership.note_renewed();
    Ok(())
}

/// Beats until the engine is closed.
pub(crate) async fn keep(inner: Arc<Inner>) {
    let mut peers = Peers::default();
    let mut every = tokio::time::interval(inner.settings.load().beat);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut beats, mut failed) = (0_u32, false);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = inner.closed.cancelled() => return,
        }
        let Some(renewed) = inner.closed.run_until_cancelled(renew(&inner)).await else { return };
        beats = beats.wrapping_add(1);
        match renewed {
            Ok(roll) => {
                failed = false;
                for id in &roll.stop {
                    stop(&inner, *id);
                }
                let lapsed = peers.look(roll.others);
                let looks = !lapsed.is_empty() || beats.is_multiple_of(ORPHANS_EVERY);
                if looks || inner.membership.unsure.load(Ordering::Acquire) {
                    sweep(&inner, lapsed);
                }
            }
            Err(error) => {
                // Nobody else is seen now either: what was seen before says nothing.
                peers = Peers::default();
                if !std::mem::replace(&mut failed, true) {
                    warn!(%error, "the store was not told that this process lives, trying again");
                }
            }
        }
    }
}

/// Stops a turn that runs here.
pub(crate) fn stop(inner: &Inner, id: chat::TurnId) {
    if let Some(running) = inner.registry.find_now(id) {
        running.stop(Stop::Cancel);
    }
}

/// Takes over and settles beside the heart, which goes on beating; one sweep at a time.
fn sweep(inner: &Arc<Inner>, lapsed: Vec<Peer>) {
    if inner.membership.sweeping.swap(true, Ordering::AcqRel) {
        return;
    }
    let inner = Arc::clone(inner);
    Arc::clone(&inner).tasks.spawn(async move {
        let gone = lapsed.len();
        let all = inner.membership.unsure.swap(false, Ordering::AcqRel);
        match settle::sweep(&inner, lapsed, all).await {
            Ok(0) => {}
            Ok(turns) => {
                metrics::counter!("switchboard_turns_taken_over_total")
                    .increment(u64::try_from(turns).unwrap_or(u64::MAX));
                warn!(processes = gone, turns, "turns of gateways that are gone were settled");
            }
            Err(error) => {
                inner.membership.look_for_all();
                warn!(%error, "turns of gateways that are gone could not be settled, trying again");
            }
        }
        inner.membership.sweeping.store(false, Ordering::Release);
    });
}

/// What was seen of other processes: how many beats each had, and in how many looks since that has not changed.
#[derive(Debug, Default)]
struct Peers(HashMap<String, (u64, u32)>);

impl Peers {
    /// Takes a look; gives those that count as gone.
    fn look(&mut self, others: Vec<Peer>) -> Vec<Peer> {
        let mut seen = HashMap::with_capacity(others.len());
        let mut lapsed = Vec::new();
        for peer in others {
            let still = match self.0.get(&peer.owner) {
                Some((beats, still)) if *beats == peer.beats => still.saturating_add(1),
                _ => 0,
            };
            seen.insert(peer.owner.clone(), (peer.beats, still));
            if still >= LAPSED_AFTER {
                lapsed.push(peer);
            }
        }
        self.0 = seen;
        lapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(beats: u64) -> Vec<Peer> {
        vec![Peer { owner: "other".to_owned(), beats }]
    }

    #[test]
    fn a_process_is_gone_once_its_beats_stand_still() {
        let mut peers = Peers::default();
        for _ in 0..LAPSED_AFTER {
            assert_eq!(peers.look(peer(7)), []);
        }
        assert_eq!(peers.look(peer(7)), peer(7));
        assert_eq!(peers.look(peer(8)), [], "it lives after all");
        assert_eq!(peers.look(Vec::new()), []);
        assert_eq!(peers.look(peer(8)), [], "one that was away is seen anew");
    }
}

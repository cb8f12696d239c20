//! A call's place at the upstream: so many at once, so many in a minute.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};
use tower::Service;

use crate::around::call;
use crate::attempt::{Attempt, Queue};
use crate::{Body, Config, Failure};

/// Gives an attempt its place, in the order of coming, and lets the place ride in the body.
pub(crate) async fn hold<S>(
    places: Arc<Places>,
    attempt: Attempt,
    next: S,
) -> Result<http::Response<Body>, Failure>
where
    S: Service<Attempt, Response = http::Response<Body>, Error = Failure>,
{
    let place = places.take(attempt.journey.deadline).await.ok_or(Failure::NoPlace)?;
    attempt.journey.begin();
    let mut response = call(next, attempt).await?;
    response.body_mut().hold(place);
    Ok(response)
}

/// An upstream's places.
#[derive(Debug)]
pub(crate) struct Places {
    slots: Arc<Semaphore>,
    pace: Option<Pace>,
    queue: Queue,
    taken: Arc<AtomicUsize>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _slot: OwnedSemaphorePermit,
    taken: Arc<AtomicUsize>,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        let slots = config.max_concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            pace: usize::try_from(config.requests_per_minute).ok().filter(|most| *most > 0).map(Pace::new),
            queue: Queue::default(),
            taken: Arc::default(),
        }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// None when there is no place before the deadline, or too many wait already.
    async fn take(&self, deadline: Instant) -> Option<Place> {
        let slot = match self.slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                let _waiting = self.queue.enter()?;
                timeout_at(deadline, self.slots.clone().acquire_owned()).await.ok()?.ok()?
            }
        };
        // Only now, with a slot in hand: whoever had his minute's turn and then waited for a slot would be sent out of turn.
        if let Some(pace) = &self.pace {
            pace.turn(deadline).await?;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Place { _slot: slot, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A minute, and a little for what is sent late and arrives early.
const MINUTE: Duration = Duration::from_millis(60_100);

/// At most so many in any minute, as soon as they come: providers count the requests of a minute, and those who have sent none
/// for a while may send all of them at once.
#[derive(Debug)]
struct Pace {
    most: usize,
    /// The times of the last minute's turns and of those to come, in order.
    turns: Mutex<VecDeque<Instant>>,
}

impl Pace {
    fn new(most: usize) -> Self {
        Self { most, turns: Mutex::default() }
    }

    /// Waits for a turn. None, at once, when there is none before the deadline.
    async fn turn(&self, deadline: Instant) -> Option<()> {
        let mut turn = self.reserve(deadline)?;
        sleep_until(turn.at).await;
        turn.used = true;
        Some(())
    }

    fn reserve(&self, deadline: Instant) -> Option<Turn<'_>> {
        let now = Instant::now();
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        while turns.front().is_some_and(|first| *first + MINUTE <= now) {
            turns.pop_front();
        }
        let free = turns
            .len()
            .checked_sub(self.most)
            .and_then(|before| turns.get(before))
            .map(|turn| *turn + MINUTE);
        let at = [free, turns.back().copied()].into_iter().flatten().fold(now, Instant::max);
        if at > now && at >= deadline {
            return None;
        }
        turns.push_back(at);
        Some(Turn { pace: self, at, used: false })
    }
}

/// A turn that is given back when its call does not wait for it to the end.
#[derive(Debug)]
struct Turn<'pace> {
    pace: &'pace Pace,
    at: Instant,
    used: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        let mut turns = self.pace.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(position) = turns.binary_search(&self.at) {
            turns.remove(position);
        }
    }
}

//! A clock for when pieces are due. That of tokio knows milliseconds: what is due within one would be written together, which no
//! provider does, and the last of them would wait for all the others in whatever is measured.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

/// Tasks that sleep, and the timer of the first of them.
#[derive(Debug)]
pub(crate) struct Clock {
    timer: AsyncFd<OwnedFd>,
    sleeping: Mutex<BinaryHeap<Reverse<Sleeper>>>,
}

#[derive(Debug)]
struct Sleeper {
    until: Instant,
    wake: oneshot::Sender<()>,
}

impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> Ordering {
        self.until.cmp(&other.until)
    }
}

impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Sleeper {}

impl Clock {
    /// For tasks of the runtime that this is called in; one of them is [`run`](Self::run).
    #[expect(deprecated, reason = "its successor is unsafe; nobody but it can close this timer")]
    pub(crate) fn new() -> std::io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?;
        Ok(Self { timer, sleeping: Mutex::default() })
    }

    /// Ends at that time: not before, and as soon after as the system wakes the thread.
    pub(crate) async fn sleep_until(&self, until: Instant) -> std::io::Result<()> {
        let (wake, woken) = oneshot::channel();
        {
            let mut sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
            if sleeping.peek().is_none_or(|Reverse(first)| until < first.until) {
                self.arm(until)?;
            }
            sleeping.push(Reverse(Sleeper { until, wake }));
        }
        // Nobody will wake it any more: the runtime ends, and this task with it.
        let _ = woken.await;
        Ok(())
    }

    /// Wakes whoever is due, for as long as it is polled.
    pub(crate) async fn run(&self) -> std::io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            // How often it has gone off does not matter, nor whether it was armed anew since.
            let _ = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0; 8])?));
            drop(ready);
            let mut sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            while sleeping.peek().is_some_and(|Reverse(first)| first.until <= now) {
                if let Some(Reverse(due)) = sleeping.pop() {
                    // A stream that was given up sleeps no more.
                    let _ = due.wake.send(());
                }
            }
            if let Some(Reverse(first)) = sleeping.peek() {
                self.arm(first.until)?;
            }
        }
    }

    fn arm(&self, until: Instant) -> std::io::Result<()> {
        // Zero would stop it.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let it_value = left.try_into().map_err(std::io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tasks;

    #[test]
    fn each_is_woken_in_its_turn_and_not_before() {
        let order = tasks::block_on(async {
            let clock = Arc::new(Clock::new().unwrap());
            let running = Arc::clone(&clock);
            let running = tasks::spawn(async move { running.run().await });
            let begin = Instant::now();
            let order = Arc::new(Mutex::new(Vec::new()));
            let sleepers = [30_u64, 10, 20, 0].map(|millis| {
                let (clock, order) = (Arc::clone(&clock), Arc::clone(&order));
                tasks::spawn(async move {
                    let until = begin + Duration::from_millis(millis);
                    clock.sleep_until(until).await.unwrap();
                    assert!(Instant::now() >= until);
                    order.lock().unwrap().push(millis);
                })
            });
            for sleeper in sleepers {
                sleeper.await.unwrap();
            }
            running.abort();
            order.lock().unwrap().clone()
        });
        assert_eq!(order.unwrap(), [0, 10, 20, 30]);
    }
}

//! How often a key may call: the generic cell rate algorithm (a leaky bucket), exact to the nanosecond.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::Limits;

/// How a request stands to its key's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) per_minute: u32,
    /// Requests that could be made now.
    pub(crate) remaining: u32,
    /// Seconds until all of the burst could be.
    pub(crate) reset: u64,
    /// The request is one too many: seconds until it would not be.
    pub(crate) wait: Option<u64>,
}

/// Counts the requests of one key.
#[derive(Debug)]
pub(super) struct Requests<C: Clock = DefaultClock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    clock: C,
    per_minute: NonZeroU32,
    burst: NonZeroU32,
}

impl Requests {
    /// None where the key may call as often as it likes.
    pub(super) fn of(limits: &Limits) -> Option<Self> {
        Requests::by(limits, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Requests<C> {
    /// The same by this clock.
    fn by(limits: &Limits, clock: C) -> Option<Self> {
        let per_minute = limits.requests_per_minute.and_then(NonZeroU32::new)?;
        let burst = limits.burst.unwrap_or(per_minute.get() / 10);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        Some(Self { limiter, clock, per_minute, burst })
    }

    /// How often the key may call.
    pub(super) fn rate(&self) -> chat::Rate {
        chat::Rate { per_minute: self.per_minute.get(), burst: self.burst.get() }
    }

    /// Counts a request; one that is too many is not counted.
    pub(super) fn check(&self) -> Rate {
        match self.limiter.check() {
            Ok(state) => self.told(state.remaining_burst_capacity(), None),
            Err(until) => self.told(0, Some(until.wait_time_from(self.clock.now()))),
        }
    }

    /// How a request stands that was counted: so many could be made now, or it has to wait.
    pub(super) fn told(&self, remaining: u32, wait: Option<Duration>) -> Rate {
        let per_minute = self.per_minute.get();
        let missing = u64::from(self.burst.get().saturating_sub(remaining));
        let reset = (missing * 60).div_ceil(per_minute.into());
        Rate { per_minute, remaining, reset, wait: wait.map(whole_seconds) }
    }
}

/// Whoever waits a whole number of seconds has waited long enough.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn limited(per_minute: u32, burst: u32) -> (Requests<FakeRelativeClock>, FakeRelativeClock) {
        let limits =
            Limits { requests_per_minute: Some(per_minute), burst: Some(burst), ..Limits::default() };
        let clock = FakeRelativeClock::default();
        (Requests::by(&limits, clock.clone()).unwrap(), clock)
    }

    fn admitted(requests: &Requests<FakeRelativeClock>) -> bool {
        requests.check().wait.is_none()
    }

    /// Pauses, in nanoseconds, from none over a fraction of a request's time to minutes, each followed by so many requests.
    fn traffic() -> impl Strategy<Value = Vec<(u64, u32)>> {
        let pause = prop_oneof![Just(0), 1..1_000_u64, 1..1_000_000_000_u64, 1..3 * MINUTE];
        proptest::collection::vec((pause, 1..12_u32), 1..60)
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_in_any_window(
            per_minute in 1..100_000_u32, burst in 1..50_u32, traffic in traffic(),
        ) {
            let (requests, clock) = limited(per_minute, burst);
            let (mut now, mut times) = (0_u64, Vec::new());
            for (pause, count) in traffic {
                clock.advance(Duration::from_nanos(pause));
                now += pause;
                times.extend((0..count).filter(|_| admitted(&requests)).map(|_| now));
            }
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u128;
                    // The time of one request is rounded down to a nanosecond: so much, for each, may be missing.
                    let window = u128::from(to - from) + count;
                    let most = u128::from(burst) * u128::from(MINUTE) + u128::from(per_minute) * window;
                    prop_assert!(count * u128::from(MINUTE) <= most, "{count} in {window} ns");
                }
            }
        }

        #[test]
        fn no_fewer_than_that_when_asked_for(
            per_minute in prop::sample::select(vec![1_u32, 3, 10, 60, 600, 6000, 60_000]),
            burst in 1..50_u32,
            traffic in traffic(),
        ) {
            let (requests, clock) = limited(per_minute, burst);
            let one = MINUTE / u64::from(per_minute);
            let full = one * u64::from(burst);
            let mut level = full;
            for (pause, count) in traffic {
                clock.advance(Duration::from_nanos(pause));
                level = full.min(level + pause);
                for _ in 0..count {
                    let fits = level >= one;
                    level -= if fits { one } else { 0 };
                    prop_assert_eq!(admitted(&requests), fits);
                }
            }
        }

        #[test]
        fn what_is_told_is_true(per_minute in 1..100_000_u32, burst in 1..50_u32, traffic in traffic()) {
            let (requests, clock) = limited(per_minute, burst);
            for (pause, count) in traffic {
                clock.advance(Duration::from_nanos(pause));
                let mut told = None;
                for _ in 0..count {
                    let rate = requests.check();
                    if let Some(before) = told.replace(rate).filter(|before: &Rate| before.wait.is_none()) {
                        prop_assert_eq!(rate.wait.is_some(), before.remaining == 0);
                        prop_assert_eq!(rate.remaining, before.remaining.saturating_sub(1));
                    }
                }
                match told.unwrap() {
                    Rate { wait: Some(wait), .. } => {
                        clock.advance(Duration::from_secs(wait));
                        prop_assert!(admitted(&requests), "after exactly what was told");
                        prop_assert!(wait == 1 || wait <= 60_u64.div_ceil(per_minute.into()), "{wait}");
                    }
                    Rate { reset, .. } => {
                        clock.advance(Duration::from_secs(reset));
                        let rate = requests.check();
                        prop_assert_eq!(rate.remaining + 1, burst, "all of it is there again");
                    }
                }
            }
        }
    }
}

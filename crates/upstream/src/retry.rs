//! Sending again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};
use http::StatusCode;
use tokio::time::{Instant, sleep};

use crate::attempt::{Answer, Attempt, after};
use crate::window::Window;
use crate::{Answered, Cause, Failure, Lost, Repeat, Retried, RetryConfig, Verdict};

/// Which failures are followed by another attempt, and when. One copy goes with every call; the budget is the upstream's.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    config: RetryConfig,
    budget: Arc<Budget>,
    /// The failure before the attempt that is being made.
    before: Option<Failure>,
}

impl Policy {
    pub(crate) fn new(upstream: &str, config: &RetryConfig) -> Self {
        let budget = Budget::new(upstream, config.budget_percent);
        Self { config: config.clone(), budget: Arc::new(budget), before: None }
    }

    /// How long to wait before attempt `number`; none when it is not to be made.
    fn pause(&self, attempt: &Attempt, fault: &Fault) -> Option<Duration> {
        let may_repeat =
            !fault.ambiguous || self.config.ambiguous || attempt.journey.call.repeat == Repeat::Always;
        if !may_repeat || attempt.number > self.config.attempts_max {
            return None;
        }
        let pause = backoff(&self.config, attempt.number).max(fault.retry_after.unwrap_or_default());
        let in_time = after(Instant::now(), pause) < attempt.journey.deadline;
        // The budget last: what is not sent again for another reason costs nothing of it.
        (in_time && self.budget.withdraw()).then_some(pause)
    }

    /// The attempt after an answer that was lost, and the wait before it; none when it is not to be made.
    pub(crate) fn again(&self, answered: &Answered, lost: Lost) -> Option<(Attempt, BoxFuture<'static, ()>)> {
        let attempt = next(&answered.attempt);
        let fault = Fault::lost(answered.status, lost)?;
        let pause = self.pause(&attempt, &fault)?;
        let waiting = announce(&attempt, fault.cause, pause);
        Some((attempt, waiting))
    }
}

/// The attempt after this one.
fn next(attempt: &Attempt) -> Attempt {
    Attempt { number: attempt.number.saturating_add(1), ..attempt.clone() }
}

/// Tells the observer that `attempt` follows a failure, and waits for its time, and for the observer's note of it meanwhile.
fn announce(attempt: &Attempt, cause: Cause, pause: Duration) -> BoxFuture<'static, ()> {
    tracing::debug!(attempt = attempt.number, wait_ms = pause.as_millis(), "sending again");
    let waiting = sleep(pause);
    let Some(observer) = &attempt.journey.call.observer else { return waiting.boxed() };
    let duration = attempt.journey.since_sent();
    observer.failed(Retried { cause, duration, retry_in: pause });
    join(waiting, observer.noted()).map(|_| ()).boxed()
}

impl tower::retry::Policy<Attempt, Answer, Failure> for Policy {
    type Future = BoxFuture<'static, ()>;

    /// `attempt` is the one that would be made next.
    fn retry(
        &mut self,
        attempt: &mut Attempt,
        result: &mut Result<Answer, Failure>,
    ) -> Option<BoxFuture<'static, ()>> {
        let Some(fault) = Fault::of(result) else {
            // Not let through to be sent again: what happened when it was sent says more.
            if let Err(failure @ (Failure::BreakerOpen { .. } | Failure::Paused { .. } | Failure::NoPlace)) =
                result
                && let Some(before) = self.before.take()
            {
                *failure = before;
            }
            return None;
        };
        let pause = self.pause(attempt, &fault)?;
        self.before = result.as_ref().err().cloned();
        Some(announce(attempt, fault.cause, pause))
    }

    /// Is called before every attempt, for the one after it.
    fn clone_request(&mut self, attempt: &Attempt) -> Option<Attempt> {
        if attempt.number == 1 {
            self.budget.deposit();
        }
        Some(next(attempt))
    }
}

/// A failure that another attempt may mend.
struct Fault {
    cause: Cause,
    /// The call may have had an effect.
    ambiguous: bool,
    retry_after: Option<Duration>,
}

impl Fault {
    fn of(result: &Result<Answer, Failure>) -> Option<Self> {
        let failure = match result {
            Ok(answer) => return Self::said(answer.response.status, answer.verdict),
            Err(failure) => failure,
        };
        let (ambiguous, retry_after) = match failure {
            Failure::Unreachable => (false, None),
            Failure::Broken => (true, None),
            Failure::Refused(refusal) => match refusal.status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    (false, refusal.retry_after)
                }
                status if status.is_server_error() => (true, refusal.retry_after),
                _ => return None,
            },
            // A silent upstream is not waited for twice.
            Failure::TimedOut(_) => return None,
            // Who answers like that will again.
            Failure::Unreadable => return None,
            Failure::NoPlace | Failure::BreakerOpen { .. } | Failure::Paused { .. } | Failure::TooLong => {
                return None;
            }
        };
        Some(Self { cause: Cause::Failed(failure.clone()), ambiguous, retry_after })
    }

    fn lost(status: StatusCode, lost: Lost) -> Option<Self> {
        match lost {
            Lost::Broke => Some(Self { cause: Cause::Broke(status), ambiguous: true, retry_after: None }),
            Lost::Said(verdict) => Self::said(status, verdict),
        }
    }

    fn said(status: StatusCode, verdict: Verdict) -> Option<Self> {
        let (ambiguous, retry_after) = match verdict {
            Verdict::Fine | Verdict::Refused => return None,
            Verdict::Busy { retry_after } | Verdict::Unavailable { retry_after } => (false, retry_after),
            Verdict::Failed => (true, None),
        };
        Some(Self { cause: Cause::Said(status, verdict), ambiguous, retry_after })
    }
}

/// The pause before attempt `number` (from 2): anything up to twice the one before, so that calls which failed together do not
/// come back together.
fn backoff(config: &RetryConfig, number: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(number.saturating_sub(2));
    let longest = config.base.saturating_mul(doubled).min(config.cap);
    longest.mul_f64(rand::random::<f64>())
}

/// How many of an upstream's recent calls may be sent again, so that an outage is not answered with a multiple of the load.
///
/// Not `tower::retry::budget::TpsBudget`: that turns the percentage into a whole number of calls per repeat (40 % becomes 50 %), and
/// adds its reserve to it in every span, where ours is a floor.
#[derive(Debug)]
struct Budget {
    upstream: String,
    percent: u64,
    window: Mutex<Window>,
}

impl Budget {
    /// What "recent" means. As long as the breaker looks back by default.
    const SPAN: Duration = Duration::from_secs(30);

    /// Always allowed, so that an upstream that is seldom asked has its retries.
    const FLOOR: u64 = 10;

    fn new(upstream: &str, percent: u32) -> Self {
        let window = Mutex::new(Window::new(Self::SPAN));
        Self { upstream: upstream.to_owned(), percent: percent.into(), window }
    }

    /// A call begins.
    fn deposit(&self) {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).now().calls += 1;
    }

    /// Whether one may be sent again; if so, it counts.
    fn withdraw(&self) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = window.sum();
        let allowed = recent.marked < Self::FLOOR.max(recent.calls.saturating_mul(self.percent) / 100);
        if allowed {
            window.now().marked += 1;
        } else {
            metrics::counter!("switchboard_retry_budget_exhausted_total", "provider" => self.upstream.clone())
                .increment(1);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_budget_is_a_share_of_recent_calls_and_ten_at_least() {
        let budget = Budget::new("one", 20);
        let drawn = || std::iter::repeat_with(|| budget.withdraw()).take_while(|drawn| *drawn).count();
        assert_eq!(drawn(), 10);
        (0..99).for_each(|_| budget.deposit());
        assert_eq!(drawn(), 9);
        tokio::time::advance(Budget::SPAN).await;
        assert_eq!(drawn(), 10);
    }

    #[test]
    fn the_backoff_doubles_up_to_its_cap() {
        let config = RetryConfig {
            attempts_max: 9,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(3),
            budget_percent: 20,
            ambiguous: false,
        };
        for (number, longest) in [(2, 500), (3, 1000), (4, 2000), (5, 3000), (90, 3000)] {
            let drawn: Vec<_> = (0..500).map(|_| backoff(&config, number).as_millis()).collect();
            assert!(drawn.iter().all(|pause| *pause <= longest), "attempt {number}");
            // Full jitter: both ends of the range are met.
            assert!(drawn.iter().any(|pause| *pause > longest * 4 / 5), "attempt {number}");
            assert!(drawn.iter().any(|pause| *pause < longest / 5), "attempt {number}");
        }
    }
}

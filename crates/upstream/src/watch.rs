//! The clocks: to a response's headers, between the pieces of its body, and the call's deadline over both.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tower::Service;

use crate::around::call;
use crate::attempt::{Attempt, after};
use crate::{Body, Clock, Failure};

/// Ends an attempt whose headers do not come in time.
pub(crate) async fn headers<S>(
    timeout: Duration,
    attempt: Attempt,
    next: S,
) -> Result<http::Response<Body>, Failure>
where
    S: Service<Attempt, Response = http::Response<Body>, Error = Failure>,
{
    let deadline = attempt.journey.deadline;
    let (end, clock) = match after(Instant::now(), timeout) {
        end if attempt.journey.call.headers_clock && end < deadline => (end, Clock::Headers),
        _ => (deadline, Clock::Total),
    };
    timeout_at(end, call(next, attempt)).await.unwrap_or(Err(Failure::TimedOut(clock)))
}

/// Ends a body that is silent for too long, or when the call's deadline has come.
pub(crate) async fn body<S>(
    idle: Duration,
    attempt: Attempt,
    next: S,
) -> Result<http::Response<Body>, Failure>
where
    S: Service<Attempt, Response = http::Response<Body>, Error = Failure>,
{
    let deadline = attempt.journey.deadline;
    let response = call(next, attempt).await?;
    Ok(response.map(|body| Body::new(Watched::new(body, idle, deadline))))
}

pin_project! {
    /// A body under its clocks.
    ///
    /// One timer runs for both. It is not set anew for every piece: when it fires, it is seen whether a piece came meanwhile,
    /// and it is set to what is left. A piece costs one look at the clock.
    ///
    /// Silence is counted from when somebody waits for the next piece. Whoever reads at once, as the engine does, counts from the
    /// last byte; for one who is late the upstream is not to blame. Before the first byte only the deadline counts: how long an
    /// answer may take to begin is the caller's clock, which may well be longer than this one.
    struct Watched {
        body: Body,
        idle: Duration,
        deadline: Instant,
        begun: bool,
        silent_since: Option<Instant>,
        #[pin]
        timer: Sleep,
    }
}

impl Watched {
    fn new(body: Body, idle: Duration, deadline: Instant) -> Self {
        Self { body, idle, deadline, begun: false, silent_since: None, timer: sleep_until(deadline) }
    }
}

impl Stream for Watched {
    type Item = Result<Bytes, Failure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if let Poll::Ready(item) = Pin::new(&mut *this.body).poll_next(context) {
            *this.silent_since = None;
            *this.begun |= matches!(&item, Some(Ok(bytes)) if !bytes.is_empty());
            // A body that always has a piece ready would never come to the timer.
            if matches!(item, Some(Ok(_))) && Instant::now() >= *this.deadline {
                return Poll::Ready(Some(Err(Failure::TimedOut(Clock::Total))));
            }
            return Poll::Ready(item);
        }
        let end = if *this.begun {
            let since = *this.silent_since.get_or_insert_with(Instant::now);
            after(since, *this.idle).min(*this.deadline)
        } else {
            *this.deadline
        };
        if end < this.timer.deadline() {
            this.timer.as_mut().reset(end);
        }
        loop {
            ready!(this.timer.as_mut().poll(context));
            let now = Instant::now();
            if now >= *this.deadline {
                return Poll::Ready(Some(Err(Failure::TimedOut(Clock::Total))));
            }
            if now >= end {
                return Poll::Ready(Some(Err(Failure::TimedOut(Clock::Idle))));
            }
            this.timer.as_mut().reset(end);
        }
    }
}

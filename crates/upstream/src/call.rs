//! One call and its answer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use http::{HeaderMap, Method, StatusCode};

use crate::attempt::Attempt;
use crate::breaker::{Outcome, Ticket};
use crate::permit::Place;
use crate::{Cause, Failure};

/// Whether a call may be sent again after it can have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Only when the first sending certainly did nothing: no connection, 429, 503.
    Harmless,
    /// Also after a reset or another 5xx: there is no effect to repeat.
    Always,
}

/// What a 2xx answer really is, told from its head and its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What it says.
    Fine,
    /// A 429 in disguise.
    Busy {
        /// When to come back, where it says so.
        retry_after: Option<Duration>,
    },
    /// A 503 in disguise.
    Unavailable {
        /// When to come back, where it says so.
        retry_after: Option<Duration>,
    },
    /// Another 5xx in disguise.
    Failed,
    /// A 4xx in disguise: says nothing of the upstream's health.
    Refused,
}

/// Looks at a 2xx answer's status, headers and first bytes (at least one, unless the body is empty; not necessarily all).
pub type Classifier = fn(StatusCode, &HeaderMap, &[u8]) -> Verdict;

/// An attempt that failed and is followed by another.
#[derive(Debug, Clone)]
pub struct Retried {
    /// What went wrong.
    pub cause: Cause,
    /// How long it took.
    pub duration: Duration,
    /// How long until the next attempt.
    pub retry_in: Duration,
}

/// Is told of every attempt while it is made. Must not block.
pub trait Observer: Send + Sync + fmt::Debug {
    /// An attempt has its place and is being sent.
    fn began(&self);
    /// The head of its answer came, with this 2xx status.
    fn answered(&self, _status: StatusCode) {}
    /// It failed and will be sent again. The last failure is the call's own result and is not told here.
    fn failed(&self, retried: Retried);
    /// Resolves once the failure that was told last is noted wherever it has to be: the next attempt is not sent before. Counts
    /// towards the call's deadline, and is to be bounded by whoever makes it.
    fn noted(&self) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
    /// Whether the attempt under way is dropped because it was silent for longer than its caller waits: then it has failed. Otherwise
    /// the caller went away, which says nothing of the upstream.
    fn gave_up(&self) -> bool {
        false
    }
    /// Headers for the request of the attempt that began last, by which the upstream may go on with the caller's trace (W3C trace
    /// context). None, unless traces are kept.
    fn trace_headers(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// A call to make.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// What is appended to the base URL, its segments percent-encoded already: `/assistant/chat?page=1`.
    pub path: String,
    /// Headers of this call; authorization marked sensitive.
    pub headers: HeaderMap,
    /// The body; shared, so that sending again costs nothing.
    pub body: Bytes,
    /// Whether it may be sent again.
    pub repeat: Repeat,
    /// Whether the clock to the response's headers runs.
    pub headers_clock: bool,
    /// The answer is wanted in one piece, of at most so many bytes as far as anybody reads it: where it is JSON, the call resolves
    /// once all of it is there, so that a body which breaks is an attempt that failed and may be followed by another.
    pub one_piece: Option<usize>,
    /// Looks for failures that hide in a 2xx.
    pub classifier: Option<Classifier>,
    /// Is told of attempts.
    pub observer: Option<Arc<dyn Observer>>,
    /// When the call ends at the latest, body included.
    pub deadline: Instant,
}

/// An answer with a 2xx status.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it comes.
    pub body: Body,
    /// The attempt that this answers; none in one that is made by hand.
    pub(crate) attempt: Option<Attempt>,
}

/// A call that was answered, by which it can be made again ([`crate::Upstream::again`]). Holds the call's body in memory.
#[derive(Debug, Clone)]
pub struct Answered {
    pub(crate) attempt: Attempt,
    pub(crate) status: StatusCode,
}

impl Response {
    /// One that answers no call: for tests.
    #[must_use]
    pub fn new(status: StatusCode, headers: HeaderMap, body: Body) -> Self {
        Self { status, headers, body, attempt: None }
    }

    /// The call that it answers.
    #[must_use]
    pub fn answered(&self) -> Option<Answered> {
        let attempt = self.attempt.clone()?;
        Some(Answered { attempt, status: self.status })
    }

    /// The whole body.
    ///
    /// # Errors
    /// The body broke, stalled, or is longer than `bytes_max`.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Bytes, Failure> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if whole.len().saturating_add(piece.len()) > bytes_max {
                return Err(Failure::TooLong);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// A body as it comes. Its end is the transfer's own clean end (last chunk, full length, or an orderly close where neither was
/// given); everything else is an error, which is the last item. Holds the call's place at the upstream until it has ended or is
/// dropped; dropped before its end, the request is cancelled.
pub struct Body {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>,
    /// A piece that was looked at beforehand.
    first: Option<Bytes>,
    /// How it broke while it was looked at.
    broke: Option<Failure>,
    ended: bool,
    /// Both are told of the end here, not each by a stream around this one: a piece should cost one call.
    place: Option<Place>,
    ticket: Option<Ticket>,
}

impl Body {
    /// A body of these pieces.
    pub fn new(pieces: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static) -> Self {
        Self { pieces: Box::pin(pieces), first: None, broke: None, ended: false, place: None, ticket: None }
    }

    /// The first piece, which stays where it is; empty if there is none.
    pub(crate) async fn peek(&mut self) -> Result<&[u8], Failure> {
        while self.first.is_none() {
            match self.next().await.transpose()? {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => self.first = Some(piece),
                None => return Ok(&[]),
            }
        }
        Ok(self.first.as_deref().unwrap_or_default())
    }

    /// Waits for all of it, or for more than `bytes_max`; it stays where it is. If it breaks, that is what its reader gets.
    pub(crate) async fn gather(&mut self, bytes_max: usize) -> Result<(), Failure> {
        let (mut only, mut whole) = (None, BytesMut::new());
        while whole.len() <= bytes_max {
            match self.next().await {
                // Most come in one piece, which is not copied.
                Some(Ok(piece)) if only.is_none() && whole.is_empty() && piece.len() <= bytes_max => {
                    only = Some(piece);
                }
                Some(Ok(piece)) => {
                    whole.extend_from_slice(&only.take().unwrap_or_default());
                    whole.extend_from_slice(&piece);
                }
                Some(Err(failure)) => {
                    self.broke = Some(failure.clone());
                    return Err(failure);
                }
                None => break,
            }
        }
        self.first =
            only.or_else(|| (!whole.is_empty()).then(|| whole.freeze())).filter(|all| !all.is_empty());
        Ok(())
    }

    /// Holds a place until it ends.
    pub(crate) fn hold(&mut self, place: Place) {
        self.place = Some(place).filter(|_| !self.ended);
    }

    /// Ends it before its end: its reader found in it what it really is, beyond what a classifier can see of it.
    pub fn found(mut self, verdict: Verdict) {
        if let Some(ticket) = self.ticket.take() {
            ticket.settle_verdict(verdict);
        }
    }

    /// Tells the breaker how it ends.
    pub(crate) fn ride(&mut self, ticket: Ticket) {
        match &self.broke {
            Some(failure) => ticket.settle_failure(failure),
            None if self.ended => ticket.settle(Outcome::Succeeded, None, None),
            None => self.ticket = Some(ticket),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(failure) = self.broke.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.pieces.as_mut().poll_next(context));
        if !matches!(item, Some(Ok(_))) {
            self.ended = true;
            self.place = None;
            if let Some(ticket) = self.ticket.take() {
                match &item {
                    Some(Err(failure)) => ticket.settle_failure(failure),
                    _ => ticket.settle(Outcome::Succeeded, None, None),
                }
            }
        }
        Poll::Ready(item)
    }
}

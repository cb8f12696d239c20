//! The requests of an HTTP/2 connection, each a stream of it on a task of its own.
//!
//! The library asks for a body's next piece when the client has room for it, and waits for room without a clock: a client that reads
//! one stream and not another would keep the other for ever. So it is watched from outside whether a stream waits for us or for its
//! client, and one that waits for its client too long is reset; the connection's other streams go on.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::tasks::Tasks;

/// The most that is handed to the library at once: it copies nothing, but tells nothing either until it has been taken.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// What a stream did last when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing of ours was asked: there is no room at the client.
    Nothing,
    /// A piece was handed over.
    Gave,
    /// It waits for us.
    Waits,
}

tokio::task_local! {
    static LAST: Cell<Last>;
}

fn tell(last: Last) {
    // Outside a stream there is nobody to tell.
    let _ = LAST.try_with(|cell| cell.set(last));
}

/// Runs the streams of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    tasks: Tasks,
    /// How long a client may take no byte of a stream that has some for it.
    within: Duration,
    open: watch::Sender<usize>,
}

/// A stream that runs, as long as this lives.
#[derive(Debug)]
struct Open(watch::Sender<usize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

impl Streams {
    pub(crate) fn new(tasks: Tasks, within: Duration) -> Self {
        Self { tasks, within, open: watch::Sender::new(0) }
    }

    /// Whether no stream runs.
    pub(crate) fn is_idle(&self) -> bool {
        *self.open.borrow() == 0
    }

    /// Resolves once no stream has run for so long.
    pub(crate) async fn idle(&self, within: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // The sender is ours: it is not gone.
            let _ = open.wait_for(|open| *open == 0).await;
            if tokio::time::timeout(within, open.wait_for(|open| *open > 0)).await.is_err() {
                return;
            }
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.open.send_modify(|open| *open += 1);
        let open = Open(self.open.clone());
        let within = self.within;
        self.tasks.spread(async move {
            watched(stream, within).await;
            drop(open);
        });
    }
}

/// Runs a stream until it ends or its client has taken nothing for so long; dropping it resets it.
async fn watched(stream: impl Future<Output = ()>, within: Duration) {
    let mut stream = pin!(stream);
    let mut stuck: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        let (polled, last) = LAST.sync_scope(Cell::new(Last::Nothing), || {
            let polled = stream.as_mut().poll(context);
            (polled, LAST.with(Cell::get))
        });
        if polled.is_ready() {
            return Poll::Ready(());
        }
        match last {
            Last::Waits => {
                stuck = None;
                return Poll::Pending;
            }
            Last::Gave => stuck = None,
            Last::Nothing => {}
        }
        let stuck = stuck.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(stuck.as_mut().poll(context));
        tracing::debug!("a client takes nothing of a stream: it is reset");
        Poll::Ready(())
    })
    .await;
}

/// Waits for an answer, and says that it is us who is waited for.
pub(crate) async fn ours<F: Future>(answer: F) -> F::Output {
    let mut answer = pin!(answer);
    poll_fn(|context| {
        let polled = answer.as_mut().poll(context);
        tell(if polled.is_ready() { Last::Gave } else { Last::Waits });
        polled
    })
    .await
}

/// The body of an answer, in pieces.
#[derive(Debug)]
pub(crate) struct Pieces {
    body: Body,
    rest: Bytes,
}

impl Pieces {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, rest: Bytes::new() }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let count = self.rest.len().min(PIECE_BYTES_MAX);
        Frame::data(self.rest.split_to(count))
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.body).poll_frame(context);
            tell(if polled.is_ready() { Last::Gave } else { Last::Waits });
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        } else {
            tell(Last::Gave);
        }
        Poll::Ready(Some(Ok(self.piece())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        match hint.upper() {
            Some(upper) => {
                hint.set_upper(upper.saturating_add(rest));
                hint.set_lower(hint.lower().saturating_add(rest));
            }
            None => hint.set_lower(hint.lower().saturating_add(rest)),
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use tokio::time::Instant;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(60);

    async fn piece(body: &mut Pieces) -> usize {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        frame.unwrap().unwrap().into_data().unwrap().len()
    }

    /// How long a stream is let live.
    async fn life(stream: impl Future<Output = ()>) -> Duration {
        let began = Instant::now();
        watched(stream, WITHIN).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_a_piece_now_and_then_is_let_live() {
        let body = Body::from(vec![0; PIECE_BYTES_MAX * 3 + 1]);
        let slowly = async {
            let mut body = Pieces::new(body);
            for expected in [PIECE_BYTES_MAX, PIECE_BYTES_MAX, PIECE_BYTES_MAX, 1] {
                assert!(!body.is_end_stream());
                assert_eq!(piece(&mut body).await, expected);
                sleep(WITHIN * 9 / 10).await;
            }
            assert!(body.is_end_stream());
        };
        assert_eq!(life(slowly).await, WITHIN * 9 / 10 * 4);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_is_let_live_no_longer_than_so() {
        let stuck = async {
            let mut body = Pieces::new(Body::from(vec![0; PIECE_BYTES_MAX * 2]));
            piece(&mut body).await;
            std::future::pending::<()>().await;
        };
        assert_eq!(life(stuck).await, WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_us_may_wait() {
        let patient = async {
            ours(sleep(WITHIN * 10)).await;
            let late = futures_util::stream::once(async {
                sleep(WITHIN * 10).await;
                Ok::<_, std::convert::Infallible>(Bytes::from_static(b"late"))
            });
            let mut body = Pieces::new(Body::from_stream(Box::pin(late)));
            assert_eq!(piece(&mut body).await, 4);
        };
        assert_eq!(life(patient).await, WITHIN * 20);
    }
}

//! HTTP/1.1 or HTTP/2: serving a connection in the one that it speaks.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::Shutdown;
use crate::places::Places;
use crate::preface::{self, Begun, Version};
use crate::progress::{Answer, Progress};
use crate::refusal::Worded;
use crate::streams::{self, Pieces, Streams};
use crate::takeover::{Handed, Slot, Stream, Terms, is_event_stream};
use crate::tasks::Tasks;

/// The most that one HTTP/1.1 connection buffers each way: a request's head must fit. Small, because there may be many streams.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// The most requests at once in one HTTP/2 connection: what common servers allow.
const STREAMS_MAX: u32 = 128;
/// How long a new connection may take to say something while the process leaves.
const FIRST_WORD: Duration = Duration::from_millis(250);
/// How much of a request's body a client may send before it is read, for one request; four times that for all of a connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// How connections are served.
#[derive(Debug)]
pub(crate) struct Protocols {
    one: http1::Builder,
    header_timeout: Duration,
    write_timeout: Duration,
    tasks: Tasks,
    places: Arc<Places>,
}

impl Protocols {
    /// `header_timeout`: for a request's head, and between two requests. `write_timeout`: for a client that takes no bytes. The
    /// requests of HTTP/2 run on `tasks`. Idle connections make room in `places`.
    pub(crate) fn new(
        header_timeout: Duration,
        write_timeout: Duration,
        tasks: Tasks,
        places: Arc<Places>,
    ) -> Self {
        let mut one = http1::Builder::new();
        one.timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(BUFFER_BYTES_MAX)
            .half_close(false);
        Self { one, header_timeout, write_timeout, tasks, places }
    }

    /// Resolves when an idle connection is to make room.
    pub(crate) async fn wanted(&self) {
        self.places.wanted().await;
    }

    /// Serves a connection until its client has left or the process leaves.
    pub(crate) async fn serve<S>(&self, socket: S, router: Router, shutdown: &Shutdown)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let begun = tokio::select! {
            biased;
            () = shutdown.now.cancelled() => return,
            begun = tokio::time::timeout(self.header_timeout, preface::read(socket)) => begun,
            () = self.wanted() => return,
            () = finishing(shutdown) => return,
        };
        match begun {
            Ok(Ok(Some((Version::One, socket)))) => self.serve_one(socket, router, shutdown).await,
            // Boxed, so that the others have no room for it.
            Ok(Ok(Some((Version::Two, socket)))) => Box::pin(self.serve_two(socket, router, shutdown)).await,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => broke(&error),
            Err(_) => tracing::debug!("a client connected and said nothing"),
        }
    }

    async fn serve_one<S>(&self, socket: Begun<S>, router: Router, shutdown: &Shutdown)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (progress, slot) = (Progress::default(), Slot::default());
        let mut socket = Worded::new(socket, progress.clone());
        let router = TowerToHyperService::new(router);
        let (asked, handing, leave) = (progress.clone(), slot.clone(), shutdown.leave.clone());
        let mut service = service_fn(move |request: http::Request<Incoming>| {
            let terms = Terms::of(&request);
            let answer = router.call(request.map(|body| asked.begin(body)));
            answered(answer, terms, asked.clone(), handing.clone(), leave.clone())
        });
        loop {
            let mut connection = Box::pin(self.one.serve_connection(TokioIo::new(socket), service));
            // The library's own clock closes it when it is idle for long.
            let idle = progress.clone();
            let idling = Idling { now: move || idle.is_idle(), long: pending(), linger: self.write_timeout };
            // Taken once the library has nothing left to write.
            let handed = || if progress.is_flushed() { slot.take() } else { None };
            let finish = http1::Connection::graceful_shutdown;
            let Some(handed) = self.drive(connection.as_mut(), finish, handed, idling, shutdown).await else {
                return;
            };
            let close = handed.close || shutdown.finish.is_cancelled();
            let (mut stream, again) = taken_over(connection, handed.response, close);
            service = again;
            if !finished(|context| stream.poll(context), shutdown).await {
                return;
            }
            let ahead;
            (socket, ahead) = stream.into_parts();
            if close || shutdown.finish.is_cancelled() {
                // What came behind the request is not answered any more.
                finished(|context| Pin::new(&mut socket).poll_shutdown(context), shutdown).await;
                return;
            }
            socket.put_back(ahead);
        }
    }

    async fn serve_two<S>(&self, socket: S, router: Router, shutdown: &Shutdown)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let streams = Streams::new(self.tasks.clone(), self.write_timeout);
        let router = TowerToHyperService::new(router);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let answer = router.call(request);
            async move { streams::ours(answer).await.map(|response| response.map(Pieces::new)) }
        });
        let mut two = http2::Builder::new(streams.clone());
        two.timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * 4)
            .max_send_buf_size(BUFFER_BYTES_MAX)
            .max_header_list_size(BUFFER_BYTES_MAX as u32)
            // A client that went away without a word is noticed, also when nothing is sent to it.
            .keep_alive_interval(self.write_timeout / 2)
            .keep_alive_timeout(self.write_timeout / 2);
        let connection = two.serve_connection(TokioIo::new(socket), service);
        let idling = Idling {
            now: || streams.is_idle(),
            long: streams.idle(self.header_timeout),
            linger: self.write_timeout,
        };
        let finish = http2::Connection::graceful_shutdown;
        let _: Option<Infallible> = self.drive(pin!(connection), finish, || None, idling, shutdown).await;
    }

    /// Serves until the client has left, the process leaves, or the connection is idle and its place is wanted: then none. Or until an
    /// answer is `handed` over: then that.
    async fn drive<C, E, H>(
        &self,
        mut connection: Pin<&mut C>,
        finish: fn(Pin<&mut C>),
        handed: impl Fn() -> Option<H>,
        idling: Idling<impl Fn() -> bool, impl Future<Output = ()>>,
        shutdown: &Shutdown,
    ) -> Option<H>
    where
        C: Future<Output = Result<(), E>>,
        E: Display,
    {
        let mut long = pin!(idling.long);
        let mut lingering = None;
        let mut finishing = false;
        let mut wanted = None;
        // What is told to finish before it has read anything closes at once, with a request that lies there unread.
        if shutdown.finish.is_cancelled()
            && poll_fn(|context| Poll::Ready(connection.as_mut().poll(context))).await.is_ready()
        {
            return None;
        }
        loop {
            let served = poll_fn(|context| {
                if let Poll::Ready(served) = connection.as_mut().poll(context) {
                    return Poll::Ready(Served::Ended(served));
                }
                if let Some(handed) = handed() {
                    return Poll::Ready(Served::Handed(handed));
                }
                if !(idling.now)() {
                    wanted = None;
                    return Poll::Pending;
                }
                wanted
                    .get_or_insert_with(|| Box::pin(self.wanted()))
                    .as_mut()
                    .poll(context)
                    .map(|()| Served::Idle)
            });
            tokio::select! {
                biased;
                () = shutdown.now.cancelled() => return None,
                () = shutdown.finish.cancelled(), if !finishing => finishing = true,
                served = served => {
                    match served {
                        Served::Ended(Ok(())) => {}
                        Served::Ended(Err(error)) => broke(&error),
                        Served::Idle => tracing::debug!("an idle connection is closed: its place is wanted"),
                        Served::Handed(handed) => return Some(handed),
                    }
                    return None;
                }
                () = long.as_mut(), if !finishing => {
                    finishing = true;
                    lingering = Some(Box::pin(sleep(idling.linger)));
                }
                () = some(lingering.as_mut()) => return None,
            }
            if finishing {
                finish(connection.as_mut());
            }
        }
    }
}

/// What became of a connection.
enum Served<E, H> {
    Ended(Result<(), E>),
    /// It was idle, and its place is wanted.
    Idle,
    Handed(H),
}

/// When a connection is idle.
struct Idling<Now, Long> {
    /// Whether it is.
    now: Now,
    /// Resolves once it has been so for long: it is told to leave, …
    long: Long,
    /// … and closed if it stays for so long after that.
    linger: Duration,
}

/// The answer to a request, if the library is to write it: an event stream is handed to the connection's driver, where that is safe.
async fn answered(
    answer: impl Future<Output = Result<Response, Infallible>>,
    terms: Option<Terms>,
    progress: Progress,
    slot: Slot,
    leave: CancellationToken,
) -> Result<http::Response<Answer>, Infallible> {
    let mut response = answer.await?;
    if leave.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let response = response.map(|body| progress.answer(body));
    match terms {
        Some(Terms { close }) if progress.is_read() && is_event_stream(&response) => {
            let close = close || leave.is_cancelled();
            match slot.put(Handed { response, close }).await {}
        }
        _ => Ok(response),
    }
}

/// Takes a connection apart, for a stream to be written on its socket; and the service, for what comes after it.
///
/// Not part of an `async fn`: it would keep room for the parts as long as the stream runs.
fn taken_over<S, T>(
    connection: Pin<Box<http1::Connection<TokioIo<S>, T>>>,
    response: http::Response<Answer>,
    close: bool,
) -> (Stream<S>, T)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: HttpService<Incoming, ResBody = Answer, Error = Infallible>,
{
    let parts = Pin::into_inner(connection).into_parts();
    (Stream::new(parts.io.into_inner(), &parts.read_buf, response, close), parts.service)
}

/// Does something with a socket to its end; whether it came to a good one before the process had to leave.
async fn finished(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    shutdown: &Shutdown,
) -> bool {
    let mut now = pin!(shutdown.now.cancelled());
    poll_fn(|context| {
        if now.as_mut().poll(context).is_ready() {
            return Poll::Ready(false);
        }
        poll(context).map(|done| done.inspect_err(broke).is_ok())
    })
    .await
}

/// Resolves when a connection that has said nothing yet is not waited for any more: its first request may be under way when the process
/// begins to close.
async fn finishing(shutdown: &Shutdown) {
    shutdown.finish.cancelled().await;
    sleep(FIRST_WORD).await;
}

/// Waits, where there is something to wait for.
async fn some(future: Option<impl Future<Output = ()>>) {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

fn broke(error: &impl Display) {
    // A client that left, or sent no HTTP: its own affair.
    tracing::debug!(%error, "a connection broke");
}

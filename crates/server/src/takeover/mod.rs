//! Event streams over HTTP/1.1, written without the library.
//!
//! The library keeps two buffers of 8 KiB for as long as a connection lasts, and brings each event through one of them. Thousands of
//! streams are open at a time, and for most of it nothing happens on them: so a connection is taken out of the library while it
//! streams. Its answer is handed to whoever drives the connection, who takes the library's connection apart, writes the head that the
//! library would have written, then each frame from where it lies, and begins a new connection on the same socket afterwards.

mod chunks;
mod head;

use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::chunks::Chunks;
pub(crate) use self::head::{Terms, is_event_stream};
use crate::progress::Answer;

/// How much of a next request is read while a stream runs: the rest waits at the client, as a request behind another always does.
const AHEAD_BYTES_MAX: usize = 512;
/// How often frames are written without a pause, where there are always more, before others have their turn.
const ROUNDS_MAX: usize = 16;

/// An answer that its service hands to the connection's driver.
pub(crate) struct Handed {
    /// The answer.
    pub(crate) response: Response<Answer>,
    /// Whether the connection ends with it.
    pub(crate) close: bool,
}

/// Where an answer is handed over.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Box<Handed>>>>);

impl Slot {
    /// Hands an answer over. Never resolves: whoever waits for the service is dropped when the answer is taken.
    pub(crate) async fn put(&self, handed: Handed) -> std::convert::Infallible {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(handed));
        pending().await
    }

    /// The answer that was handed over.
    pub(crate) fn take(&self) -> Option<Box<Handed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A stream that is written to its end.
pub(crate) struct Stream<S> {
    socket: S,
    body: Option<Answer>,
    chunks: Chunks,
    flushed: bool,
    /// What the client sent behind its request.
    ahead: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// `ahead`: what was read behind the request.
    pub(crate) fn new(socket: S, ahead: &[u8], response: Response<Answer>, close: bool) -> Self {
        let (parts, body) = response.into_parts();
        let chunks = Chunks::new(head::encode(&parts.headers, close));
        // A copy, because what was read lies in a buffer that is kept with it.
        let ahead = Bytes::copy_from_slice(ahead);
        Self { socket, body: Some(body), chunks, flushed: true, ahead }
    }

    /// The socket, and what the client has sent behind its request.
    pub(crate) fn into_parts(self) -> (S, Bytes) {
        (self.socket, self.ahead)
    }

    /// Writes until the stream has ended and all of it is written.
    ///
    /// # Errors
    /// The client has left or takes nothing, or the stream broke: the connection is to be closed as it is, so that the client sees that
    /// the end is missing.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look_at_client(context)?;
        for _ in 0..ROUNDS_MAX {
            // Nothing is asked for before what is there has been written: a client that is slow holds no more than this.
            if !self.flushed {
                ready!(self.poll_written(context))?;
            }
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            let gathered = self.gather(context)?;
            ready!(self.poll_written(context))?;
            ready!(gathered);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Finds out whether the client has left. Once it has sent more, that waits to be read before its end is.
    fn look_at_client(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.ahead.is_empty() {
            return Ok(());
        }
        let mut bytes = [const { MaybeUninit::uninit() }; AHEAD_BYTES_MAX];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        match Pin::new(&mut self.socket).poll_read(context, &mut buffer)? {
            Poll::Pending => Ok(()),
            Poll::Ready(()) if buffer.filled().is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(()) => {
                self.ahead = Bytes::copy_from_slice(buffer.filled());
                Ok(())
            }
        }
    }

    /// Takes the frames that are there, as many as are written together.
    fn gather(&mut self, context: &mut Context<'_>) -> io::Result<Poll<()>> {
        while let Some(body) = &mut self.body
            && !self.chunks.is_full()
        {
            match Pin::new(body).poll_frame(context) {
                Poll::Pending => return Ok(Poll::Pending),
                // A stream of events has no trailers.
                Poll::Ready(Some(Ok(frame))) => self.chunks.push(frame.into_data().unwrap_or_default()),
                Poll::Ready(Some(Err(error))) => return Err(io::Error::other(error)),
                Poll::Ready(None) => {
                    self.body = None;
                    self.chunks.end();
                }
            }
        }
        Ok(Poll::Ready(()))
    }

    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.chunks.is_empty() {
            self.flushed = false;
            let Self { socket, chunks, .. } = self;
            let written = chunks.write(|slices| Pin::new(socket).poll_write_vectored(context, slices));
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.chunks.advance(count),
            }
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.socket).poll_flush(context))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;

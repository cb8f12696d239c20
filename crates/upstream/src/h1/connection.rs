//! A connection: a socket, with TLS on it where the upstream's URL says so.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::READ_BYTES;
use super::session::Session;

/// How long what the runtime knows of a connection counts as all there is to know.
const KNOWN_FOR: Duration = Duration::from_millis(50);

thread_local! {
    /// What a socket has is read into this and taken from there at once: no stream keeps a buffer while it waits. A record of TLS and
    /// the next one's beginning fit.
    pub(super) static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 3 * READ_BYTES]);
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    tls: Option<Box<Session>>,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, tls: Option<Session>) -> Self {
        Self { socket, tls: tls.map(Box::new) }
    }

    /// Sends what can be sent now, and takes it off. How many bytes went out.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        unsent: &mut Chain<Bytes, Bytes>,
    ) -> Poll<io::Result<usize>> {
        if let Some(session) = &mut self.tls {
            return session.poll_write(&mut self.socket, context, unsent);
        }
        let mut slices = [IoSlice::new(&[]); 2];
        let count = unsent.chunks_vectored(&mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        let count = ready!(Pin::new(&mut self.socket).poll_write_vectored(context, slices))?;
        unsent.advance(count);
        Poll::Ready(Ok(count))
    }

    /// Whether all that was taken off has been sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|session| session.is_flushed())
    }

    /// Hands over what is there. How many bytes it was; 0 at the connection's end.
    ///
    /// # Errors
    /// Those of the socket; a session that was cut off, or broken.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        mut take: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        if let Some(session) = &mut self.tls {
            return session.poll_read(&mut self.socket, context, &mut take);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch.get_mut(..READ_BYTES).unwrap_or_default());
            // Knows, unlike a mere attempt at reading, that a read which leaves room in the buffer has read all there was.
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
            take(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Whether nothing has come while it waited: neither its end nor bytes that nobody asked for.
    pub(super) fn is_quiet(&mut self, since: Instant) -> bool {
        // What the runtime knows is as good as what the system says, where it has only just looked.
        let known = self.socket.ready(Interest::READABLE).now_or_never().is_none();
        if known && since.elapsed() < KNOWN_FOR {
            return true;
        }
        if let Some(session) = &mut self.tls {
            return session.is_quiet(&self.socket);
        }
        let mut byte = [0];
        matches!(self.socket.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(session) = &mut self.tls {
            session.close(&self.socket);
        }
    }
}

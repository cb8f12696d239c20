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
use tokio::runtime::{Handle, Id};
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
    /// There, but while it is moved.
    socket: Option<TcpStream>,
    tls: Option<Box<Session>>,
    /// The runtime that listens to it.
    home: Id,
}

impl Connection {
    /// A connection that the runtime of the caller listens to.
    pub(super) fn new(socket: TcpStream, tls: Option<Session>) -> Self {
        Self { socket: Some(socket), tls: tls.map(Box::new), home: Handle::current().id() }
    }

    /// The runtime that listens to it.
    pub(super) fn home(&self) -> Id {
        self.home
    }

    /// Moves it to the runtime of the caller: what another one learns of it costs a change of threads each time.
    pub(super) fn move_here(mut self) -> io::Result<Self> {
        let here = Handle::current().id();
        if self.home != here {
            let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
            self.socket = Some(TcpStream::from_std(socket.into_std()?)?);
            self.home = here;
        }
        Ok(self)
    }

    /// Sends what can be sent now, and takes it off. How many bytes went out.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        unsent: &mut Chain<Bytes, Bytes>,
    ) -> Poll<io::Result<usize>> {
        let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if let Some(session) = &mut self.tls {
            return session.poll_write(socket, context, unsent);
        }
        let mut slices = [IoSlice::new(&[]); 2];
        let count = unsent.chunks_vectored(&mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        let count = ready!(Pin::new(socket).poll_write_vectored(context, slices))?;
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
        let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if let Some(session) = &mut self.tls {
            return session.poll_read(socket, context, &mut take);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch.get_mut(..READ_BYTES).unwrap_or_default());
            // Knows, unlike a mere attempt at reading, that a read which leaves room in the buffer has read all there was.
            ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
            take(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Whether nothing has come while it waited: neither its end nor bytes that nobody asked for.
    pub(super) fn is_quiet(&mut self, since: Instant) -> bool {
        let Some(socket) = &self.socket else { return false };
        // What the runtime knows is as good as what the system says, where it has only just looked.
        let known = socket.ready(Interest::READABLE).now_or_never().is_none();
        if known && since.elapsed() < KNOWN_FOR {
            return true;
        }
        if let Some(session) = &mut self.tls {
            return session.is_quiet(socket);
        }
        let mut byte = [0];
        matches!(socket.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let (Some(session), Some(socket)) = (&mut self.tls, &self.socket) {
            session.close(socket);
        }
    }
}

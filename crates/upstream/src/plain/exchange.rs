//! A request and its answer on a connection: sending goes on while the answer is read.

use std::cell::RefCell;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::{self, Head};
use super::pool::Connection;
use super::{READ_BYTES, short};

/// How long a head may be.
const HEAD_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    /// What a socket has is read into this and taken from there at once: no stream keeps a buffer while it waits.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum Lost {
    /// Not a byte could be sent, and none came.
    Unsent,
    Io(io::Error),
    /// What came is no answer.
    Unreadable(&'static str),
}

/// An exchange under way. Dropped, it closes its connection.
#[derive(Debug)]
pub(super) struct Exchange {
    connection: Connection,
    /// What of the request is not sent yet; none once all is, or nothing more can be.
    unsent: Option<Box<Chain<Bytes, Bytes>>>,
    /// Not all of the request could be sent.
    cut: bool,
    sent: bool,
    /// What came and was not taken yet.
    pub(super) pending: Vec<u8>,
}

impl Exchange {
    pub(super) fn new(connection: Connection, head: Bytes, body: Bytes) -> Self {
        let unsent = Some(Box::new(head.chain(body)));
        Self { connection, unsent, cut: false, sent: false, pending: Vec::new() }
    }

    /// Sends, and reads the answer's head. Interim answers are skipped.
    pub(super) async fn head(&mut self, without_body: bool) -> Result<Head, Lost> {
        loop {
            while !self.pending.is_empty()
                && let Some((head, length)) =
                    head::decode(&self.pending, without_body).map_err(Lost::Unreadable)?
            {
                self.pending.drain(..length);
                match head.status.as_u16() {
                    // Nobody asked for another protocol.
                    101 => return Err(Lost::Unreadable("another protocol")),
                    status if (100..200).contains(&status) => {}
                    _ => return Ok(head),
                }
            }
            if self.pending.len() > HEAD_BYTES_MAX {
                return Err(Lost::Unreadable("a head without end"));
            }
            let more = std::future::poll_fn(|context| {
                self.send(context);
                self.read(context, |pending, bytes| pending.extend_from_slice(bytes))
            });
            let error = match more.await {
                Ok(0) => short(),
                Ok(_) => continue,
                Err(error) => error,
            };
            return Err(if self.sent || !self.pending.is_empty() { Lost::Io(error) } else { Lost::Unsent });
        }
    }

    /// Sends what can be sent now. That it cannot is no failure: the answer may say why.
    pub(super) fn send(&mut self, context: &mut Context<'_>) {
        while let Some(unsent) = &mut self.unsent {
            if !unsent.has_remaining() {
                self.unsent = None;
                return;
            }
            let mut slices = [IoSlice::new(&[]); 2];
            let count = unsent.chunks_vectored(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            match Pin::new(&mut self.connection.socket).poll_write_vectored(context, slices) {
                Poll::Pending => return,
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.sent = true;
                    unsent.advance(count);
                }
                Poll::Ready(_) => {
                    self.unsent = None;
                    self.cut = true;
                }
            }
        }
    }

    /// Reads what is there and hands it over with what is pending. How many bytes it was; 0 at the connection's end.
    pub(super) fn read(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut Vec<u8>, &[u8]),
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            // Knows, unlike a mere attempt at reading, that a read which leaves room in the buffer has read all there was.
            ready!(Pin::new(&mut self.connection.socket).poll_read(context, &mut buffer))?;
            take(&mut self.pending, buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// The connection, if it can be used again after a body that ended where it should.
    pub(super) fn finish(self) -> Option<Connection> {
        let clean = self.unsent.is_none() && !self.cut && self.pending.is_empty();
        clean.then_some(self.connection)
    }
}

//! A request and its answer on a connection: sending goes on while the answer is read.

use std::io;
use std::task::{Context, Poll};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};

use super::connection::Connection;
use super::head::{self, Head};
use super::short;

/// How long a head may be.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// Why there is no head.
#[derive(Debug)]
pub(super) enum Lost {
    /// Not a byte could be sent, and none came.
    Unsent,
    Io(io::Error),
    /// The server speaks HTTP/2, and has not understood a word.
    Newer,
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
    /// What came with the head and was not taken yet.
    pub(super) pending: Bytes,
    /// More came than there should be.
    pub(super) surplus: bool,
}

impl Exchange {
    pub(super) fn new(connection: Connection, head: Bytes, body: Bytes) -> Self {
        let unsent = Some(Box::new(head.chain(body)));
        Self { connection, unsent, cut: false, sent: false, pending: Bytes::new(), surplus: false }
    }

    /// Sends, and reads the answer's head. Interim answers are skipped.
    pub(super) async fn head(&mut self, without_body: bool) -> Result<Head, Lost> {
        let mut came = Vec::new();
        loop {
            let more = std::future::poll_fn(|context| {
                self.send(context);
                self.read(context, |bytes| came.extend_from_slice(bytes))
            });
            let error = match more.await {
                Ok(0) => short(),
                Ok(_) => {
                    if let Some(head) = self.decode(&mut came, without_body)? {
                        return Ok(head);
                    }
                    continue;
                }
                Err(error) => error,
            };
            return Err(if self.sent || !came.is_empty() { Lost::Io(error) } else { Lost::Unsent });
        }
    }

    /// Reads the head in what came, if it is whole. What stands behind it is pending.
    fn decode(&mut self, came: &mut Vec<u8>, without_body: bool) -> Result<Option<Head>, Lost> {
        let mut bytes = Bytes::from(std::mem::take(came));
        if head::is_newer(&bytes) {
            return Err(Lost::Newer);
        }
        while let Some((head, length)) = head::decode(&bytes, without_body).map_err(Lost::Unreadable)? {
            bytes.advance(length);
            match head.status.as_u16() {
                // Nobody asked for another protocol.
                101 => return Err(Lost::Unreadable("another protocol")),
                status if (100..200).contains(&status) => {}
                _ => {
                    self.pending = bytes;
                    return Ok(Some(head));
                }
            }
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(Lost::Unreadable("a head without end"));
        }
        *came = bytes.into();
        Ok(None)
    }

    /// Sends what can be sent now. That it cannot is no failure: the answer may say why.
    pub(super) fn send(&mut self, context: &mut Context<'_>) {
        while let Some(unsent) = &mut self.unsent {
            if !unsent.has_remaining() && self.connection.is_flushed() {
                self.unsent = None;
                return;
            }
            match self.connection.poll_write(context, unsent) {
                Poll::Pending => return,
                Poll::Ready(Ok(count)) if count > 0 => self.sent = true,
                Poll::Ready(_) => {
                    self.unsent = None;
                    self.cut = true;
                }
            }
        }
    }

    /// Reads what is there and hands it over, piece by piece. How many bytes it was; 0 at the connection's end.
    pub(super) fn read(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        self.connection.poll_read(context, take)
    }

    /// The connection, if it can be used again after a body that ended where it should.
    pub(super) fn finish(self) -> Option<Connection> {
        let clean = self.unsent.is_none() && !self.cut && !self.surplus && self.pending.is_empty();
        clean.then_some(self.connection)
    }
}

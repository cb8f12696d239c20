//! TLS on a socket, sealed and opened where it is read: a session that waits keeps no buffer.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{AlertDescription, ClientConfig, Error, PeerMisbehaved};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::connection::SCRATCH;
use super::{READ_BYTES, short};

/// How much goes into one record.
const RECORD_BYTES: usize = 16 * 1024;

/// What a record takes beside what is in it: more than any cipher needs.
const RECORD_OVERHEAD: usize = 128;

/// How much is read at once while the session is made: a server's first words and its certificates.
const HANDSHAKE_BYTES: usize = 4 * 1024;

/// A session. Its bytes are the socket's, but for what stands here.
pub(super) struct Session {
    connection: UnbufferedClientConnection,
    /// The beginning of a record whose rest has not come.
    partial: Vec<u8>,
    /// What the server said before it was asked anything.
    early: Vec<u8>,
    /// What is sealed and not sent yet, and how much of it is sent already.
    sealed: Vec<u8>,
    sealed_sent: usize,
    /// The server has said that nothing more comes.
    closed: bool,
    /// No more can be said: what came was no TLS, or something was cut in the middle.
    broken: bool,
}

impl Session {
    /// Makes a session. Its last words to the server go with the first request.
    ///
    /// # Errors
    /// Those of the socket, and [`rustls::Error`] as invalid data.
    pub(super) async fn open(
        socket: &mut TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
        let mut session = Self {
            connection,
            partial: Vec::new(),
            early: Vec::new(),
            sealed: Vec::new(),
            sealed_sent: 0,
            closed: false,
            broken: false,
        };
        let (mut came, mut early) = (Vec::new(), Vec::new());
        loop {
            let taken = session.take_in(&mut came, |said| early.extend_from_slice(said));
            if taken.is_err() {
                // The server is told why, as far as it listens.
                let _ = socket.try_write(&session.sealed);
            } else if session.connection.is_handshaking() {
                socket.write_all(&std::mem::take(&mut session.sealed)).await?;
            }
            came.drain(..taken?);
            if !session.connection.is_handshaking() {
                came.shrink_to_fit();
                (session.partial, session.early) = (came, early);
                return Ok(session);
            }
            came.reserve(HANDSHAKE_BYTES);
            if session.closed || socket.read_buf(&mut came).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof"));
            }
        }
    }

    /// Seals what there is to send and sends what can be sent now. How many bytes the socket took.
    pub(super) fn poll_write(
        &mut self,
        socket: &mut TcpStream,
        context: &mut Context<'_>,
        unsent: &mut Chain<Bytes, Bytes>,
    ) -> Poll<io::Result<usize>> {
        if unsent.has_remaining() && self.sealed.len() - self.sealed_sent < RECORD_BYTES {
            SCRATCH.with_borrow_mut(|scratch| {
                let count = unsent.remaining().min(RECORD_BYTES).min(scratch.len());
                let piece = scratch.get_mut(..count).unwrap_or_default();
                unsent.copy_to_slice(piece);
                self.seal(piece)
            })?;
        }
        self.poll_flush(socket, context)
    }

    /// Sends what is sealed. How many bytes the socket took.
    fn poll_flush(&mut self, socket: &mut TcpStream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let rest = self.sealed.get(self.sealed_sent..).unwrap_or_default();
        if rest.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let count = ready!(Pin::new(socket).poll_write(context, rest))?;
        self.sealed_sent += count;
        if self.is_flushed() {
            (self.sealed, self.sealed_sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(count))
    }

    /// Whether all that was sealed is sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.sealed_sent >= self.sealed.len()
    }

    /// Hands over what was said, all that is there at once. How many bytes it was: 0 once the server has said that it is the end.
    ///
    /// # Errors
    /// Those of the socket; also where it ends without that word: anybody can have cut it there.
    pub(super) fn poll_read(
        &mut self,
        socket: &mut TcpStream,
        context: &mut Context<'_>,
        take: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            take(&early);
            return Poll::Ready(Ok(early.len()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                if self.closed {
                    return Poll::Ready(Ok(0));
                }
                let kept = self.restore(scratch)?;
                let (_, free) = scratch.split_at_mut(kept);
                let mut buffer = ReadBuf::new(free);
                ready!(Pin::new(&mut *socket).poll_read(context, &mut buffer))?;
                let count = buffer.filled().len();
                if count == 0 {
                    self.broken = true;
                    return Poll::Ready(Err(short()));
                }
                let (mut said, was_flushed) = (0, self.is_flushed());
                self.keep(scratch.get_mut(..kept + count).unwrap_or_default(), |bytes| {
                    said += bytes.len();
                    take(bytes);
                })?;
                if was_flushed {
                    // New keys are confirmed, for instance. What cannot be sent now goes with what is sent next, and if that cannot be
                    // sent either, what was said may say why.
                    let _ = self.poll_flush(socket, context);
                }
                if said > 0 {
                    return Poll::Ready(Ok(said));
                }
            }
        })
    }

    /// Whether the server has said nothing while nobody asked it. Tickets for further sessions are no such saying, and taken in.
    pub(super) fn is_quiet(&mut self, socket: &TcpStream) -> bool {
        let quiet = SCRATCH.with_borrow_mut(|scratch| -> io::Result<bool> {
            while self.early.is_empty() && !self.closed {
                let kept = self.restore(scratch)?;
                let count = match socket.try_read(scratch.get_mut(kept..).unwrap_or_default()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Ok(0) => break,
                    read => read?,
                };
                let mut said = false;
                self.keep(scratch.get_mut(..kept + count).unwrap_or_default(), |_| said = true)?;
                if said {
                    break;
                }
            }
            Ok(false)
        });
        self.broken |= !matches!(quiet, Ok(true));
        matches!(quiet, Ok(true))
    }

    /// Says that nothing more comes, as far as that can be said at once.
    pub(super) fn close(&mut self, socket: &TcpStream) {
        if self.broken || !self.is_flushed() {
            return;
        }
        self.broken = true;
        let closed = self.say(RECORD_OVERHEAD, |traffic, sealed| traffic.queue_close_notify(sealed));
        if closed.is_ok() {
            let _ = socket.try_write(&self.sealed);
        }
    }

    /// Puts the beginning of a record where its rest will be read. How long it is.
    fn restore(&self, scratch: &mut [u8]) -> io::Result<usize> {
        let kept = self.partial.len();
        // A record always fits. What does not is a message after the handshake that is cut into many.
        let place = scratch.get_mut(..kept).filter(|_| kept < READ_BYTES + RECORD_OVERHEAD);
        place
            .ok_or_else(|| invalid(Error::General("a message without end".to_owned())))?
            .copy_from_slice(&self.partial);
        Ok(kept)
    }

    /// Takes in what came and keeps the beginning of a record at its end.
    fn keep(&mut self, bytes: &mut [u8], take: impl FnMut(&[u8])) -> io::Result<()> {
        self.partial = Vec::new();
        let taken = self.take_in(bytes, take)?;
        self.partial = bytes.get(taken..).unwrap_or_default().to_vec();
        Ok(())
    }

    /// Takes in what came: what was said is handed over, what is to be answered is sealed. How many bytes were taken in.
    fn take_in(&mut self, bytes: &mut [u8], mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let rest = bytes.get_mut(taken..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(rest);
            let more = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        take(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.sealed).is_ok(),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.closed = true;
                    false
                }
                Ok(_) => false,
                Err(error) => {
                    self.broken = true;
                    // What the server is to be told of it: one alert, which stands before all that may still be read.
                    let rest = bytes.get_mut(taken + discard..).unwrap_or_default();
                    let told = self.connection.process_tls_records(rest);
                    if let Ok(ConnectionState::EncodeTlsData(data)) = told.state {
                        let _ = encode(data, &mut self.sealed);
                    }
                    return Err(invalid(error));
                }
            };
            taken += discard;
            if !more {
                return Ok(taken);
            }
        }
    }

    /// Seals what is to be said.
    fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.say(bytes.len() + RECORD_OVERHEAD, |traffic, sealed| traffic.encrypt(bytes, sealed))
    }

    /// Has something written behind what is sealed already; it takes about so many bytes.
    fn say(
        &mut self,
        mut bytes: usize,
        write: impl Fn(
            &mut WriteTraffic<'_, rustls::client::ClientConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.partial);
            match state.map_err(invalid)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let end = self.sealed.len();
                    self.sealed.resize(end + bytes, 0);
                    let written = write(&mut traffic, self.sealed.get_mut(end..).unwrap_or_default());
                    self.sealed.truncate(end + written.as_ref().copied().unwrap_or(0));
                    match written {
                        Ok(_) => return Ok(()),
                        Err(EncryptError::InsufficientSize(error)) => bytes = error.required_size,
                        Err(error) => return Err(io::Error::other(error)),
                    }
                }
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, &mut self.sealed).map_err(io::Error::other)?
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.closed = true,
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            self.partial.drain(..discard);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// Writes a message of the handshake behind what is sealed already.
fn encode<D>(mut data: EncodeTlsData<'_, D>, sealed: &mut Vec<u8>) -> Result<(), EncodeError> {
    let (end, mut bytes) = (sealed.len(), RECORD_OVERHEAD);
    loop {
        sealed.resize(end + bytes, 0);
        let written = data.encode(sealed.get_mut(end..).unwrap_or_default());
        sealed.truncate(end + written.as_ref().copied().unwrap_or(0));
        match written {
            Ok(_) => return Ok(()),
            Err(EncodeError::InsufficientSize(error)) => bytes = error.required_size,
            Err(error) => return Err(error),
        }
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Whether a session failed because the server speaks no HTTP/1.1, so that another protocol may do.
pub(super) fn is_other_protocol(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    matches!(
        error,
        Some(
            Error::AlertReceived(AlertDescription::NoApplicationProtocol)
                | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol)
        )
    )
}

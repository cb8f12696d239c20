//! How a connection begins: the first bytes say which HTTP it speaks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What every HTTP/2 connection begins with (RFC 9113, 3.4), and no HTTP/1 request can.
const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which HTTP a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// A socket whose first bytes have been looked at: they are read from here once more.
#[derive(Debug)]
pub(crate) struct Begun<S> {
    bytes: Bytes,
    socket: S,
}

/// Reads as much as is needed to know the version, and no more; none where nothing was said.
///
/// The library would do the same without a clock, and keep room for either protocol's state as long as the connection lasts.
///
/// # Errors
/// The socket's own.
pub(crate) async fn read<S>(mut socket: S) -> io::Result<Option<(Version, Begun<S>)>>
where
    S: AsyncRead + Unpin,
{
    let mut bytes = [0; HTTP2.len()];
    let mut count = 0;
    let version = loop {
        let rest = bytes.get_mut(count..).unwrap_or_default();
        let more = socket.read(rest).await?;
        count += more;
        let begun = bytes.get(..count).unwrap_or_default();
        match HTTP2.starts_with(begun) {
            // An end in the middle is HTTP/1's to refuse.
            true if more == 0 && count == 0 => return Ok(None),
            true if count == HTTP2.len() => break Version::Two,
            true if more > 0 => {}
            _ => break Version::One,
        }
    };
    let bytes = Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default());
    Ok(Some((version, Begun { bytes, socket })))
}

impl<S> Begun<S> {
    /// Has these bytes, which were read too early, read once more.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        self.bytes = bytes;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() || buffer.remaining() == 0 {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let count = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes.split_to(count));
        if self.bytes.is_empty() {
            // Not an empty part of them, which would keep them.
            self.bytes = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version that this says in pieces of every size, and that nothing of it is lost.
    async fn version(said: &[u8]) -> Option<Version> {
        let mut versions = Vec::new();
        for size in 1..=said.len().max(1) {
            let mut socket = tokio_test_socket(said, size);
            let begun = read(&mut socket).await.unwrap();
            versions.push(begun.as_ref().map(|(version, _)| *version));
            let Some((_, mut begun)) = begun else { continue };
            let mut all = Vec::new();
            begun.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, said);
        }
        versions.dedup();
        let [version] = versions[..] else { panic!("{versions:?}") };
        version
    }

    /// A socket that gives so many bytes at a time.
    fn tokio_test_socket(said: &[u8], size: usize) -> impl AsyncRead + Unpin + use<> {
        let chunks: Vec<_> = said.chunks(size).map(Bytes::copy_from_slice).map(io::Result::Ok).collect();
        tokio_util::io::StreamReader::new(futures_util::stream::iter(chunks))
    }

    #[tokio::test]
    async fn the_first_bytes_tell() {
        assert_eq!(version(b"").await, None);
        assert_eq!(version(b"GET / HTTP/1.1\r\n\r\n").await, Some(Version::One));
        assert_eq!(version(b"P").await, Some(Version::One));
        assert_eq!(version(b"PRI * HTTP/2.0\r\n\r\nXX").await, Some(Version::One));
        let mut two = HTTP2.to_vec();
        assert_eq!(version(&two).await, Some(Version::Two));
        two.extend(b"and more");
        assert_eq!(version(&two).await, Some(Version::Two));
    }
}

//! Bodies that come compressed.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::Stream;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};

use crate::Failure;

/// How much is taken in at once: it may become a thousand times as much.
const BYTES_AT_ONCE: usize = 1024;

/// Whether a body with these headers is compressed. If so, they are made those of what it is once it no longer is.
pub(crate) fn is_zipped(headers: &mut HeaderMap) -> bool {
    let zipped =
        headers.get(CONTENT_ENCODING).is_some_and(|coding| matches!(coding.as_bytes(), b"gzip" | b"x-gzip"));
    if zipped {
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
    }
    zipped
}

/// What was compressed in a body.
#[derive(Debug)]
pub(crate) struct Unzipped<B> {
    body: B,
    /// What came and was not taken in yet.
    pending: Bytes,
    /// None once it has ended.
    decoder: Option<Box<MultiGzDecoder<Vec<u8>>>>,
    /// Something came.
    begun: bool,
}

impl<B> Unzipped<B> {
    pub(crate) fn new(body: B) -> Self {
        let decoder = Box::new(MultiGzDecoder::new(Vec::new()));
        Self { body, pending: Bytes::new(), decoder: Some(decoder), begun: false }
    }
}

impl<B: Stream<Item = Result<Bytes, Failure>> + Unpin> Stream for Unzipped<B> {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(decoder) = &mut this.decoder else { return Poll::Ready(None) };
            let (unpacked, ended) = if this.pending.is_empty() {
                match ready!(Pin::new(&mut this.body).poll_next(context)) {
                    Some(Ok(bytes)) => {
                        this.begun |= !bytes.is_empty();
                        this.pending = bytes;
                        continue;
                    }
                    Some(Err(failure)) => {
                        this.decoder = None;
                        return Poll::Ready(Some(Err(failure)));
                    }
                    // The transfer was whole; what was compressed in it has to be, too. Nothing at all is nothing.
                    None if this.begun => (decoder.try_finish(), true),
                    None => (Ok(()), true),
                }
            } else {
                let piece = this.pending.split_to(this.pending.len().min(BYTES_AT_ONCE));
                (decoder.write_all(&piece).and_then(|()| decoder.flush()), false)
            };
            let data = std::mem::take(decoder.get_mut());
            if ended || unpacked.is_err() {
                this.decoder = None;
            }
            if let Err(error) = unpacked {
                tracing::debug!(failure = %Failure::Unreadable, cause = %error, "the body is not compressed as it says");
                return Poll::Ready(Some(Err(Failure::Unreadable)));
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(data.into())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::StreamExt;
    use futures_util::stream;

    use super::*;

    fn zipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    async fn read(bytes: &[u8], cut: usize) -> Result<Vec<u8>, Failure> {
        let pieces: Vec<_> = bytes.chunks(cut).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut body = Unzipped::new(stream::iter(pieces));
        let mut all = Vec::new();
        while let Some(piece) = body.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn what_was_compressed_comes_out_however_it_is_cut() {
        let text = "Hello, world! ".repeat(2000).into_bytes();
        let packed = zipped(&text);
        for cut in [1, 7, 4096] {
            assert_eq!(read(&packed, cut).await.unwrap(), text, "{cut}");
        }
        let two = [packed.as_slice(), &packed].concat();
        assert_eq!(read(&two, 1000).await.unwrap(), [text.as_slice(), &text].concat());
        assert_eq!(read(b"", 1).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn what_is_not_whole_is_unreadable() {
        let packed = zipped(b"Hello, world!");
        for cut in 1..packed.len() {
            assert!(matches!(read(&packed[..cut], 5).await, Err(Failure::Unreadable)), "{cut}");
        }
        assert!(matches!(read(b"plain text", 5).await, Err(Failure::Unreadable)));
    }

    /// A stream's server packs each event and flushes it: none waits for the next one.
    #[tokio::test]
    async fn what_was_flushed_comes_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let first = Bytes::from(std::mem::take(encoder.get_mut()));
        let mut body = Unzipped::new(stream::iter([Ok(first)]).chain(stream::pending()));
        assert_eq!(body.next().await.unwrap().unwrap(), "data: 1\n\n");
    }
}

//! As much of HTTP/1.1 as a client needs that knows whom it asks, and no more: the load generator must cost less than what it measures.

use anyhow::{Context as _, bail};
use memchr::memmem;

/// Heads beyond this are refused, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A POST with a JSON body on a kept connection.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Where the reading of an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are missing.
    Length(usize),
    /// A chunk's size is being read.
    Size,
    /// So many bytes of the chunk are missing.
    Chunk(usize),
    /// The line feed behind a chunk; the last one ends the answer.
    ChunkEnd,
    LastLine,
    Done,
}

/// Reads one answer after another from the bytes of a connection.
#[derive(Debug)]
pub(crate) struct Answer {
    state: State,
    line: Vec<u8>,
    /// The answer's status, once its head was read.
    pub(crate) status: u16,
}

impl Answer {
    pub(crate) fn new() -> Self {
        Self { state: State::Head, line: Vec::new(), status: 0 }
    }

    /// Ready for the next answer of the connection.
    pub(crate) fn reset(&mut self) {
        self.state = State::Head;
        self.line.clear();
        self.status = 0;
    }

    /// Takes in bytes and gives those of the body to `body`. True once the answer is whole.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut body: impl FnMut(&[u8])) -> anyhow::Result<bool> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.head(bytes)?,
                State::Length(missing) => {
                    let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                    body(part);
                    let missing = missing - part.len();
                    self.state = if missing == 0 { State::Done } else { State::Length(missing) };
                    rest
                }
                State::Chunk(missing) => {
                    let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                    body(part);
                    let missing = missing - part.len();
                    self.state = if missing == 0 { State::ChunkEnd } else { State::Chunk(missing) };
                    rest
                }
                State::Size | State::ChunkEnd | State::LastLine => self.line(bytes)?,
                State::Done => bail!("{} bytes behind the answer's end", bytes.len()),
            };
        }
        Ok(self.state == State::Done)
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> anyhow::Result<&'a [u8]> {
        let before = self.line.len();
        self.line.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let Some(end) = memmem::find(self.line.get(from..).unwrap_or_default(), b"\r\n\r\n") else {
            if self.line.len() > HEAD_BYTES_MAX {
                bail!("the head is too large");
            }
            return Ok(&[]);
        };
        let end = from + end + 4;
        let head = str::from_utf8(self.line.get(..end).unwrap_or_default())?.to_ascii_lowercase();
        self.status = head.get(9..12).context("no status line")?.parse()?;
        self.state = if head.contains("\r\ntransfer-encoding: chunked\r\n") {
            State::Size
        } else {
            let length = head.split("\r\ncontent-length:").nth(1).context("neither length nor chunks")?;
            match length.lines().next().unwrap_or_default().trim().parse()? {
                0 => State::Done,
                length => State::Length(length),
            }
        };
        self.line.clear();
        bytes.get(end - before..).context("the head's end lies before it")
    }

    /// A line of the chunked form: a size, the end of a chunk, the end of all.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> anyhow::Result<&'a [u8]> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            if self.line.len() > 64 {
                bail!("a chunk's line is too long");
            }
            return Ok(&[]);
        };
        let (part, rest) = bytes.split_at(end + 1);
        self.line.extend_from_slice(part);
        let text = str::from_utf8(&self.line)?.trim_end();
        self.state = match self.state {
            State::Size => match usize::from_str_radix(text, 16).context("a chunk's size")? {
                0 => State::LastLine,
                size => State::Chunk(size),
            },
            _ if !text.is_empty() => bail!("`{text}` where a chunk ends"),
            State::LastLine => State::Done,
            _ => State::Size,
        };
        self.line.clear();
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_however_they_are_cut() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n";
        let sized = b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello";
        for (text, status, whole) in [(&chunked[..], 200, "hello0123456789"), (&sized[..], 201, "hello")] {
            for size in 1..text.len() {
                let (mut answer, mut body, mut done) = (Answer::new(), Vec::new(), false);
                for piece in text.chunks(size) {
                    assert!(!done);
                    done = answer.feed(piece, |bytes| body.extend_from_slice(bytes)).unwrap();
                }
                assert!(done, "{size}");
                assert_eq!((answer.status, body.as_slice()), (status, whole.as_bytes()));
                assert!(answer.feed(b"x", |_| {}).is_err());
            }
        }
    }
}

//! Bytes to frames, as WHATWG has it and as providers really send it.
//!
//! Kept from the standard: LF, CRLF and CR (a CRLF may be cut in two), a byte order mark, one space after the colon, several
//! `data:` lines joined by line feeds, comments, `id` and `retry` skipped, and no frame for an `event:` without data.
//!
//! Where servers differ:
//! - the end of the bytes ends a frame as a blank line does ([`Reader::finish`]);
//! - a `data:` line that follows a complete JSON object begins the next frame: some servers leave the blank line out. Only an
//!   object (or an array of them) counts, because raw text may well hold a line `42` or `[1]` that is followed by another;
//! - a line without a known field name goes on with the data before it (JSON that was printed over several lines), unless
//!   that data is complete already.

mod pending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memchr2;
use pending::Pending;

/// How large things may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One frame's data, and one line.
    pub frame_bytes_max: usize,
}

impl Default for Limits {
    /// 8 MiB: a frame may carry a whole reply.
    fn default() -> Self {
        Self { frame_bytes_max: 8 * 1024 * 1024 }
    }
}

/// Why bytes cannot be read as frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A line or a frame is longer than its limit.
    #[error("a frame is too long")]
    TooLong,
    /// A frame is not UTF-8.
    #[error("a frame is not UTF-8")]
    Encoding,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// The `event:` field; none when there was none, or an empty one.
    pub event: Option<String>,
    /// The `data:` lines, put together with line feeds.
    pub data: String,
}

/// Reads frames from bytes that come in pieces of any size. Every byte is looked at once and copied once, twice in a line that
/// is spread over pieces.
#[derive(Debug, Default)]
pub struct Reader {
    limits: Limits,
    /// What was pushed and not read yet.
    pieces: VecDeque<Bytes>,
    /// How much of the first piece was read.
    read: usize,
    /// The beginning of a line whose end is in no piece yet.
    line: Vec<u8>,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The first line, which may begin with a byte order mark, was read.
    begun: bool,
    finished: bool,
    failed: Option<FrameError>,
    pending: Pending,
}

/// A line buffer that grew beyond this is given back after its line.
const LINE_BYTES_KEPT: usize = 64 * 1024;

/// UTF-8's byte order mark.
const MARK: &[u8] = b"\xEF\xBB\xBF";

impl Reader {
    /// A reader with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes in the next bytes, without copying them. Frames that they complete are had from [`Self::next_frame`]. What comes
    /// after [`Self::finish`] or an error is not taken in.
    pub fn push(&mut self, bytes: &Bytes) {
        if !bytes.is_empty() && !self.finished && self.failed.is_none() {
            self.pieces.push_back(bytes.clone());
        }
    }

    /// Tells that no more bytes come: a frame without a blank line after it is complete now.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// The next complete frame; none until more bytes come.
    ///
    /// # Errors
    /// What was read is no event stream; nothing more can be had.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let next = self.read_frame();
        if let Err(error) = next {
            *self = Self { limits: self.limits, failed: Some(error), ..Self::default() };
        }
        next
    }

    fn read_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        while let Some(piece) = self.pieces.front() {
            let mut rest = piece.get(self.read..).unwrap_or_default();
            if self.after_cr
                && let Some((first, others)) = rest.split_first()
            {
                self.after_cr = false;
                if *first == b'\n' {
                    self.read += 1;
                    rest = others;
                }
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                hold(&mut self.line, rest, self.limits)?;
                self.pieces.pop_front();
                self.read = 0;
                continue;
            };
            let (line, ending) = rest.split_at(end);
            self.after_cr = ending.first() == Some(&b'\r');
            self.read += end + 1;
            let frame = if self.line.is_empty() {
                if line.len() > self.limits.frame_bytes_max {
                    return Err(FrameError::TooLong);
                }
                let line = without_mark(line, &mut self.begun);
                self.pending.take_line(line, self.limits)?
            } else {
                hold(&mut self.line, line, self.limits)?;
                self.take_held_line()?
            };
            if frame.is_some() {
                return Ok(frame);
            }
        }
        if !self.finished {
            return Ok(None);
        }
        if !self.line.is_empty()
            && let Some(frame) = self.take_held_line()?
        {
            return Ok(Some(frame));
        }
        self.pending.complete()
    }

    fn take_held_line(&mut self) -> Result<Option<Frame>, FrameError> {
        let line = without_mark(&self.line, &mut self.begun);
        let frame = self.pending.take_line(line, self.limits);
        if self.line.capacity() > LINE_BYTES_KEPT {
            self.line = Vec::new();
        } else {
            self.line.clear();
        }
        frame
    }
}

/// Keeps a piece of a line until its end comes.
fn hold(line: &mut Vec<u8>, piece: &[u8], limits: Limits) -> Result<(), FrameError> {
    if line.len().saturating_add(piece.len()) > limits.frame_bytes_max {
        return Err(FrameError::TooLong);
    }
    line.extend_from_slice(piece);
    Ok(())
}

fn without_mark<'line>(line: &'line [u8], begun: &mut bool) -> &'line [u8] {
    if std::mem::replace(begun, true) { line } else { line.strip_prefix(MARK).unwrap_or(line) }
}

//! Bytes to frames, as WHATWG has it and as providers really send it.

use bytes::Bytes;

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
    /// The `event:` field; none when there was none.
    pub event: Option<String>,
    /// The `data:` lines, put together with line feeds.
    pub data: String,
}

/// Reads frames from bytes that come in pieces of any size.
#[derive(Debug, Default)]
pub struct Reader {
    limits: Limits,
}

impl Reader {
    /// A reader with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Takes in the next bytes. Frames that they complete are had from [`Self::next_frame`].
    pub fn push(&mut self, _bytes: &Bytes) {
        let _ = self.limits;
    }

    /// Tells that no more bytes come: a frame without a blank line after it is complete now.
    pub fn finish(&mut self) {}

    /// The next complete frame; none until more bytes come.
    ///
    /// # Errors
    /// What was read is no event stream; nothing more can be had.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        Ok(None)
    }
}

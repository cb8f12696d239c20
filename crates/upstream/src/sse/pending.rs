//! The frame whose lines are coming.

use memchr::memchr;
use serde::de::IgnoredAny;

use super::{Frame, FrameError, Limits};

/// What is known of the next frame so far.
#[derive(Debug, Default)]
pub(super) struct Pending {
    event: Option<String>,
    /// An `event:` line that came after data: by the standard it names this frame, but where blank lines are left out the next.
    event_after: Option<String>,
    data: Option<Vec<u8>>,
    shape: Shape,
}

impl Pending {
    /// Takes in a line without its end. Gives the frame that it completes.
    pub(super) fn take_line(&mut self, line: &[u8], limits: Limits) -> Result<Option<Frame>, FrameError> {
        if line.is_empty() {
            return self.complete();
        }
        let (name, value) = match memchr(b':', line) {
            Some(0) => return Ok(None),
            Some(colon) => {
                let (name, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, <&[u8]>::default()),
        };
        match name {
            b"data" => {
                let before = if self.is_whole() { self.split()? } else { None };
                // Cannot fail after a split: a line is never longer than a frame may be.
                self.append(value, limits)?;
                Ok(before)
            }
            b"event" => {
                self.name(value)?;
                Ok(None)
            }
            b"id" | b"retry" => Ok(None),
            _ => {
                if self.data.is_some() && !self.is_whole() {
                    self.append(line, limits)?;
                }
                Ok(None)
            }
        }
    }

    /// Ends the frame. None where there was no data: an event alone is none, says the standard.
    pub(super) fn complete(&mut self) -> Result<Option<Frame>, FrameError> {
        let Self { event, event_after, data, .. } = std::mem::take(self);
        let Some(data) = data else { return Ok(None) };
        let data = String::from_utf8(data).map_err(|_| FrameError::Encoding)?;
        Ok(Some(Frame { event: event_after.or(event).filter(|name| !name.is_empty()), data }))
    }

    /// Ends the frame where its blank line is missing.
    fn split(&mut self) -> Result<Option<Frame>, FrameError> {
        let event_after = self.event_after.take();
        let frame = self.complete()?;
        self.event = event_after;
        Ok(frame)
    }

    fn name(&mut self, value: &[u8]) -> Result<(), FrameError> {
        let value = str::from_utf8(value).map_err(|_| FrameError::Encoding)?.to_owned();
        if self.data.is_some() {
            self.event_after = Some(value);
        } else {
            self.event = Some(value);
        }
        Ok(())
    }

    fn append(&mut self, value: &[u8], limits: Limits) -> Result<(), FrameError> {
        match &mut self.data {
            Some(data) => {
                if data.len().saturating_add(value.len()).saturating_add(1) > limits.frame_bytes_max {
                    return Err(FrameError::TooLong);
                }
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            // The one allocation that a frame of one line costs: it becomes the frame's string as it is.
            None => self.data = Some(value.to_vec()),
        }
        Ok(())
    }

    /// Whether the data is a complete JSON object. Only asked when another line follows, so that frames of one line, nearly
    /// all there are, cost nothing.
    fn is_whole(&mut self) -> bool {
        self.data.as_ref().is_some_and(|data| self.shape.is_whole(data))
    }
}

/// How far data was looked through for the end of a JSON value. Goes on where it stopped: a frame of very many lines is looked
/// through once, not once for each line.
#[derive(Debug)]
enum Shape {
    /// So many bytes of white space.
    Blank { seen: usize },
    /// Brackets are open.
    Open { seen: usize, depth: usize, quoted: bool, escaped: bool },
    /// A complete object. Nothing is ever appended to one, so it stays what it is.
    Whole,
    /// No JSON object, whatever else comes.
    Other,
}

impl Default for Shape {
    fn default() -> Self {
        Self::Blank { seen: 0 }
    }
}

impl Shape {
    fn is_whole(&mut self, data: &[u8]) -> bool {
        if let Self::Blank { seen } = *self {
            let rest = data.get(seen..).unwrap_or_default().trim_ascii_start();
            let seen = data.len() - rest.len();
            *self = match rest.first() {
                None => Self::Blank { seen },
                Some(b'{' | b'[') => Self::Open { seen, depth: 0, quoted: false, escaped: false },
                Some(_) => Self::Other,
            };
        }
        if let Self::Open { seen, depth, quoted, escaped } = self {
            let closed = look(data.get(*seen..).unwrap_or_default(), depth, quoted, escaped);
            *seen = data.len();
            if closed {
                // Once for a frame: what is closed and no object never becomes one.
                *self = if is_object(data) { Self::Whole } else { Self::Other };
            }
        }
        matches!(self, Self::Whole)
    }
}

/// Whether it is a complete JSON object, or an array that begins with one.
fn is_object(data: &[u8]) -> bool {
    let begins = match data.trim_ascii_start().split_first() {
        Some((b'{', _)) => true,
        Some((b'[', items)) => items.trim_ascii_start().starts_with(b"{"),
        _ => false,
    };
    begins && serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

/// Counts brackets outside strings. True once they have all been closed.
fn look(data: &[u8], depth: &mut usize, quoted: &mut bool, escaped: &mut bool) -> bool {
    let mut closed = false;
    for byte in data {
        match byte {
            _ if *escaped => *escaped = false,
            b'\\' if *quoted => *escaped = true,
            b'"' => *quoted = !*quoted,
            _ if *quoted => {}
            b'{' | b'[' => *depth += 1,
            b'}' | b']' => {
                *depth = depth.saturating_sub(1);
                closed |= *depth == 0;
            }
            _ => {}
        }
    }
    closed
}

//! Whether a stream is whole: every piece, in order, once, and the end; and how late each piece was.

use anyhow::{Context as _, bail};
use memchr::memmem;

use crate::dialect::PIECE_BYTES;
use crate::upstream;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// The gateway's own event stream.
    Gateway,
    /// The `openai` upstream, as it is or through a plain proxy.
    Plain,
}

/// Reads one stream as its bytes come.
#[derive(Debug)]
pub(crate) struct Events {
    face: Face,
    buffer: Vec<u8>,
    /// What of the text has no complete piece yet.
    tail: Vec<u8>,
    /// All text, to be compared with what the end repeats.
    text: Vec<u8>,
    /// How many pieces have come.
    pub(crate) pieces: usize,
    /// How many events.
    pub(crate) events: u64,
    ended: bool,
}

impl Events {
    pub(crate) fn new(face: Face) -> Self {
        Self {
            face,
            buffer: Vec::new(),
            tail: Vec::new(),
            text: Vec::new(),
            pieces: 0,
            events: 0,
            ended: false,
        }
    }

    /// Takes in bytes of the body; tells how late each piece was, in nanoseconds.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut late: impl FnMut(u64)) -> anyhow::Result<()> {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        let now = upstream::nanos();
        while let Some(end) = memmem::find(rest, b"\n\n") {
            let (event, after) = rest.split_at(end);
            rest = after.get(2..).unwrap_or_default();
            if !event.starts_with(b":") {
                self.event(event, now, &mut late)?;
            }
        }
        // Kept while the stream lasts: nearly always empty.
        self.buffer = rest.to_vec();
        Ok(())
    }

    fn event(&mut self, event: &[u8], now: u128, late: &mut impl FnMut(u64)) -> anyhow::Result<()> {
        if self.ended {
            bail!("an event behind the end");
        }
        self.events += 1;
        match self.face {
            Face::Plain => {
                if event == b"data: [DONE]" {
                    self.ended = true;
                } else if let Some(text) = between(event, b"\"content\":\"") {
                    self.text(text, now, late)?;
                }
            }
            Face::Gateway => {
                let expected = format!("id: {}\nevent: ", self.events);
                let kind = event.strip_prefix(expected.as_bytes());
                let kind = kind.with_context(|| format!("not `{expected}`: {}", show(event)))?;
                if kind.starts_with(b"message.delta\n") {
                    let text = between(event, b"\"text\":\"").context("a delta without text")?;
                    self.text(text, now, late)?;
                } else if kind.starts_with(b"turn.completed\n") {
                    let text = between(event, b"\"text\":\"").context("no text at the end")?;
                    if text != self.text.as_slice() {
                        bail!("the deltas are not the text at the end");
                    }
                    self.ended = true;
                } else if !kind.starts_with(b"turn.started\n") && !kind.starts_with(b"turn.progress\n") {
                    bail!("an event that should not be there: {}", show(event));
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8], now: u128, late: &mut impl FnMut(u64)) -> anyhow::Result<()> {
        if self.face == Face::Gateway {
            self.text.extend_from_slice(text);
        }
        self.tail.extend_from_slice(text);
        let tail = std::mem::take(&mut self.tail);
        let (pieces, rest) = tail.as_chunks::<PIECE_BYTES>();
        for piece in pieces {
            let number: usize = str::from_utf8(piece.get(..6).unwrap_or_default())?.parse()?;
            if number != self.pieces {
                bail!("piece {number} where {} was due", self.pieces);
            }
            let written: u128 = str::from_utf8(piece.get(7..26).unwrap_or_default())?.parse()?;
            late(u64::try_from(now.saturating_sub(written)).unwrap_or(u64::MAX));
            self.pieces += 1;
        }
        self.tail = rest.to_vec();
        Ok(())
    }

    /// Whether all of it came.
    pub(crate) fn check(&self, pieces: usize) -> anyhow::Result<()> {
        if !self.ended {
            bail!("no end after {} pieces", self.pieces);
        }
        if self.pieces != pieces || !self.tail.is_empty() {
            bail!("{} of {pieces} pieces", self.pieces);
        }
        Ok(())
    }
}

/// What stands between this mark and the next quotation mark. Nothing in the stand-in's text is escaped.
pub(crate) fn between<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let rest = bytes.get(memmem::find(bytes, mark)? + mark.len()..)?;
    rest.get(..memchr::memchr(b'"', rest)?)
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..bytes.len().min(300)).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect;

    fn piece(number: usize) -> String {
        let mut text = String::new();
        dialect::piece(&mut text, number, 7);
        assert_eq!(text.len(), PIECE_BYTES);
        text
    }

    fn read(text: &str, pieces: usize) -> anyhow::Result<()> {
        let mut events = Events::new(Face::Gateway);
        for part in text.as_bytes().chunks(7) {
            events.feed(part, |_| {})?;
        }
        events.check(pieces)
    }

    #[test]
    fn what_is_missing_doubled_or_out_of_order_is_found() {
        let event = |id: usize, kind: &str, text: &str| {
            format!("id: {id}\nevent: {kind}\ndata: {{\"text\":\"{text}\"}}\n\n")
        };
        let all = format!("{}{}", piece(0), piece(1));
        let start = event(1, "turn.started", "");
        let (first, second) = (event(2, "message.delta", &piece(0)), event(3, "message.delta", &piece(1)));
        let end = event(4, "turn.completed", &all);
        assert!(read(&format!("{start}{first}:\n\n{second}{end}"), 2).is_ok());
        assert!(
            read(
                &format!("{start}{}{}", event(2, "message.delta", &all), event(3, "turn.completed", &all)),
                2
            )
            .is_ok()
        );
        assert!(read(&format!("{start}{first}{second}"), 2).is_err());
        assert!(read(&format!("{start}{first}{end}"), 2).is_err());
        assert!(read(&format!("{start}{first}{}", event(3, "turn.completed", &piece(0))), 2).is_err());
        assert!(read(&format!("{start}{}{first}{end}", event(2, "message.delta", &piece(1))), 2).is_err());
        assert!(read(&format!("{start}{first}{second}{}", event(4, "turn.completed", "x")), 2).is_err());
        assert!(read(&format!("{start}{first}{second}{end}{}", event(5, "message.delta", "x")), 2).is_err());
    }
}

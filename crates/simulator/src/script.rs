//! What goes over the wire, written once, in one buffer, before the first byte of it is sent.
//!
//! A [`Script`] remembers where each of its pieces ends, so that playing it allocates nothing per piece and a fault
//! can count pieces without knowing any provider.

use serde::Serialize;

/// What a piece is to the answer: faults count [`Kind::Text`] and leave out [`Kind::Tail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Comes before any text.
    Head,
    /// Carries text of the answer.
    Text,
    /// Says that the answer is complete.
    Tail,
}

/// Where a piece ends, in bytes from the start of the script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) end: usize,
    pub(crate) kind: Kind,
}

/// What the body is, which also says what it is labelled as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// One JSON document.
    Json,
    /// Server-sent events.
    Events,
    /// One JSON document a line.
    Lines,
    /// Text as it is.
    Text,
}

impl Media {
    /// The label under which an honest server sends it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// How server-sent events are laid out. All but the last three are legal per the WHATWG's grammar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `data: …`, line feeds.
    #[default]
    Plain,
    /// Lines end in a carriage return.
    Cr,
    /// Lines end in both.
    Crlf,
    /// A byte order mark comes first.
    Bom,
    /// `data:` without a space.
    NoSpace,
    /// A JSON document over three `data:` lines.
    SeveralData,
    /// Comments, `id:` and `retry:` between the events and inside them.
    Comments,
    /// The last event has no blank line after it.
    NoBlankEnd,
    /// No blank lines at all: each `data:` line is an event of its own.
    NoBlanks,
    /// Legal frames, but each byte is sent on its own.
    OneByte,
    /// Legal frames, but each character of several bytes is sent in two halves.
    SplitCharacters,
}

/// The whole of a body and where its pieces end.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) media: Media,
    pub(crate) bytes: Vec<u8>,
    pub(crate) pieces: Vec<Piece>,
    framing: Framing,
}

impl Script {
    /// An empty script for about `size` bytes.
    pub(crate) fn new(media: Media, framing: Framing, size: usize) -> Self {
        let mut bytes = Vec::with_capacity(size);
        if framing == Framing::Bom && media == Media::Events {
            bytes.extend_from_slice("\u{feff}".as_bytes());
        }
        Self { media, bytes, pieces: Vec::with_capacity(48), framing }
    }

    /// One JSON document as one piece.
    pub(crate) fn json<T: Serialize + ?Sized>(framing: Framing, document: &T) -> Self {
        let mut script = Self::new(Media::Json, framing, 512);
        write_json(&mut script.bytes, document);
        script.mark(Kind::Text);
        script
    }

    /// Adds a JSON document in whatever frame the medium has.
    pub(crate) fn push<T: Serialize + ?Sized>(&mut self, kind: Kind, event: Option<&str>, document: &T) {
        match (self.media, self.framing) {
            (
                Media::Events,
                Framing::Plain
                | Framing::Bom
                | Framing::OneByte
                | Framing::SplitCharacters
                | Framing::NoBlankEnd,
            ) => {
                // The path of every benchmark: the document is written straight to where it stays.
                if let Some(event) = event {
                    self.bytes.extend_from_slice(b"event: ");
                    self.bytes.extend_from_slice(event.as_bytes());
                    self.bytes.push(b'\n');
                }
                self.bytes.extend_from_slice(b"data: ");
                write_json(&mut self.bytes, document);
                self.bytes.extend_from_slice(b"\n\n");
            }
            (Media::Events, _) => {
                let mut line = Vec::new();
                write_json(&mut line, document);
                self.event(event, &line);
            }
            (Media::Lines, _) => {
                write_json(&mut self.bytes, document);
                self.bytes.push(b'\n');
            }
            (Media::Json | Media::Text, _) => write_json(&mut self.bytes, document),
        }
        self.mark(kind);
    }

    /// Adds text that is not JSON: the data of an event, or the text itself.
    pub(crate) fn push_text(&mut self, kind: Kind, event: Option<&str>, text: &str) {
        match self.media {
            Media::Events => self.event(event, text.as_bytes()),
            Media::Json | Media::Lines | Media::Text => self.bytes.extend_from_slice(text.as_bytes()),
        }
        self.mark(kind);
    }

    /// Adds bytes as they are.
    pub(crate) fn push_raw(&mut self, kind: Kind, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.mark(kind);
    }

    /// Ends what has been written, and puts the pieces where the framing wants them.
    pub(crate) fn finish(&mut self) {
        match self.framing {
            Framing::NoBlankEnd if self.media == Media::Events && self.bytes.ends_with(b"\n\n") => {
                self.bytes.truncate(self.bytes.len() - 2);
                if let Some(last) = self.pieces.last_mut() {
                    last.end = self.bytes.len();
                }
            }
            Framing::OneByte => self.split(|_| true),
            // Inside a character: the byte before the cut is its first.
            Framing::SplitCharacters => self.split(|byte| byte >= 0xc0),
            _ => {}
        }
    }

    /// Cuts a body that is one piece into pieces of `size` bytes, so that a fault has pieces to count.
    pub(crate) fn slice_evenly(&mut self, size: usize) {
        let length = self.bytes.len();
        self.pieces = (1..=length.div_ceil(size.max(1)))
            .map(|number| Piece { end: (number * size).min(length), kind: Kind::Text })
            .collect();
    }

    /// Where the `count`th piece of text ends: what was sent once that many were. Zero is the end of the head.
    pub(crate) fn after_text(&self, count: usize) -> usize {
        let mut seen = 0;
        let mut end = 0;
        for piece in &self.pieces {
            match piece.kind {
                Kind::Text if seen == count => break,
                Kind::Text => seen += 1,
                Kind::Tail => break,
                Kind::Head => {}
            }
            end = piece.end;
        }
        end
    }

    /// Forgets everything from byte `end` on.
    pub(crate) fn truncate(&mut self, end: usize) {
        self.bytes.truncate(end);
        self.pieces.retain(|piece| piece.end <= end);
    }

    /// Puts `bytes` in at byte `at`, as a piece.
    pub(crate) fn insert(&mut self, at: usize, bytes: &[u8]) {
        let at = at.min(self.bytes.len());
        let rest = self.bytes.split_off(at);
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(&rest);
        let before = self.pieces.partition_point(|piece| piece.end <= at);
        for piece in self.pieces.iter_mut().skip(before) {
            piece.end += bytes.len();
        }
        self.pieces.insert(before, Piece { end: at + bytes.len(), kind: Kind::Text });
    }

    /// Whether each piece is to be on the wire before the next is offered.
    pub(crate) fn wants_single_pieces(&self) -> bool {
        matches!(self.framing, Framing::OneByte | Framing::SplitCharacters)
    }

    fn mark(&mut self, kind: Kind) {
        self.pieces.push(Piece { end: self.bytes.len(), kind });
    }

    /// Cuts every piece after each byte for which `after` holds.
    fn split(&mut self, after: impl Fn(u8) -> bool) {
        let mut pieces = Vec::new();
        let mut old = self.pieces.iter().copied().peekable();
        for (index, byte) in self.bytes.iter().enumerate() {
            let Some(piece) = old.peek().copied() else { break };
            let end = index + 1;
            if end == piece.end {
                pieces.push(piece);
                old.next();
            } else if after(*byte) {
                pieces.push(Piece { end, kind: piece.kind });
            }
        }
        self.pieces = pieces;
    }

    /// Writes one event in the framing asked for.
    fn event(&mut self, event: Option<&str>, data: &[u8]) {
        let (framing, out) = (self.framing, &mut self.bytes);
        let end: &[u8] = match framing {
            Framing::Cr => b"\r",
            Framing::Crlf => b"\r\n",
            _ => b"\n",
        };
        let field: &[u8] = if framing == Framing::NoSpace { b"data:" } else { b"data: " };
        if framing == Framing::Comments {
            out.extend_from_slice(b": still here\nid: 7\nretry: 3000\n\n:\n");
        }
        if let Some(event) = event {
            out.extend_from_slice(if framing == Framing::NoSpace { b"event:" } else { b"event: " });
            out.extend_from_slice(event.as_bytes());
            out.extend_from_slice(end);
        }
        let lines = match (framing, data.split_first(), data.split_last()) {
            // White space is allowed between the tokens of a JSON document, and a line feed is white space.
            (Framing::SeveralData, Some((b'{', _)), Some((b'}', _))) if data.len() > 2 => {
                let inner = data.get(1..data.len() - 1).unwrap_or_default();
                vec![&b"{"[..], inner, &b"}"[..]]
            }
            _ => data.split(|byte| *byte == b'\n').collect(),
        };
        for (number, line) in lines.into_iter().enumerate() {
            if framing == Framing::Comments && number == 0 {
                out.extend_from_slice(b": inside the event\n");
            }
            out.extend_from_slice(field);
            out.extend_from_slice(line);
            out.extend_from_slice(end);
        }
        if framing != Framing::NoBlanks {
            out.extend_from_slice(end);
        }
    }
}

/// Writes `document`; what is written here always can be, as its keys are strings and the buffer grows.
fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, document: &T) {
    if serde_json::to_writer(&mut *out, document).is_err() {
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(framing: Framing) -> Script {
        let mut script = Script::new(Media::Events, framing, 0);
        script.push(Kind::Head, Some("x"), &json!({"a": 1}));
        script.push(Kind::Text, None, &json!({"é": "🙂"}));
        script.push_text(Kind::Tail, None, "[DONE]");
        script.finish();
        script
    }

    #[test]
    fn each_framing_is_written_as_named() {
        let text = |framing| String::from_utf8(written(framing).bytes).unwrap();
        assert_eq!(
            text(Framing::Plain),
            "event: x\ndata: {\"a\":1}\n\ndata: {\"é\":\"🙂\"}\n\ndata: [DONE]\n\n"
        );
        assert_eq!(text(Framing::Crlf), text(Framing::Plain).replace('\n', "\r\n"));
        assert_eq!(text(Framing::Cr), text(Framing::Plain).replace('\n', "\r"));
        assert_eq!(text(Framing::Bom), format!("\u{feff}{}", text(Framing::Plain)));
        assert_eq!(text(Framing::NoSpace), text(Framing::Plain).replace(": ", ":"));
        assert_eq!(text(Framing::NoBlankEnd), text(Framing::Plain).trim_end());
        assert_eq!(text(Framing::NoBlanks), text(Framing::Plain).replace("\n\n", "\n"));
        assert!(text(Framing::SeveralData).contains("data: {\ndata: \"a\":1\ndata: }\n\n"));
        assert!(text(Framing::Comments).contains(":\nevent: x\n: inside the event\ndata: {\"a\":1}\n\n"));
    }

    #[test]
    fn pieces_cover_every_byte_and_can_be_counted() {
        for framing in [Framing::Plain, Framing::OneByte, Framing::SplitCharacters, Framing::NoBlankEnd] {
            let script = written(framing);
            assert_eq!(script.pieces.last().unwrap().end, script.bytes.len(), "{framing:?}");
        }
        assert_eq!(written(Framing::OneByte).pieces.len(), written(Framing::OneByte).bytes.len());
        let mut script = written(Framing::Plain);
        let head = script.after_text(0);
        assert!(script.bytes[..head].ends_with(b"{\"a\":1}\n\n"));
        let text = script.after_text(1);
        assert_eq!(script.after_text(9), text, "the tail is never counted as text");
        script.insert(head, b"junk");
        assert_eq!(script.pieces.last().unwrap().end, script.bytes.len());
        script.truncate(head);
        assert_eq!(script.pieces.len(), 1);
    }
}

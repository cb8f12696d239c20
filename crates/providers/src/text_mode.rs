//! Whether pieces of text add up or repeat what was said (`providers.md` §5.3): no provider documents it.

use chat::Piece;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a provider's pieces of text are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TextMode {
    /// Told from the pieces themselves.
    #[default]
    Auto,
    /// Each piece is appended.
    Delta,
    /// Each piece is the whole text so far.
    Cumulative,
}

/// Puts a reply's text together and says what of it is new.
#[derive(Debug)]
pub(crate) struct Text {
    mode: TextMode,
    /// What was passed on.
    said: String,
    /// While the mode is open: all pieces put together, and the last of them.
    joined: String,
    last: String,
    /// Nobody compares anything with what was passed on once it is certain that pieces add up.
    forgets: bool,
}

impl Text {
    /// A text that begins to repeat itself before it is this many characters long proves nothing: `"a"`, `"aa"` can be either.
    const DECISIVE_CHARS: usize = 8;

    pub(crate) fn new(mode: TextMode) -> Self {
        Self { mode, said: String::new(), joined: String::new(), last: String::new(), forgets: false }
    }

    /// The same for a protocol that never repeats the whole text at its end: neither [`Self::whole`] nor [`Self::said`] may be asked.
    /// Where pieces add up, no copy of the reply is kept for as long as it runs.
    pub(crate) fn of_pieces_alone(mode: TextMode) -> Self {
        Self { forgets: true, ..Self::new(mode) }
    }

    /// What was passed on so far.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// The provider's next piece. What is to be passed on of it: text to append, or (rarely) all the text anew.
    pub(crate) fn piece(&mut self, piece: &str) -> Option<Piece> {
        if piece.is_empty() {
            return None;
        }
        match self.mode {
            TextMode::Delta => self.append(piece),
            TextMode::Cumulative => self.becomes(piece),
            TextMode::Auto => self.guess(piece),
        }
    }

    /// Text that is certainly new, whatever the mode: raw text, whose pieces are the transfer's and not the provider's.
    pub(crate) fn append(&mut self, text: &str) -> Option<Piece> {
        if text.is_empty() {
            return None;
        }
        if self.forgets && self.mode == TextMode::Delta {
            self.said = String::new();
        } else {
            self.said.push_str(text);
        }
        Some(Piece::Text(text.to_owned()))
    }

    /// The whole text, as a last event carries it: the rest of it, or all of it where the provider corrected itself.
    pub(crate) fn whole(&mut self, text: &str) -> Option<Piece> {
        if text.is_empty() { None } else { self.becomes(text) }
    }

    /// What the text is now.
    fn becomes(&mut self, text: &str) -> Option<Piece> {
        if let Some(rest) = text.strip_prefix(self.said.as_str()) {
            let rest = rest.to_owned();
            return self.append(&rest);
        }
        text.clone_into(&mut self.said);
        Some(Piece::Replace(text.to_owned()))
    }

    fn guess(&mut self, piece: &str) -> Option<Piece> {
        let first = self.joined.is_empty();
        self.joined.push_str(piece);
        if first {
            piece.clone_into(&mut self.last);
            return self.append(piece);
        }
        if !piece.starts_with(self.last.as_str()) {
            // Whole texts so far would begin alike. If short pieces were taken for repeating, that is put right here.
            let joined = self.settle(TextMode::Delta);
            return self.becomes(&joined);
        }
        let grew = piece.len() > self.last.len();
        if grew && self.last.chars().count() >= Self::DECISIVE_CHARS {
            self.settle(TextMode::Cumulative);
            return self.becomes(piece);
        }
        let repeated = self.said == self.last;
        piece.clone_into(&mut self.last);
        // Not decided. The likelier is passed on: a piece that grew repeats, one that did not is new.
        if grew && repeated { self.becomes(piece) } else { self.append(piece) }
    }

    /// Decides; gives what all pieces put together say.
    fn settle(&mut self, mode: TextMode) -> String {
        self.mode = mode;
        self.last = String::new();
        std::mem::take(&mut self.joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mode: TextMode, pieces: &[&str]) -> (String, usize) {
        let mut text = Text::new(mode);
        let mut shown = String::new();
        let mut replaced = 0;
        for piece in pieces {
            match text.piece(piece) {
                Some(Piece::Text(more)) => shown.push_str(&more),
                Some(Piece::Replace(all)) => {
                    shown = all;
                    replaced += 1;
                }
                _ => {}
            }
        }
        assert_eq!(shown, text.said());
        let mut alone = Text::of_pieces_alone(mode);
        let mut same = |pieces: &[&str]| {
            pieces.iter().fold(String::new(), |before, piece| match alone.piece(piece) {
                Some(Piece::Text(more)) => before + &more,
                Some(Piece::Replace(all)) => all,
                _ => before,
            })
        };
        assert_eq!(same(pieces), shown);
        assert!(alone.mode != TextMode::Delta || alone.said.capacity() == 0);
        (shown, replaced)
    }

    #[test]
    fn pieces_that_add_up() {
        for pieces in [
            &["Hel", "lo", " wor", "ld"][..],
            &["I", " am", " I", " am"],
            &["Hello wor", "ld", "Hello wor"],
            &["------------", "-", "------------"],
        ] {
            assert_eq!(read(TextMode::Auto, pieces), (pieces.concat(), 0), "{pieces:?}");
            assert_eq!(read(TextMode::Delta, pieces), (pieces.concat(), 0), "{pieces:?}");
        }
        // Short pieces that seemed to repeat: put right once it shows.
        assert_eq!(read(TextMode::Auto, &["ha", "haha", " funny"]).0, "hahaha funny");
    }

    #[test]
    fn pieces_that_repeat() {
        for pieces in [
            &["Hel", "Hello", "Hello wor", "Hello world"][..],
            &["Hello world", "Hello world!", "Hello world!", "Hello world! Bye"],
            &["П", "При", "Привет, ми", "Привет, мир"],
        ] {
            let last = (*pieces.last().unwrap()).to_owned();
            assert_eq!(read(TextMode::Auto, pieces), (last.clone(), 0), "{pieces:?}");
            assert_eq!(read(TextMode::Cumulative, pieces), (last, 0), "{pieces:?}");
        }
        // A repetition before it is decided is passed on, and taken back once it is.
        assert_eq!(
            read(TextMode::Auto, &["Hello world", "Hello world", "Hello world!"]),
            ("Hello world!".into(), 1)
        );
        assert_eq!(
            read(TextMode::Cumulative, &["Hello", "Hello", "Help"]),
            ("Help".into(), 1),
            "the provider corrected itself"
        );
    }

    #[test]
    fn the_last_word_is_the_whole_text() {
        let mut text = Text::new(TextMode::Auto);
        text.piece("Hello ");
        text.piece("wor");
        assert!(matches!(text.whole("Hello world"), Some(Piece::Text(rest)) if rest == "ld"));
        assert!(text.whole("Hello world").is_none());
        assert!(text.whole("").is_none());
        assert!(matches!(text.whole("Bye"), Some(Piece::Replace(all)) if all == "Bye"));
        assert_eq!(text.said(), "Bye");
    }
}

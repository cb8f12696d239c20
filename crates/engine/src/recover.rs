//! What a call's pieces become in the log: written as they come, held back while they repeat what another call said before it
//! broke, or put in its place where they differ.

use chat::{EventLog, Piece, Source};

/// How a call's pieces reach the log.
#[derive(Debug)]
pub(crate) enum Writing {
    /// As they come.
    Live,
    /// Held back: another call wrote before, or may still be quicker.
    Held {
        /// How many bytes of the log's text this call has repeated.
        matched: usize,
        /// The sources that it has named meanwhile.
        sources: Option<Vec<Source>>,
    },
}

impl Writing {
    /// For the first call of a turn, or for one that follows another.
    pub(crate) fn new(is_first: bool) -> Self {
        if is_first { Self::Live } else { Self::Held { matched: 0, sources: None } }
    }

    /// Whether the log's text is this call's.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }

    /// How many bytes of text this call has written or repeated.
    pub(crate) fn written(&self, log: &EventLog) -> usize {
        match self {
            Self::Live => log.current_text().len(),
            Self::Held { matched, .. } => *matched,
        }
    }

    /// The call is made again, without a word of it having been written: what it found meanwhile goes.
    pub(crate) fn again(&mut self, log: &mut EventLog) {
        match self {
            Self::Live => log.set_sources(Vec::new()),
            Self::Held { sources, .. } => *sources = None,
        }
    }

    /// Takes in a piece. What is written is all that a reader needs to have this call's text, whatever stood there before.
    pub(crate) fn take(&mut self, log: &mut EventLog, piece: Piece) {
        match (&mut *self, piece) {
            (_, Piece::Progress(progress)) => log.progress(progress),
            (Self::Live, piece) => write(log, piece),
            (Self::Held { sources, .. }, Piece::Sources(list)) => *sources = Some(list),
            (Self::Held { matched, .. }, Piece::Text(text)) => {
                let rest = log.current_text().get(*matched..).unwrap_or_default();
                if log.has_citation() || log.has_tool_call() {
                    // Citations stand at places in the text that this call does not share: its text begins anew.
                    let said = said(log, *matched);
                    self.go_live(log, Some(said + &text));
                } else if rest.starts_with(&text) && !rest.is_empty() {
                    *matched += text.len();
                } else if let Some(more) = text.strip_prefix(rest) {
                    let more = more.to_owned();
                    self.go_live(log, None);
                    log.delta(&more);
                } else {
                    let said = said(log, *matched);
                    self.go_live(log, Some(said + &text));
                }
            }
            (Self::Held { .. }, Piece::Replace(text)) => self.go_live(log, Some(text)),
            (Self::Held { matched, .. }, piece @ (Piece::Citation(_) | Piece::ToolCall(_))) => {
                let said = said(log, *matched);
                self.go_live(log, Some(said));
                write(log, piece);
            }
            (Self::Held { .. }, _) => {}
        }
    }

    /// The call is whole: its text stands, also where it is shorter than what was sent.
    pub(crate) fn end(&mut self, log: &mut EventLog) {
        if let Self::Held { matched, .. } = self {
            let matched = *matched;
            let short = matched < log.current_text().len() || log.has_citation();
            let text = short.then(|| said(log, matched));
            self.go_live(log, text);
        }
    }

    /// From here on the log's text is this call's; `text` takes the place of what stands there.
    fn go_live(&mut self, log: &mut EventLog, text: Option<String>) {
        if let Self::Held { sources, .. } = std::mem::replace(self, Self::Live) {
            log.set_sources(sources.unwrap_or_default());
        }
        if let Some(text) = text {
            if log.current_text().is_empty() && !log.has_citation() && !log.has_tool_call() {
                log.delta(&text);
            } else {
                log.replace(&text);
            }
        }
    }
}

/// What a held call has said so far: it is what stands in the log that far.
fn said(log: &EventLog, matched: usize) -> String {
    log.current_text().get(..matched).unwrap_or_default().to_owned()
}

fn write(log: &mut EventLog, piece: Piece) {
    match piece {
        Piece::Text(text) => log.delta(&text),
        Piece::Replace(text) => log.replace(&text),
        Piece::Sources(sources) => log.set_sources(sources),
        Piece::Citation(ids) => log.cite(ids),
        Piece::ToolCall(call) => log.tool_call(call),
        Piece::Progress(progress) => log.progress(progress),
        Piece::Emulated(_)
        | Piece::Model(_)
        | Piece::Upstream(_)
        | Piece::Thread(_)
        | Piece::Usage(_)
        | Piece::Extension(_)
        | Piece::End(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader has after a first call said `sent` and a second one says `pieces` and ends.
    fn recovered(sent: &str, pieces: &[&str]) -> (String, Vec<&'static str>) {
        let mut log = EventLog::default();
        log.delta(sent);
        let before = log.last_seq();
        let mut writing = Writing::new(false);
        for piece in pieces {
            writing.take(&mut log, Piece::Text((*piece).to_owned()));
        }
        writing.end(&mut log);
        let mut kinds = Vec::new();
        let mut after = before;
        while let Some((seq, event)) = log.next_after(after) {
            kinds.push(event.kind());
            after = seq;
        }
        (log.current_text().to_owned(), kinds)
    }

    #[test]
    fn what_repeats_is_not_sent_again() {
        assert_eq!(
            recovered("Hello wor", &["Hel", "lo ", "world", "!"]),
            ("Hello world!".into(), vec!["message.delta"; 2])
        );
        assert_eq!(recovered("Hello", &["Hello"]), ("Hello".into(), vec![]));
        assert_eq!(recovered("", &["Hi"]), ("Hi".into(), vec!["message.delta"]));
    }

    #[test]
    fn what_differs_or_ends_short_replaces() {
        assert_eq!(recovered("Hello wor", &["Hel", "p!"]), ("Help!".into(), vec!["message.replaced"]));
        assert_eq!(recovered("Hello wor", &["Hel"]), ("Hel".into(), vec!["message.replaced"]));
        assert_eq!(
            recovered("Hello", &["Bye", " now"]),
            ("Bye now".into(), vec!["message.replaced", "message.delta"])
        );
    }

    #[test]
    fn after_a_citation_nothing_is_spliced() {
        let mut log = EventLog::default();
        log.delta("See");
        log.cite(vec!["1".into()]);
        let mut writing = Writing::new(false);
        writing.take(&mut log, Piece::Text("See".into()));
        assert!(writing.is_live() && !log.has_citation());
        assert_eq!(log.current_text(), "See");
    }

    #[test]
    fn a_held_call_that_breaks_while_it_repeats_changes_nothing() {
        let mut log = EventLog::default();
        log.delta("Hello");
        let before = log.last_seq();
        let mut writing = Writing::new(false);
        writing.take(&mut log, Piece::Sources(vec![Source::default()]));
        writing.take(&mut log, Piece::Text("Hel".into()));
        assert!(!writing.is_live());
        assert_eq!(log.last_seq(), before);
    }
}

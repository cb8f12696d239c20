//! What the user sees: text as it comes, sources below it, everything else dim and apart.

use std::io::IsTerminal as _;

use super::client::sentence;
use super::wire::{Event, Source, Turn};
use crate::output;

/// Standard output. What is no part of a reply goes to standard error.
#[derive(Debug)]
pub(super) struct Screen {
    /// Whether standard output is a terminal, with colours.
    terminal: bool,
    sources: Vec<Source>,
    /// Whether the line that the cursor is in has text.
    open_line: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), sources: Vec::new(), open_line: false }
    }
}

impl Screen {
    pub(super) fn begin(&mut self) {
        self.sources.clear();
        self.open_line = false;
    }

    pub(super) fn text(&mut self, text: &str) {
        if let Some(last) = text.chars().last() {
            self.open_line = last != '\n';
        }
        // In a pipe, too: it may end at a terminal.
        output::piece(&harmless(text));
    }

    pub(super) fn sources(&mut self, sources: &[Source]) {
        self.sources = sources.to_vec();
    }

    /// Puts `[1]` where the text rests on the first source.
    pub(super) fn citation(&mut self, ids: &[String]) {
        for id in ids {
            if let Some(number) = self.sources.iter().position(|source| source.id == *id) {
                self.open_line = true;
                output::piece(&self.dim(&format!("[{}]", number + 1)));
            }
        }
    }

    pub(super) fn replaced(&mut self, text: &str) {
        self.end_line();
        output::piece(&self.dim("(the reply so far was wrong; this stands in its place)"));
        output::line("");
        self.open_line = false;
        self.text(text);
    }

    pub(super) fn progress(&mut self, event: &Event) {
        let step = event.step.as_deref().unwrap_or_default();
        let assistant = event.assistant.as_deref().map(|name| format!(": {name}")).unwrap_or_default();
        if std::io::stderr().is_terminal() {
            self.end_line();
            output::note(&self.dim(&harmless(&format!("… {}{assistant}", step.replace('_', " ")))));
        }
    }

    pub(super) fn end(&mut self, turn: &Turn) {
        self.end_line();
        if !turn.sources.is_empty() {
            self.sources.clone_from(&turn.sources);
        }
        for (number, source) in self.sources.iter().enumerate() {
            let title = source.title.as_deref().unwrap_or(&source.id);
            let url = source.url.as_deref().map(|url| format!("  {url}")).unwrap_or_default();
            output::line(&self.dim(&harmless(&format!("[{}] {title}{url}", number + 1))));
        }
        match (&turn.error, turn.status.as_str()) {
            (Some(error), "incomplete") => {
                output::problem(&harmless(&format!("the reply broke off: {}", sentence(error))));
            }
            (Some(error), _) => output::problem(&harmless(&sentence(error))),
            (None, "cancelled") => output::note("(cancelled)"),
            (None, "incomplete") => output::note("(the assistant stopped short)"),
            (None, _) => {}
        }
    }

    /// Something else is about to be said.
    pub(super) fn interrupted(&mut self) {
        self.end_line();
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.open_line) {
            output::line("");
        }
    }

    fn dim(&self, text: &str) -> String {
        if self.terminal { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The text without characters that move a terminal's cursor or change its state.
fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\u{9b}c\n\td\u{0}é"), "a[2Jbc\n\tdé");
    }
}

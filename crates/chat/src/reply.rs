//! Folding a turn's events back into what they say: the law that every stream must keep, in one place.

use crate::{Event, Source, Turn};

/// How a stream of events breaks the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The first event is not `turn.started`, or there is a second one.
    #[error("turn.started is not the first event, or not the only one of its sort")]
    Start,
    /// Something came after the end.
    #[error("an event came after the end")]
    AfterEnd,
    /// The text put together is not the turn's.
    #[error("the deltas put together are not the turn's text")]
    Text,
    /// The last list of sources is not the turn's.
    #[error("the last list of sources is not the turn's")]
    Sources,
}

/// What a reader knows of a turn after some of its events.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reply {
    /// The text so far.
    pub text: String,
    /// The last list of sources.
    pub sources: Vec<Source>,
    /// The turn as it was accepted.
    pub started: Option<Box<Turn>>,
    /// The turn as it ended.
    pub ended: Option<Box<Turn>>,
}

impl Reply {
    /// Takes in the next event.
    ///
    /// # Errors
    /// The event may not stand here, or the end contradicts what came before.
    pub fn take(&mut self, event: Event) -> Result<(), GrammarError> {
        if self.ended.is_some() {
            return Err(GrammarError::AfterEnd);
        }
        if self.started.is_some() == matches!(event, Event::Started(_)) {
            return Err(GrammarError::Start);
        }
        match event {
            Event::Started(turn) => self.started = Some(turn),
            Event::Progress(_) | Event::Citation(_) => {}
            Event::Sources(sources) => self.sources = sources,
            Event::Delta(text) => self.text.push_str(&text),
            Event::Replaced(text) => self.text = text,
            Event::Ended(turn) => {
                let text = turn.message.as_ref().map(|message| message.content.text());
                if text.unwrap_or_default() != self.text {
                    return Err(GrammarError::Text);
                }
                if turn.sources != self.sources {
                    return Err(GrammarError::Sources);
                }
                self.ended = Some(turn);
            }
        }
        Ok(())
    }
}

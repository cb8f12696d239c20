//! A reply as it grows: text with references at their places, and what the references point to.
//!
//! What is not documented, and how it is read here:
//! - whether events repeat the text so far: [`TextMode`], as for every provider;
//! - what `indices` point into: by the names, an index leads to `references[index].resourceId`, and that to `resources[].id`;
//! - whether the first index is 0 or 1: the setting `first_index`, 0 unless said otherwise. An index that leads nowhere is left out;
//! - whether `references` come before the text or after it: an index that leads nowhere yet is kept, and if citations turn out to
//!   be missing at their places when the reply is over, the text is given once more with all of them.

use chat::{Piece, Source};
use indexmap::IndexSet;

use super::wire::{Part, Reference, Resource};
use crate::loose::Id;
use crate::text_mode::{Text, TextMode};

/// Some indices at a place in a text, in bytes from its beginning.
type Mark = (usize, Vec<u64>);

/// Some sources' ids at a place in the text.
type Citation = (usize, Vec<String>);

/// How many references of a reply are taken in, and how many sources: far above what anybody reads, and what every event's work
/// is bounded by.
const MARKS_MAX: usize = 1_000;

/// Puts a reply together.
#[derive(Debug)]
pub(super) struct Transcript {
    text: Text,
    first_index: u64,
    /// How long all pieces put together are: the length of the text, while pieces add up.
    joined_bytes: usize,
    /// References by their place in all pieces put together: their place in the text while pieces add up.
    in_joined: IndexSet<Mark>,
    /// References by their place in their own piece: their place in the text while pieces repeat it.
    in_piece: IndexSet<Mark>,
    /// The ids that `references` name, in order.
    references: Vec<Option<String>>,
    sources: Vec<Source>,
    /// The citations that were passed on since the text was last replaced.
    cited: Vec<Citation>,
}

impl Transcript {
    /// An empty reply. `first_index`: what the first of `references` is counted as.
    pub(super) fn new(mode: TextMode, first_index: u64) -> Self {
        Self {
            text: Text::new(mode),
            first_index,
            joined_bytes: 0,
            in_joined: IndexSet::new(),
            in_piece: IndexSet::new(),
            references: Vec::new(),
            sources: Vec::new(),
            cited: Vec::new(),
        }
    }

    /// Whether nothing has been said yet.
    pub(super) fn is_empty(&self) -> bool {
        self.text.said().trim().is_empty()
    }

    /// Whether these parts say all that was said so far, and perhaps more.
    pub(super) fn is_repeated_by(&self, parts: &[Part]) -> bool {
        !self.is_empty() && flatten(parts).0.starts_with(self.text.said())
    }

    /// All sources so far.
    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Documents that were found, beside those before.
    pub(super) fn found(&mut self, resources: Vec<Resource>, pieces: &mut Vec<Piece>) {
        let mut news = false;
        for source in resources.into_iter().filter_map(source) {
            let room = self.sources.len() < MARKS_MAX;
            match self.sources.iter_mut().find(|known| known.id == source.id) {
                // It was cited before it was described.
                Some(known) if *known == bare(&known.id) && *known != source => *known = source,
                None if room => self.sources.push(source),
                _ => continue,
            }
            news = true;
        }
        if news {
            pieces.push(Piece::Sources(self.sources.clone()));
        }
    }

    /// What indices point into, in place of what they pointed into before.
    pub(super) fn refer(&mut self, references: Vec<Reference>, pieces: &mut Vec<Piece>) {
        let mut resources = Vec::new();
        self.references.clear();
        for Reference { resource_id, resource } in references {
            let id = resource_id.or_else(|| resource.as_ref()?.id.clone());
            self.references.push(id.and_then(Id::into_text));
            resources.extend(resource);
        }
        self.references.truncate(MARKS_MAX);
        self.found(resources, pieces);
    }

    /// The next piece of the message.
    pub(super) fn piece(&mut self, parts: &[Part], pieces: &mut Vec<Piece>) {
        let (piece, marks) = flatten(parts);
        let (joined, before) = (self.joined_bytes, self.text.said().len());
        self.joined_bytes = joined.saturating_add(piece.len());
        let room = MARKS_MAX.saturating_sub(self.in_joined.len());
        for (place, indices) in marks.into_iter().take(room) {
            // A reference without text stands where the text has got to.
            let in_piece = if piece.is_empty() { before } else { place };
            self.in_joined.insert((joined.saturating_add(place), indices.clone()));
            self.in_piece.insert((in_piece, indices));
        }
        match self.text.piece(&piece) {
            Some(Piece::Replace(_)) => self.replay(pieces),
            _ => self.go_on(before, pieces),
        }
    }

    /// The whole message: it has the last word, but for what it does not say.
    pub(super) fn whole(&mut self, parts: &[Part], pieces: &mut Vec<Piece>) {
        let (text, marks) = flatten(parts);
        let before = self.text.said().len();
        let change = self.text.whole(&text);
        if !text.is_empty() && (change.is_some() || !marks.is_empty()) {
            self.in_joined = marks.iter().take(MARKS_MAX).cloned().collect();
            self.in_piece = marks.into_iter().take(MARKS_MAX).collect();
        }
        match change {
            Some(Piece::Replace(_)) => self.replay(pieces),
            _ if self.missed(before) => self.replay(pieces),
            _ => self.go_on(before, pieces),
        }
    }

    /// Whether other citations were passed on before this place than stand there.
    fn missed(&self, before: usize) -> bool {
        let earlier = |citations: &[Citation]| -> Vec<Citation> {
            citations.iter().filter(|(place, _)| *place < before).cloned().collect()
        };
        earlier(&self.citations()) != earlier(&self.cited)
    }

    /// The reply is over: gives the citations that could not be given at their places.
    pub(super) fn settle(&mut self, pieces: &mut Vec<Piece>) {
        let citations = self.citations();
        let end = self.text.said().len();
        let missing = citations.strip_prefix(self.cited.as_slice());
        match missing.map(<[_]>::to_vec) {
            Some(missing) if missing.iter().all(|(place, _)| *place == end) => {
                for citation in missing {
                    self.cite(citation, pieces);
                }
            }
            _ => self.replay(pieces),
        }
    }

    /// Passes on the text from `before` on, with the citations in it.
    fn go_on(&mut self, before: usize, pieces: &mut Vec<Piece>) {
        let said = self.cited.clone();
        let new = |citation: &Citation| citation.0 >= before && !said.contains(citation);
        let citations = self.citations().into_iter().filter(new).collect();
        self.pass_on(before, citations, pieces);
    }

    /// Passes on all of it in place of what was passed on.
    fn replay(&mut self, pieces: &mut Vec<Piece>) {
        self.cited.clear();
        let citations = self.citations();
        let first = citations.first().map_or(self.text.said().len(), |(place, _)| *place);
        pieces.push(Piece::Replace(self.text.said().get(..first).unwrap_or_default().to_owned()));
        self.pass_on(first, citations, pieces);
    }

    fn pass_on(&mut self, mut from: usize, citations: Vec<Citation>, pieces: &mut Vec<Piece>) {
        for citation in citations {
            self.text_between(from, citation.0, pieces);
            from = citation.0;
            self.cite(citation, pieces);
        }
        self.text_between(from, self.text.said().len(), pieces);
    }

    fn text_between(&self, from: usize, to: usize, pieces: &mut Vec<Piece>) {
        let text = self.text.said().get(from..to).unwrap_or_default();
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
    }

    fn cite(&mut self, citation: Citation, pieces: &mut Vec<Piece>) {
        let known = self.sources.len();
        for id in &citation.1 {
            if !self.sources.iter().any(|source| source.id == *id) {
                self.sources.push(bare(id));
            }
        }
        if self.sources.len() > known {
            pieces.push(Piece::Sources(self.sources.clone()));
        }
        pieces.push(Piece::Citation(citation.1.clone()));
        self.cited.push(citation);
    }

    /// All citations that lead somewhere, by their places in the text as it is now.
    fn citations(&self) -> Vec<Citation> {
        let text = self.text.said();
        let marks = if text.len() == self.joined_bytes { &self.in_joined } else { &self.in_piece };
        let resolve = |(place, indices): &Mark| {
            let mut ids: Vec<String> = Vec::new();
            for index in indices {
                let place = index.checked_sub(self.first_index).and_then(|place| usize::try_from(place).ok());
                if let Some(Some(id)) = place.and_then(|place| self.references.get(place))
                    && !ids.contains(id)
                {
                    ids.push(id.clone());
                }
            }
            (!ids.is_empty()).then(|| (text.floor_char_boundary(*place), ids))
        };
        let mut citations: Vec<_> = marks.iter().filter_map(resolve).collect();
        citations.sort_by_key(|(place, _)| *place);
        citations
    }
}

/// A message's text without gaps, and where in it the references stand.
fn flatten(parts: &[Part]) -> (String, Vec<Mark>) {
    let is = |part: &Part, kind: &str| part.kind.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(kind));
    let mut text = String::new();
    let mut marks = Vec::new();
    for part in parts {
        if is(part, "Text") {
            text.push_str(part.text.as_deref().unwrap_or_default());
        } else if is(part, "InlineReference") && !part.indices.is_empty() {
            marks.push((text.len(), part.indices.clone()));
        }
    }
    (text, marks)
}

fn bare(id: &str) -> Source {
    Source { id: id.to_owned(), ..Source::default() }
}

fn source(resource: Resource) -> Option<Source> {
    Some(Source {
        id: resource.id.and_then(Id::into_text)?,
        title: resource.title.or(resource.name),
        url: resource.url,
        snippet: resource.subtitle,
        kind: resource.kind,
        app: resource.app_id,
    })
}

#[cfg(test)]
mod tests;

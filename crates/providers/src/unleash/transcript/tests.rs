use super::*;

/// What a reader has after these pieces: the text with `[ids]` at the citations, the ids of the sources, and how often the text was
/// replaced.
fn shown(pieces: &[Piece]) -> (String, Vec<String>, usize) {
    let (mut text, mut sources, mut replaced) = (String::new(), Vec::new(), 0);
    for piece in pieces {
        match piece {
            Piece::Text(more) => text.push_str(more),
            Piece::Replace(all) => {
                text.clone_from(all);
                replaced += 1;
            }
            Piece::Citation(ids) => {
                assert!(ids.iter().all(|id| sources.contains(id)), "{ids:?} is not among {sources:?}");
                text.push_str(&format!("[{}]", ids.join(",")));
            }
            Piece::Sources(all) => sources = all.iter().map(|source| source.id.clone()).collect(),
            other => panic!("unexpected {other:?}"),
        }
    }
    (text, sources, replaced)
}

fn text(text: &str) -> Part {
    Part { kind: Some("text".into()), text: Some(text.into()), indices: vec![] }
}

fn mark(indices: &[u64]) -> Part {
    Part { kind: Some("InlineReference".into()), text: None, indices: indices.to_vec() }
}

fn references(ids: &[&str]) -> Vec<Reference> {
    let reference = |id: &&str| Reference { resource_id: Some(Id::Text((*id).into())), resource: None };
    ids.iter().map(reference).collect()
}

fn read(steps: impl FnOnce(&mut Transcript, &mut Vec<Piece>)) -> (String, Vec<String>, usize) {
    let (mut transcript, mut pieces) = (Transcript::new(TextMode::Auto, 0), Vec::new());
    steps(&mut transcript, &mut pieces);
    transcript.settle(&mut pieces);
    shown(&pieces)
}

#[test]
fn citations_stand_at_their_places() {
    let (said, sources, replaced) = read(|transcript, pieces| {
        transcript.refer(references(&["a", "b"]), pieces);
        transcript.piece(&[text("The hours "), text("are nine to five"), mark(&[0, 1, 1])], pieces);
        transcript.piece(&[mark(&[1])], pieces);
        transcript.piece(&[text(" on days"), mark(&[7]), text(".")], pieces);
    });
    assert_eq!((said.as_str(), replaced), ("The hours are nine to five[a,b][b] on days.", 0));
    assert_eq!(sources, ["a", "b"]);
}

#[test]
fn pieces_that_repeat_cite_once() {
    let (said, _, replaced) = read(|transcript, pieces| {
        transcript.refer(references(&["a", "b"]), pieces);
        transcript.piece(&[text("The hours")], pieces);
        transcript.piece(&[text("The hours"), mark(&[0]), text(" are nine")], pieces);
        transcript.piece(&[text("The hours"), mark(&[0]), text(" are nine"), mark(&[1])], pieces);
        transcript.piece(&[text("The hours"), mark(&[0]), text(" are nine"), mark(&[1]), text(".")], pieces);
    });
    assert_eq!((said.as_str(), replaced), ("The hours[a] are nine[b].", 0));
}

#[test]
fn references_that_come_late_are_put_in_at_the_end() {
    let (said, _, replaced) = read(|transcript, pieces| {
        transcript.piece(&[text("Nine"), mark(&[0]), text(" to"), mark(&[1])], pieces);
        transcript.piece(&[text(" five.")], pieces);
        transcript.refer(references(&["a", "b"]), pieces);
    });
    assert_eq!((said.as_str(), replaced), ("Nine[a] to[b] five.", 1));
    // At the very end nothing has to be said twice.
    let (said, _, replaced) = read(|transcript, pieces| {
        transcript.piece(&[text("Nine to five."), mark(&[0])], pieces);
        transcript.refer(references(&["a"]), pieces);
    });
    assert_eq!((said.as_str(), replaced), ("Nine to five.[a]", 0));
    // Without references nothing is guessed.
    let (said, sources, replaced) = read(|transcript, pieces| {
        transcript.piece(&[text("Nine"), mark(&[0]), text(" to five.")], pieces);
    });
    assert_eq!((said.as_str(), sources.len(), replaced), ("Nine to five.", 0, 0));
}

#[test]
fn the_whole_has_the_last_word() {
    let (said, _, replaced) = read(|transcript, pieces| {
        transcript.piece(&[text("Nine to ")], pieces);
        transcript.refer(references(&["a"]), pieces);
        transcript.whole(&[text("Nine to five"), mark(&[0]), text(".")], pieces);
    });
    assert_eq!((said.as_str(), replaced), ("Nine to five[a].", 0));
    let (said, _, replaced) = read(|transcript, pieces| {
        transcript.refer(references(&["a"]), pieces);
        transcript.piece(&[text("Nine to six"), mark(&[0])], pieces);
        transcript.whole(&[text("Ten"), mark(&[0]), text(" to five.")], pieces);
    });
    assert_eq!((said.as_str(), replaced), ("Ten[a] to five.", 1));
    // What it does not say stays.
    let (said, _, replaced) = read(|transcript, pieces| {
        transcript.refer(references(&["a"]), pieces);
        transcript.piece(&[text("Nine"), mark(&[0])], pieces);
        transcript.whole(&[], pieces);
        transcript.whole(&[text("Nine")], pieces);
    });
    assert_eq!((said.as_str(), replaced), ("Nine[a]", 0));
}

#[test]
fn a_guess_that_was_wrong_moves_the_citations() {
    let (said, _, _) = read(|transcript, pieces| {
        transcript.refer(references(&["a", "b"]), pieces);
        transcript.piece(&[text("ha"), mark(&[0])], pieces);
        transcript.piece(&[text("haha"), mark(&[1])], pieces);
        transcript.piece(&[text(" funny")], pieces);
    });
    assert_eq!(said, "ha[a]haha[b] funny");
}

#[test]
fn the_first_index_can_be_one() {
    let (mut transcript, mut pieces) = (Transcript::new(TextMode::Auto, 1), Vec::new());
    transcript.refer(references(&["a"]), &mut pieces);
    transcript.piece(&[text("x"), mark(&[0]), mark(&[1])], &mut pieces);
    transcript.settle(&mut pieces);
    assert_eq!(shown(&pieces).0, "x[a]");
}

#[test]
fn a_source_that_is_described_later_is_described() {
    let (mut transcript, mut pieces) = (Transcript::new(TextMode::Auto, 0), Vec::new());
    transcript.refer(references(&["a"]), &mut pieces);
    transcript.piece(&[text("x"), mark(&[0])], &mut pieces);
    assert_eq!(transcript.sources(), [bare("a")]);
    let found = Resource {
        id: Some(Id::Text("a".into())),
        app_id: Some("slack".into()),
        name: Some("Hours".into()),
        ..Resource::default()
    };
    transcript.found(vec![found.clone(), found], &mut pieces);
    let expected = Source { title: Some("Hours".into()), app: Some("slack".into()), ..bare("a") };
    assert_eq!(transcript.sources(), [expected]);
}

#[test]
fn white_space_is_text() {
    let mut transcript = Transcript::new(TextMode::Auto, 0);
    assert!(transcript.is_empty());
    transcript.piece(&[text(" ")], &mut Vec::new());
    assert!(!transcript.is_empty());
}

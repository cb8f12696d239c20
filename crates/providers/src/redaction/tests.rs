use chat::FinishReason;

use super::*;

const KEY: &str = "sk-live-12345";

fn redaction() -> Redaction {
    Redaction::new(Some(Arc::new(SecretString::from(KEY))))
}

/// What is given of an item.
fn given(redaction: &mut Redaction, mut pieces: Vec<Piece>) -> Vec<Piece> {
    redaction.take(&mut pieces);
    pieces
}

fn chunk(text: &str) -> Piece {
    let json =
        serde_json::json!({"id": "x", "choices": [{"index": 0, "delta": {"content": text}}], "x_own": 1});
    Piece::Extension(json.to_string().into())
}

/// What readers have of these items in the end: the text of pieces, and that of frames.
fn told(items: Vec<Vec<Piece>>) -> (String, String) {
    let mut redaction = redaction();
    let mut all: Vec<_> = items.into_iter().flat_map(|item| given(&mut redaction, item)).collect();
    all.extend(redaction.flush());
    let (mut text, mut frames) = (String::new(), String::new());
    for piece in all {
        match piece {
            Piece::Text(more) => text += &more,
            Piece::Replace(all) => text = all,
            Piece::Extension(frame) => {
                let frame: Value = serde_json::from_str(&frame).unwrap();
                assert_eq!(frame["x_own"], 1, "the other fields stay");
                frames += frame["choices"][0]["delta"]["content"].as_str().unwrap();
            }
            _ => {}
        }
        assert!(frames.len() >= text.len() || frames.is_empty(), "a frame comes before what was made of it");
    }
    (text, frames)
}

#[test]
fn wherever_it_is_cut_the_key_is_not_given() {
    let said = format!("It is s sk-live {KEY}{KEY} and sk-live-1234{KEY}, sk-live-123");
    let expected = "It is s sk-live [secret][secret] and sk-live-1234[secret], sk-live-123";
    for size in 1..said.len() {
        let pieces: Vec<_> =
            said.as_bytes().chunks(size).map(|it| String::from_utf8(it.to_vec()).unwrap()).collect();
        let plain = pieces.iter().map(|it| vec![Piece::Text(it.clone())]).collect();
        assert_eq!(told(plain), (expected.to_owned(), String::new()), "in pieces of {size}");
        let framed = pieces.iter().map(|it| vec![chunk(it), Piece::Text(it.clone())]).collect();
        assert_eq!(told(framed), (expected.to_owned(), expected.to_owned()), "in frames of {size}");
    }
}

#[test]
fn other_text_is_not_held_up() {
    let mut redaction = redaction();
    for text in ["Hello", " wörld, ask me", " it", "-live"] {
        let told = given(&mut redaction, vec![chunk(text), Piece::Text(text.to_owned())]);
        assert!(matches!(&told[..], [Piece::Extension(_), Piece::Text(given)] if given == text), "{told:?}");
    }
    // Only what may be the key's beginning is.
    assert!(
        matches!(&given(&mut redaction, vec![Piece::Text("a sk-l".into())])[..], [Piece::Text(text)] if text == "a ")
    );
    assert!(
        matches!(&given(&mut redaction, vec![Piece::Text("ine".into())])[..], [Piece::Text(text)] if text == "sk-line")
    );
}

#[test]
fn a_replacement_begins_anew() {
    let items = vec![
        vec![Piece::Text("My key: sk-live".into())],
        vec![Piece::Replace(format!("No: {KEY} sk-"))],
        vec![Piece::Text("live-12345.".into())],
    ];
    assert_eq!(told(items).0, "No: [secret] [secret].");
}

#[test]
fn all_else_is_blotted_as_it_comes() {
    let source = Source { id: KEY.into(), url: Some(format!("https://e.com/?k={KEY}")), ..Source::default() };
    let call = Part::ToolCall { id: "1".into(), name: "f".into(), arguments: format!("{{\"k\":\"{KEY}\"}}") };
    let pieces = vec![
        Piece::Progress(Progress::step("search").with("query", vec![KEY])),
        Piece::Sources(vec![source]),
        Piece::Model(format!("gpt {KEY}")),
        Piece::Text("sk-".into()),
        Piece::Citation(vec!["1".into()]),
        Piece::ToolCall(call),
        Piece::End(Some(FinishReason::Stop)),
        Piece::Extension(format!("{{\"error\":\"{KEY}\"}}").into()),
    ];
    let told = given(&mut redaction(), pieces);
    let shown = format!("{told:?}");
    assert!(!shown.contains(KEY) && shown.matches("[secret]").count() == 6, "{shown}");
    let text = told.iter().position(|piece| matches!(piece, Piece::Text(_))).unwrap();
    assert!(matches!(told[text + 1], Piece::Citation(_)), "text stands before what follows it: {shown}");
}

#[test]
fn without_a_key_nothing_is_looked_for() {
    let told = given(&mut Redaction::new(None), vec![Piece::Text(KEY.into())]);
    assert!(matches!(&told[..], [Piece::Text(text)] if text == KEY));
    assert!(!format!("{:?}", redaction()).contains("live"));
}

use super::*;

fn answer(json: &str) -> Option<String> {
    answer_text(serde_json::from_str(json).unwrap())
}

fn event(json: &str) -> Option<(&'static str, String)> {
    event_text(serde_json::from_str(json).unwrap()).map(|said| match said {
        Said::Answer(text) => ("answer", text),
        Said::Words(text) => ("words", text),
    })
}

#[test]
fn an_answer_is_found_where_the_documents_have_it_first() {
    let all = r#"{"data":{"response":"1","message":"3"},"response":"2","bot":{"text":"4"},"message":"5"}"#;
    assert_eq!(answer(all).as_deref(), Some("1"));
    assert_eq!(answer(&all.replace(r#""1""#, r#""""#)).as_deref(), Some("2"));
    assert_eq!(answer(r#"{"data":{"message":"3"},"bot":{"text":"4"},"message":"5"}"#).as_deref(), Some("3"));
    assert_eq!(answer(r#"{"bot":{"text":"4"},"message":"5"}"#).as_deref(), Some("4"));
    assert_eq!(answer(r#"{"message":"5"}"#).as_deref(), Some("5"));
    assert_eq!(answer(r#"{"data":null,"message":{"text":"no"},"response":7}"#), None);
}

#[test]
fn a_piece_is_found_in_the_customary_places() {
    for (json, place) in [
        (r#"{"data":{"response":" x"}}"#, "answer"),
        (r#"{"response":" x"}"#, "answer"),
        (r#"{"delta":" x"}"#, "words"),
        (r#"{"delta":{"content":" x"}}"#, "words"),
        (r#"{"token":" x"}"#, "words"),
        (r#"{"message":" x"}"#, "words"),
        (r#"{"text":" x"}"#, "words"),
        (r#"{"content":" x"}"#, "words"),
        (r#"{"bot":{"text":" x"}}"#, "answer"),
        (r#"{"choices":[{"delta":{"content":" x"}}]}"#, "words"),
    ] {
        assert_eq!(event(json), Some((place, " x".to_owned())), "{json}");
    }
    assert_eq!(event(r#"{"delta":{"role":"assistant"}}"#), None);
}

#[test]
fn more_follows_as_far_as_can_be_told() {
    fn judge() -> Judge {
        Judge::new(crate::blotter::Blotter::new(&[], None), Default::default(), super::super::failure::read)
    }
    let more = |pagination: &str, items: usize| {
        let items = vec![r#"{"id":"c"}"#; items].join(",");
        let body = format!(r#"{{"success":true,"data":{{"conversations":[{items}]{pagination}}}}}"#);
        conversations(&judge(), body.as_bytes(), 2, 3).unwrap().has_more
    };
    assert!(more(r#","pagination":{"hasMore":true,"total":1}"#, 0));
    assert!(!more(r#","pagination":{"hasMore":false,"total":100}"#, 3));
    assert!(more(r#","pagination":{"total":7}"#, 0));
    assert!(!more(r#","pagination":{"total":6}"#, 3));
    assert!(more("", 3));
    assert!(!more("", 2));
}

#[test]
fn an_id_that_is_no_id_is_none() {
    assert_eq!(id(Id::Text("conv_1".into())).as_deref(), Some("conv_1"));
    assert_eq!(id(Id::Number(7)).as_deref(), Some("7"));
    assert_eq!(id(Id::Text("a\nb".into())), None);
    assert_eq!(id(Id::Text("x".repeat(ID_BYTES_MAX + 1))), None);
}

use serde_json::json;

use super::*;

fn text(value: &Value) -> Option<String> {
    match answer(value, None) {
        Found::Text(text) => Some(text),
        _ => None,
    }
}

#[test]
fn an_object_says_it_under_many_names() {
    for key in ANSWER_KEYS {
        assert_eq!(text(&json!({"id": 1, key: "yes"})).as_deref(), Some("yes"), "{key}");
    }
    assert_eq!(text(&json!({"message": "", "answer": "yes"})).as_deref(), Some("yes"));
    assert_eq!(text(&json!({"message": {"role": "assistant", "content": "yes"}})).as_deref(), Some("yes"));
    assert_eq!(text(&json!({"choices": [{"message": {"content": "yes"}}]})).as_deref(), Some("yes"));
    assert_eq!(text(&json!({"choices": [{"text": "yes"}]})).as_deref(), Some("yes"));
    assert_eq!(text(&json!("yes")).as_deref(), Some("yes"));
    assert_eq!(text(&json!("  ")).as_deref(), Some("  "), "white space is text");
    assert_eq!(text(&json!({"message": " ", "answer": "yes"})).as_deref(), Some("yes"));
    assert_eq!(text(&json!({"message": "", "answer": " "})).as_deref(), Some(" "));
    assert_eq!(text(&json!("")), None);
    assert_eq!(text(&json!({"data": {"message": "no"}})), None);
    assert_eq!(answer(&json!(null), None), Found::Nothing);
}

#[test]
fn only_the_first_choice_counts() {
    let value = json!({"choices": [{"index": 1, "text": "no"}, {"index": 0, "text": "yes"}]});
    assert_eq!(text(&value).as_deref(), Some("yes"));
    assert_eq!(piece(&json!({"choices": [{"index": 1, "delta": {"content": "no"}}]}), None), None);
}

#[test]
fn documents_are_never_an_answer() {
    let row = |extra: Value| {
        let mut row = json!({"id": "d1", "name": "How-0", "content": "secret"});
        row.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        row
    };
    for row in [
        row(json!({"embedding": "[0.1,0.2..]"})),
        row(json!({"metadata": {"loc": {"lines": {"from": 1, "to": 1}}}})),
        row(json!({"content": "DOCUMENT NAME: x\n\n---\n\nsecret"})),
    ] {
        let expected = Source {
            id: "d1".into(),
            title: Some("How-0".into()),
            kind: Some("document".into()),
            ..Source::default()
        };
        assert_eq!(answer(&json!([row.clone()]), None), Found::Documents(vec![expected.clone()]));
        assert_eq!(answer(&row, None), Found::Documents(vec![expected]));
        assert_eq!(piece(&row, None), None);
        let mixed = json!([{"role": "user", "content": "Hi"}, {"role": "bot", "content": "yes"}, row]);
        assert_eq!(text(&mixed).as_deref(), Some("yes"));
    }
}

#[test]
fn the_latest_row_that_is_not_the_users_answers() {
    let rows = json!([
        {"content": "yes", "created_at": "2023-06-16T18:18:39.1+00:00"},
        {"role": "user", "content": "Hi", "created_at": "2023-06-16T18:18:40.88344+00:00"},
        {"content": "older", "created_at": "2023-06-16T18:18:38.88344+00:00"},
    ]);
    assert_eq!(text(&rows).as_deref(), Some("yes"));
    assert_eq!(text(&json!([{"content": "a"}, {"content": "b"}])).as_deref(), Some("b"));
    assert_eq!(text(&json!([{"author": "user", "content": "a"}])), None);
    assert_eq!(answer(&json!([]), None), Found::Nothing);
}

#[test]
fn the_operator_can_say_where_the_answer_is() {
    let value = json!({"message": "no", "data": {"rows": [{"a/b": "first"}, {"a/b": "yes"}]}});
    let found = |path: &str| answer(&value, Some(&path.parse().unwrap()));
    assert_eq!(found("/data/rows/-/a~1b"), Found::Text("yes".into()));
    assert_eq!(found("/data/rows/0/a~1b"), Found::Text("first".into()));
    // Where the path leads nowhere the usual places are looked at: a refusal in passing must not hide an answer.
    assert_eq!(found("/data/rows/7"), Found::Text("no".into()));
    assert!("data".parse::<AnswerPath>().is_err());
}

#[test]
fn events_hold_pieces_with_their_blanks() {
    assert_eq!(piece(&json!({"choices": [{"delta": {"content": " a"}}]}), None).as_deref(), Some(" a"));
    assert_eq!(piece(&json!({"choices": [{"text": " "}]}), None).as_deref(), Some(" "));
    assert_eq!(piece(&json!({"token": "a"}), None).as_deref(), Some("a"));
    assert_eq!(piece(&json!({"delta": {"content": "a"}}), None).as_deref(), Some("a"));
    assert_eq!(piece(&json!(" a"), None).as_deref(), Some(" a"));
    assert_eq!(piece(&json!({"choices": [{"delta": {"role": "assistant"}}]}), None), None);
    assert_eq!(finish_reason(&json!({"choices": [{"finish_reason": "stop"}]})).as_deref(), Some("stop"));
}

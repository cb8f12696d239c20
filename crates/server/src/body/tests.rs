//! What is wrong with a body is named.

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
struct Thing {
    name: String,
    #[serde(default, deserialize_with = "given")]
    count: Option<u32>,
    #[serde(default)]
    inner: Vec<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    #[expect(dead_code, reason = "only its name matters")]
    x: u8,
}

fn outcome(text: &str) -> (String, Option<String>) {
    let read = parse::<Node>(text).and_then(|_| parse::<Thing>(text));
    let error = read.map(|thing| (thing.name, thing.count, thing.inner.len())).expect_err(text);
    let envelope = TurnErrorView::of(&error);
    (envelope.0, envelope.1)
}

struct TurnErrorView(String, Option<String>);

impl TurnErrorView {
    fn of(error: &ApiError) -> Self {
        let response = axum::response::IntoResponse::into_response(error.clone());
        let response = crate::error::render(response, "r", crate::openai::Dialect::Native);
        let bytes = futures_util::FutureExt::now_or_never(response.into_body().collect());
        let json: serde_json::Value = serde_json::from_slice(&bytes.unwrap().unwrap().to_bytes()).unwrap();
        let text = |name: &str| json["error"][name].as_str().map(str::to_owned);
        Self(text("code").unwrap(), text("param"))
    }
}

#[test]
fn the_field_at_fault_is_named() {
    let long = "[".repeat(200);
    for (text, code, param) in [
        (r#"{"name":"a","nmae":1}"#, "unknown_field", Some("nmae")),
        (r#"{"name":"a","inner":[{"x":1},{"x":1,"y":2}]}"#, "unknown_field", Some("inner[1].y")),
        (r#"{"name":"a","inner":[{}]}"#, "missing_field", Some("inner[0].x")),
        (r"{}", "missing_field", Some("name")),
        (r#"{"name":1}"#, "invalid_value", Some("name")),
        (r#"{"name":"a","count":-1}"#, "invalid_value", Some("count")),
        (r#"{"name":"a","count":1.5}"#, "invalid_value", Some("count")),
        (r#"{"name":"a","inner":[{"x":256}]}"#, "invalid_value", Some("inner[0].x")),
        (r#"{"name":"a","name":"b"}"#, "invalid_value", Some("name")),
        (r#"{"name":"a","inner":[{"x":1,"x":1}]}"#, "invalid_value", Some("inner[0].x")),
        (r#""name""#, "invalid_value", None),
        (r#"{"name":"a"} x"#, "invalid_json", None),
        (r#"{"name":"a"}{}"#, "invalid_json", None),
        (r#"{"name":"\ud800"}"#, "invalid_json", None),
        (r#"{"name":"a"#, "invalid_json", None),
        ("", "invalid_json", None),
        (&long, "invalid_json", None),
    ] {
        assert_eq!(outcome(text), (code.to_owned(), param.map(str::to_owned)), "{text}");
    }
}

#[test]
fn null_is_the_same_as_left_out() {
    assert!(parse::<Thing>(r#"{"name":"a","count":null}"#).is_ok_and(|thing| thing.count.is_none()));
    assert_eq!(outcome(r#"{"name":null}"#), ("invalid_value".to_owned(), Some("name".to_owned())));
}

#[test]
fn spellings_of_one_body_are_one() {
    let canonical = |text: &str| serde_json::to_string(&parse::<Node>(text).unwrap()).unwrap();
    assert_eq!(
        canonical("{ \"b\": [1, 2.50],\n \"a\": \"\\u0061\" }"),
        canonical(r#"{"a":"a","b":[1,2.50]}"#)
    );
    assert_ne!(canonical(r#"{"a":1}"#), canonical(r#"{"a":1.0}"#));
    assert_ne!(canonical(r#"{"a":[1,2]}"#), canonical(r#"{"a":[2,1]}"#));
    assert_ne!(canonical(r#"{"a":"1"}"#), canonical(r#"{"a":1}"#));
}

#[test]
fn json_is_told_by_its_label() {
    let label = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, value.parse().unwrap());
        is_json(&headers)
    };
    assert!(label("application/json"));
    assert!(label("Application/JSON; charset=UTF-8"));
    assert!(label("application/json;charset=\"utf-8\""));
    assert!(!label("application/json; charset=latin1"));
    assert!(!label("text/plain"));
    assert!(!label("application/jsonl"));
    assert!(!is_json(&HeaderMap::new()));
}

#[test]
fn what_is_fine_is_what_a_closer_look_finds_fine() {
    let wide = |fields: usize| {
        let fields: Vec<_> = (0..fields).map(|number| format!("\"f{number}\":{{}}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    let (deep, long) = (format!("{}1{}", "[".repeat(126), "]".repeat(126)), wide(60));
    for text in ["{}", r#"{"a":{"a":[{"a":1},{"a":-2.5}]},"b":"\u0061","c":null,"d":true}"#, &long] {
        assert!(scan::fields(text).is_some(), "{text}");
        assert!(canonical(text).is_ok(), "{text}");
    }
    for text in [
        "",
        "[]",
        "{} x",
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"b":[{"a":{"x":1},"a":2}]}"#,
        r#"{"a":1e400}"#,
        r#"{"a":"\ud800"}"#,
        &format!(r#"{{"a":[{deep}]}}"#),
    ] {
        assert!(scan::fields(text).is_none(), "{text}");
        assert!(canonical(text).is_err(), "{text}");
    }
    // Too many, too deep, or too rare to be told quickly: looked at closely.
    for text in [&wide(65), &format!(r#"{{"a":{deep}}}"#), r#"{"a":-2.5e3,"\u0061b":1}"#] {
        assert!(scan::fields(text).is_none() && canonical(text).is_ok(), "{text}");
    }
}

//! What is let through is JSON, and stands where the parser finds it.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

#[test]
fn fields_stand_where_they_are_written() {
    let text = " {\"a\" : [1, {\"a\": \"\\u00e9\\\"\"}] ,\"b\":{} ,\n\"é\": \"x y\",\"n\":-0.5}\t";
    let expected = [("a", "[1, {\"a\": \"\\u00e9\\\"\"}]"), ("b", "{}"), ("é", "\"x y\""), ("n", "-0.5")];
    assert_eq!(fields(text).unwrap(), expected);
    assert_eq!(fields("{}"), Some(Vec::new()));
    assert_eq!(fields(r#"{"a":"\ud83d\uDE00"}"#).unwrap(), [("a", r#""\ud83d\uDE00""#)]);
}

#[test]
fn what_is_wrong_or_rare_is_left_to_others() {
    for text in [
        "",
        "[]",
        "5",
        "{",
        "{}x",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":tru}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e5}",
        "{\"a\":1234567890123456789}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\n\"\"}",
        "{\"a\":\"\nb\"}",
        "{\"a\":\"\nu0041\"}",
        "{\"a\":\"\nud83d\\ude00\"}",
        "{\"\n\"b\":1}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\ud83d\"}",
        "{\"a\":\"\\ude00\\ud83d\"}",
        "{\"\\u0061\":1}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":[{\"b\":1,\"b\":2}]}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "{\"a\":\"\\u00",
        "{\"a\":1}}",
        "{\"a\":]}",
        "{\"a\":\u{a0}1}",
    ] {
        assert_eq!(fields(text), None, "{text}");
    }
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(fields(&deep(DEPTH_MAX)).is_some());
    assert!(fields(&deep(DEPTH_MAX + 1)).is_none());
}

#[test]
fn every_byte_is_found_wherever_it_stands() {
    for byte in 0..=255_u8 {
        for (place, length) in [(0, 3), (2, 3), (0, 9), (5, 9), (8, 9), (7, 70), (31, 70), (45, 70), (69, 70)]
        {
            let mut bytes = vec![b'a'; length];
            bytes[place] = byte;
            let expected = if byte < 32 || byte == 34 || byte == 92 { place } else { length };
            assert_eq!(plain_bytes(&bytes), expected, "{byte} at {place} of {length}");
        }
    }
}

fn jsonish() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\":",
        "\"é\"",
        "\\",
        "\\n",
        "\\u0041",
        "\\ud83d",
        "\\uDE00",
        "u",
        " ",
        "\n",
        "1",
        "-",
        "0",
        ".",
        "e",
        "true",
        "null",
        "12",
        "\"c\":{}",
        "[1]",
        "\"d\":[],",
    ]);
    prop::collection::vec(word, 0..12).prop_map(|words| format!("{{{}}}", words.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever is let through is an object to the parser as well, with the same fields.
    #[test]
    fn the_parser_agrees(text in jsonish()) {
        if let Some(fields) = fields(&text) {
            let parsed: indexmap::IndexMap<String, Box<RawValue>> = serde_json::from_str(&text).unwrap();
            let parsed: Vec<_> = parsed.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
            prop_assert_eq!(fields, parsed);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}

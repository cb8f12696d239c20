//! Which requests are a turn to run.

use chat::{AllowedAssistants, KeyId, Permissions};

use super::*;

fn caller(user: Option<&str>) -> Caller {
    Caller {
        tenant: "t".parse().unwrap(),
        key: KeyId::new(),
        key_name: "k".into(),
        assistants: AllowedAssistants::All,
        may: Permissions::default(),
        admin: false,
        user: user.map(|user| user.parse().unwrap()),
    }
}

fn ask(body: &str) -> Result<Ask, ErrorCode> {
    crate::body::parse::<Wanted>(body)
        .and_then(|wanted| wanted.into_ask(&caller(None)))
        .map_err(|error| error.code())
}

#[test]
fn a_turn_has_one_prompt() {
    let asked = ask(r#"{"assistant":"a","message":"hi"}"#).unwrap();
    assert_eq!(asked.prompt, Prompt::Message(Content::text_only("hi")));
    assert!(asked.store && !asked.stream);
    let transcript =
        r#"{"assistant":"a","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}]}"#;
    assert!(matches!(ask(transcript).unwrap().prompt, Prompt::Transcript(said) if said.len() == 2));
    let conversation = format!(r#"{{"conversation_id":"{}","message":"m"}}"#, ConversationId::new());
    assert!(ask(&conversation).unwrap().conversation_id.is_some());
}

#[test]
fn what_does_not_go_together_is_refused() {
    use ErrorCode::{AssistantNotFound, ConversationNotFound, InvalidValue, MissingField, UnknownField};
    let id = ConversationId::new();
    for (body, code) in [
        (r#"{"message":"m"}"#.to_owned(), MissingField),
        (r#"{"assistant":"a"}"#.to_owned(), MissingField),
        (r#"{"assistant":"a","message":""}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","message":[]}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","message":[{"type":"text","text":""}]}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","message":null}"#.to_owned(), MissingField),
        (
            r#"{"assistant":"a","message":"m","messages":[{"role":"user","content":"u"}]}"#.to_owned(),
            InvalidValue,
        ),
        (r#"{"assistant":"a","messages":[]}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","messages":[{"role":"assistant","content":"x"}]}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","messages":[{"role":"operator","content":"x"}]}"#.to_owned(), InvalidValue),
        (
            r#"{"assistant":"a","messages":[{"role":"user","content":"x","name":"n"}]}"#.to_owned(),
            UnknownField,
        ),
        (
            format!(r#"{{"conversation_id":"{id}","messages":[{{"role":"user","content":"x"}}]}}"#),
            InvalidValue,
        ),
        (format!(r#"{{"conversation_id":"{id}","message":"m","store":false}}"#), InvalidValue),
        (r#"{"conversation_id":"nonsense","message":"m"}"#.to_owned(), ConversationNotFound),
        (r#"{"conversation_id":"","message":"m"}"#.to_owned(), InvalidValue),
        (r#"{"conversation_id":"a\u0000","message":"m"}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a/b","message":"m"}"#.to_owned(), AssistantNotFound),
        (r#"{"assistant":"a","message":"m","user":"a\nb"}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","message":"m","user":""}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","message":"m","context_messages":-1}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","message":"m","context_messages":1.5}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","messages":[["user","x"]]}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","message":"m","search_filters":[]}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","message":"m","when_busy":"later"}"#.to_owned(), InvalidValue),
        (r#"{"assistant":"a","message":"m","metadata":[]}"#.to_owned(), InvalidValue),
        (
            format!(r#"{{"assistant":"a","message":"m","metadata":{{"a":"{}"}}}}"#, "x".repeat(16 * 1024)),
            InvalidValue,
        ),
        (format!(r#"{{"assistant":"a","message":"m","user":"{}"}}"#, "x".repeat(257)), InvalidValue),
        (r#"{"assistant":"a","message":"m","temperature":1}"#.to_owned(), UnknownField),
    ] {
        assert_eq!(ask(&body).map(|_| ()), Err(code), "{body}");
    }
}

#[test]
fn any_number_of_earlier_messages_can_be_asked_for() {
    for (number, most) in [("0", 0), ("7", 7), ("4294967296", u32::MAX), ("1000000000000000000000", u32::MAX)]
    {
        let body = format!(r#"{{"assistant":"a","message":"m","context_messages":{number}}}"#);
        assert_eq!(ask(&body).unwrap().context_messages, Some(most), "{number}");
    }
}

#[test]
fn filters_are_passed_on_as_they_came() {
    let asked = ask(r#"{"assistant":"a","message":"m","search_filters":{"b": [1.50],  "a":{}}}"#).unwrap();
    assert_eq!(asked.search_filters.unwrap().get(), r#"{"b": [1.50],  "a":{}}"#);
}

#[test]
fn a_token_speaks_for_its_user() {
    let token = caller(Some("ann"));
    assert_eq!(user_of(&token, None).unwrap().unwrap().as_str(), "ann");
    assert_eq!(user_of(&token, Some("ann".parse().unwrap())).unwrap().unwrap().as_str(), "ann");
    assert!(user_of(&token, Some("bob".parse().unwrap())).is_err());
}

#[test]
fn events_go_on_after_a_number() {
    let after = |query: &str, header: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(LAST_EVENT_ID, value.parse().unwrap());
        }
        super::after(&format!("/x{query}").parse().unwrap(), &headers).map_err(|error| error.code())
    };
    assert_eq!(after("", None), Ok(0));
    assert_eq!(after("?after=3", None), Ok(3));
    assert_eq!(after("?after=3", Some("5")), Ok(5));
    for (query, header) in
        [("?after=x", None), ("", Some("x")), ("", Some("")), ("", Some("+1")), ("?after=-1", Some("1"))]
    {
        assert_eq!(after(query, header), Err(ErrorCode::InvalidValue), "{query} {header:?}");
    }
}

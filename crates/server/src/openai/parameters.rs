//! Parameters that belong to a model and mean nothing to an assistant.
//!
//! They are accepted and named in `x-ignored-parameters`, but for those whose absence would change what the reply *is*: those only
//! a provider can honour that is given the client's own body.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use engine::Extension;
use http::{HeaderMap, HeaderName};
use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::insert;

const IGNORED: HeaderName = HeaderName::from_static("x-ignored-parameters");
/// How many ignored parameters are named, and how long a name may be: a header has its bounds.
const NAMES_MAX: usize = 50;
const NAME_BYTES_MAX: usize = 64;

/// What stands in a body beside what the gateway itself understands.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// Those that an assistant does not honour.
    pub(super) ignored: Vec<String>,
    /// Those that must be honoured.
    pub(super) needs: Vec<String>,
}

/// The fields of a body, as they came.
pub(super) type Fields = IndexMap<String, Box<RawValue>>;

/// Sorts the fields of a body that are not among the route's `own`.
pub(super) fn of(fields: &Fields, own: &[&str]) -> Parameters {
    let mut all = Parameters::default();
    for (name, value) in fields {
        all.sort(name, value.get(), own);
    }
    all
}

/// The same for the fields as they stand in a body's text.
pub(super) fn of_fields(fields: &[(&str, &str)], own: &[&str]) -> Parameters {
    let mut all = Parameters::default();
    fields.iter().for_each(|(name, value)| all.sort(name, value, own));
    all
}

/// The same for the body's text, which is an object.
pub(super) fn of_body(body: &str, own: &[&str]) -> Parameters {
    struct Reads<'a>(&'a [&'a str]);
    impl<'de> Visitor<'de> for Reads<'_> {
        type Value = Parameters;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
            #[derive(Deserialize)]
            struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
            let mut all = Parameters::default();
            while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                all.sort(&name, value.get(), self.0);
            }
            Ok(all)
        }
    }
    // The body was read before: it is one.
    serde_json::Deserializer::from_str(body).deserialize_map(Reads(own)).unwrap_or_default()
}

impl Parameters {
    fn sort(&mut self, name: &str, value: &str, own: &[&str]) {
        match worth(name, value) {
            Worth::Needed(field) => self.needs.push(field),
            Worth::Ignored if !own.contains(&name) => self.ignored.push(name.to_owned()),
            Worth::Ignored | Worth::Nothing => {}
        }
    }

    /// The client's own body, for a provider that takes it.
    pub(super) fn extension(&self, body: Arc<str>) -> Extension {
        Extension { body, needs: self.needs.first().cloned() }
    }

    /// Names those that were ignored.
    pub(super) fn show(&self, headers: &mut HeaderMap) {
        let is_plain = |name: &&String| {
            (1..=NAME_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        let names: Vec<_> =
            self.ignored.iter().filter(is_plain).take(NAMES_MAX).map(String::as_str).collect();
        if !names.is_empty() {
            insert(headers, IGNORED, &names.join(", "));
        }
    }
}

enum Worth {
    /// It asks for nothing beyond what every answer is.
    Nothing,
    /// Without it the answer is still one.
    Ignored,
    /// Without it the answer would be another thing; the field to name.
    Needed(String),
}

fn worth(name: &str, value: &str) -> Worth {
    let nothing = matches!(value, "null" | "[]" | "{}" | "false");
    let needed = match name {
        "tools" | "functions" | "web_search_options" | "audio" | "prompt" => !nothing,
        "n" => read::<f64>(value).is_some_and(|n| n > 1.0),
        "logprobs" => !nothing,
        "top_logprobs" => read::<f64>(value).is_some_and(|count| count > 0.0),
        "modalities" => {
            read::<Vec<String>>(value).is_some_and(|all| all.iter().any(|one| one.as_str() != "text"))
        }
        "include" => {
            read::<Vec<String>>(value).is_some_and(|all| all.iter().any(|one| one.contains("logprobs")))
        }
        "response_format" => match read::<Typed>(value) {
            Some(Typed { r#type }) if r#type == "text" => return Worth::Nothing,
            _ => !nothing,
        },
        "text" => match read::<Text>(value) {
            Some(Text { format: Some(Typed { r#type }) }) if r#type != "text" => {
                return Worth::Needed("text.format".to_owned());
            }
            Some(Text { format: Some(_) }) => return Worth::Nothing,
            _ => false,
        },
        _ => false,
    };
    match (needed, value) {
        (true, _) => Worth::Needed(name.to_owned()),
        (false, "null") => Worth::Nothing,
        (false, _) if name == "logprobs" || name == "n" => Worth::Nothing,
        _ => Worth::Ignored,
    }
}

#[derive(Debug, Deserialize)]
struct Typed {
    r#type: String,
}

#[derive(Debug, Deserialize)]
struct Text {
    format: Option<Typed>,
}

fn read<'de, T: Deserialize<'de>>(value: &'de str) -> Option<T> {
    serde_json::from_str(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(json: &str) -> (Vec<String>, Option<String>) {
        let Parameters { ignored, needs } = of(&serde_json::from_str(json).unwrap(), &["model"]);
        (ignored, needs.into_iter().next())
    }

    #[test]
    fn some_are_ignored() {
        let body = r#"{"model":"a","temperature":0.1,"max_tokens":5,"stop":null,"n":1,"logprobs":false,"new_one":{"a":1},
            "response_format":{"type":"text"},"text":{"format":{"type":"text"}},"tools":[]}"#;
        let names = ["temperature", "max_tokens", "new_one", "tools"].map(str::to_owned);
        assert_eq!(sorted(body), (names.to_vec(), None));
    }

    #[test]
    fn some_are_needed() {
        for (body, name) in [
            (r#"{"tools":[{"type":"function"}]}"#, "tools"),
            (r#"{"n":2}"#, "n"),
            (r#"{"response_format":{"type":"json_object"}}"#, "response_format"),
            (r#"{"text":{"format":{"type":"json_schema"}}}"#, "text.format"),
            (r#"{"logprobs":true}"#, "logprobs"),
            (r#"{"top_logprobs":2}"#, "top_logprobs"),
            (r#"{"modalities":["text","audio"]}"#, "modalities"),
        ] {
            assert_eq!(sorted(body).1.as_deref(), Some(name), "{body}");
        }
    }

    #[test]
    fn names_that_are_no_header_are_not_shown() {
        let all =
            Parameters { ignored: vec!["a\r\nb".into(), "é".into(), "top_p".into()], needs: Vec::new() };
        let mut headers = HeaderMap::new();
        all.show(&mut headers);
        assert_eq!(headers["x-ignored-parameters"], "top_p");
    }
}

//! Reading fields whose type the providers' documents leave open: what has another type than expected counts as absent.

use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(untagged)]
enum Either<T> {
    Fits(T),
    Other(IgnoredAny),
}

/// A field that may be missing, null, or of a type that says nothing to us; for `deserialize_with` beside `default`.
///
/// # Errors
/// Only for what is no JSON at all.
pub(crate) fn field<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(match Option::<Either<T>>::deserialize(deserializer)? {
        Some(Either::Fits(value)) => Some(value),
        Some(Either::Other(IgnoredAny)) | None => None,
    })
}

/// A list that may be missing, null, or no list; items that do not fit are left out.
///
/// # Errors
/// Only for what is no JSON at all.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let items: Option<Vec<Either<T>>> = field(deserializer)?;
    let fitting = |item| match item {
        Either::Fits(value) => Some(value),
        Either::Other(IgnoredAny) => None,
    };
    Ok(items.unwrap_or_default().into_iter().filter_map(fitting).collect())
}

/// An id: documented as text, but a number would name the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Id {
    /// As documented.
    Text(String),
    /// A number in its place.
    Number(u64),
}

impl Id {
    /// The id as text; none for an empty one.
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text).filter(|text| !text.is_empty()),
            Self::Number(number) => Some(number.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Example {
        #[serde(default, deserialize_with = "field")]
        text: Option<String>,
        #[serde(default, deserialize_with = "list")]
        items: Vec<String>,
        #[serde(default, deserialize_with = "field")]
        id: Option<Id>,
    }

    fn read(json: &str) -> (Option<String>, Vec<String>, Option<String>) {
        let example: Example = serde_json::from_str(json).unwrap();
        (example.text, example.items, example.id.and_then(Id::into_text))
    }

    #[test]
    fn what_does_not_fit_is_absent() {
        assert_eq!(read("{}"), (None, vec![], None));
        assert_eq!(read(r#"{"text":null,"items":null,"id":null}"#), (None, vec![], None));
        assert_eq!(read(r#"{"text":{"a":[1]},"items":7,"id":[]}"#), (None, vec![], None));
        assert_eq!(
            read(r#"{"text":"t","items":["a",1,"b"],"id":12}"#),
            (Some("t".into()), vec!["a".into(), "b".into()], Some("12".into()))
        );
    }
}

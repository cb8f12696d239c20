//! Words of a fixed list in bodies. To a derived enum `{"user": null}` is as good as `"user"`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, Visitor};

/// For a word of a list.
pub(crate) fn word<'de, D: Deserializer<'de>, T: DeserializeOwned>(json: D) -> Result<T, D::Error> {
    Word::deserialize(json).map(|Word(word)| word)
}

/// The same where it may be left out, or null.
pub(crate) fn word_given<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    json: D,
) -> Result<Option<T>, D::Error> {
    Option::<Word<T>>::deserialize(json).map(|given| given.map(|Word(word)| word))
}

/// The same for several words.
pub(crate) fn words_given<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    json: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let given = Option::<Vec<Word<T>>>::deserialize(json)?;
    Ok(given.map(|words| words.into_iter().map(|Word(word)| word).collect()))
}

struct Word<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(Reads(PhantomData)).map(Self)
    }
}

struct Reads<T>(PhantomData<T>);

impl<T: DeserializeOwned> Visitor<'_> for Reads<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::deserialize(StrDeserializer::new(text))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Fruit {
        Apple,
        Pear,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Basket {
        #[serde(deserialize_with = "super::word")]
        one: Fruit,
        #[serde(default, deserialize_with = "super::word_given")]
        other: Option<Fruit>,
        #[serde(default, deserialize_with = "super::words_given")]
        more: Option<Vec<Fruit>>,
    }

    #[test]
    fn only_a_string_is_a_word() {
        let read = |json: &str| crate::body::parse::<Basket>(json);
        let basket = Basket {
            one: Fruit::Apple,
            other: Some(Fruit::Pear),
            more: Some(vec![Fruit::Apple, Fruit::Pear]),
        };
        assert_eq!(read(r#"{"one": "apple", "other": "pear", "more": ["apple", "pear"]}"#).unwrap(), basket);
        let basket = Basket { one: Fruit::Pear, other: None, more: None };
        assert_eq!(read(r#"{"one": "pear", "other": null}"#).unwrap(), basket);
        for wrong in [
            r#"{"one": {"apple": null}}"#,
            r#"{"one": "plum"}"#,
            r#"{"one": null}"#,
            "{}",
            r#"{"one": "apple", "other": {"pear": null}}"#,
            r#"{"one": "apple", "more": [{"pear": null}]}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

//! What somebody says: a string, or an array of parts.

use std::borrow::Cow;
use std::fmt;

use chat::{Content, Part};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::body::{Object, given, word};

/// The content of a message. Not yet checked for being empty.
#[derive(Debug, PartialEq)]
pub(super) struct Said(pub(super) Content);

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Said;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of parts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Said, E> {
                Ok(Said(Content::text_only(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Said, A::Error> {
                let mut parts = Vec::new();
                while let Some(OnePart(part)) = sequence.next_element()? {
                    parts.push(part);
                }
                Ok(Said(Content { parts }))
            }
        }
        json.deserialize_any(Reads)
    }
}

impl JsonSchema for Said {
    fn schema_name() -> Cow<'static, str> {
        "InputContent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let part = generator.subschema_for::<Shape>();
        json_schema!({
            "description": "What is said: a text, or parts of which at least one says something.",
            "oneOf": [
                {"title": "A text", "type": "string", "minLength": 1},
                {"title": "Parts", "type": "array", "items": part, "contains": {"anyOf": [
                    {"properties": {"type": {"const": "image"}}},
                    {"properties": {"type": {"const": "text"}, "text": {"minLength": 1}}},
                ]}},
            ],
        })
    }
}

/// A piece of what is said.
#[derive(JsonSchema)]
#[schemars(rename = "InputPart", tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "the shape of what `OnePart` reads, for its description alone")]
enum Shape {
    /// Words.
    Text {
        /// Them.
        text: String,
    },
    /// An image, by its link. It is passed on, never fetched by the gateway.
    Image {
        /// Where it is; a `data:` URL only where the provider takes such.
        url: ImageUrl,
    },
}

/// A part as clients write it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Object<Fields>")]
struct OnePart(Part);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `type`")]
struct Fields {
    #[serde(deserialize_with = "word")]
    r#type: Sort,
    #[serde(default, deserialize_with = "given")]
    text: Option<String>,
    #[serde(default, deserialize_with = "given")]
    url: Option<ImageUrl>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Text,
    Image,
}

impl TryFrom<Object<Fields>> for OnePart {
    /// Worded as serde words it, so that the answer names the field.
    type Error = &'static str;

    fn try_from(Object(fields): Object<Fields>) -> Result<Self, Self::Error> {
        match fields {
            Fields { r#type: Sort::Text, text: Some(text), url: None } => Ok(Self(Part::Text { text })),
            Fields { r#type: Sort::Text, text: None, .. } => Err("missing field `text`"),
            Fields { r#type: Sort::Text, .. } => Err("unknown field `url`: a part of type `text` has none"),
            Fields { r#type: Sort::Image, url: Some(ImageUrl(url)), text: None } => {
                Ok(Self(Part::Image { url }))
            }
            Fields { r#type: Sort::Image, url: None, .. } => Err("missing field `url`"),
            Fields { r#type: Sort::Image, .. } => {
                Err("unknown field `text`: a part of type `image` has none")
            }
        }
    }
}

/// A link that a provider can follow, or an image in the link itself. It is never fetched here.
#[derive(Debug)]
pub(crate) struct ImageUrl(pub(crate) String);

impl JsonSchema for ImageUrl {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ImageUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        const PATTERN: &str =
            r"^(https?://[^/?#\s\x00-\x1f\x7f-\x9f][^\s\x00-\x1f\x7f-\x9f]*|data:[^\s\x00-\x1f\x7f-\x9f]*)$";
        json_schema!({"type": "string", "pattern": PATTERN})
    }
}

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let url = String::deserialize(json)?;
        let begins =
            |scheme: &str| url.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
        let plain = !url.chars().any(|c| c.is_control() || c.is_whitespace());
        let hosted = ["http://", "https://"].into_iter().any(|scheme| {
            begins(scheme)
                && url
                    .get(scheme.len()..)
                    .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
        });
        if plain && (hosted || begins("data:")) {
            Ok(Self(url))
        } else {
            Err(D::Error::custom("must be a URL that begins with https://, http:// or data:"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_images() {
        let said: Said = crate::body::parse(
            r#"[{"type":"text","text":"look"},{"type":"image","url":"https://example.com/a.png"}]"#,
        )
        .unwrap();
        assert_eq!(said.0.text(), "look");
        assert_eq!(said.0.images().collect::<Vec<_>>(), ["https://example.com/a.png"]);
        assert_eq!(crate::body::parse::<Said>("\"x\"").unwrap().0, Content::text_only("x"));
    }

    #[test]
    fn other_parts_and_links_are_refused() {
        for wrong in [
            r#"[{"type":"image","url":"ftp://example.com"}]"#,
            r#"[{"type":"image","url":"file:///etc/passwd"}]"#,
            r#"[{"type":"image","url":"https://"}]"#,
            r#"[{"type":"image","url":"https://a b"}]"#,
            r#"[{"type":"image"}]"#,
            r#"[{"type":"text"}]"#,
            r#"[{"type":"text","text":"a","url":"https://example.com"}]"#,
            r#"[{"type":"video","url":"https://example.com"}]"#,
            r#"[{"type":"citation","source_ids":[]}]"#,
            r#"["text"]"#,
            r#"[["text","hi",null]]"#,
            "5",
            "null",
        ] {
            assert!(crate::body::parse::<Said>(wrong).is_err(), "{wrong}");
        }
    }
}

//! What somebody says, in OpenAI's form: a string, or an array of parts.

use std::borrow::Cow;
use std::fmt;

use chat::{Content, Part};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::routes::said::ImageUrl;

/// The content of a message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// Words and images.
    pub(super) content: Content,
    /// The type of a part that is neither: only a provider that is given the client's own words can take it.
    pub(super) other: Option<String>,
}

/// What there is to tell, as a schema: text, or a part that is more than no text.
pub(super) fn not_empty() -> Value {
    let words = json!({"enum": ["text", "input_text", "output_text"]});
    json!({"anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "contains": {"anyOf": [
            {"properties": {"type": {"not": {"enum": ["text", "input_text", "output_text", "refusal"]}}}},
            {"properties": {"type": words, "text": {"type": "string", "minLength": 1}}},
            {"properties": {"type": {"const": "refusal"}, "refusal": {"type": "string", "minLength": 1}}},
        ]}},
    ]})
}

impl JsonSchema for Said {
    fn schema_name() -> Cow<'static, str> {
        "OpenAiContent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let part = generator.subschema_for::<Fields>();
        json_schema!({
            "description": "What is said: a text, or parts.",
            "oneOf": [
                {"title": "A text", "type": "string"},
                {"title": "Parts", "type": "array", "items": part},
            ],
        })
    }
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Said;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of parts")
            }

            fn visit_unit<E: Error>(self) -> Result<Said, E> {
                Ok(Said::default())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Said, E> {
                Ok(Said { content: Content::text_only(text), other: None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Said, A::Error> {
                let mut said = Said::default();
                while let Some(part) = sequence.next_element::<OnePart>()? {
                    match part.0 {
                        Ok(part) => said.content.parts.push(part),
                        Err(other) => said.other = Some(other),
                    }
                }
                Ok(said)
            }
        }
        json.deserialize_any(Reads)
    }
}

/// A part, or the type of one that is neither words nor an image.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Fields")]
struct OnePart(Result<Part, String>);

/// A part of what is said. Other types than these reach a provider of the same dialect alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OpenAiPart", extend("additionalProperties" = true), extend("oneOf" = [
    {"title": "Words", "required": ["text"],
     "properties": {"type": {"enum": ["text", "input_text", "output_text"]}, "text": {"type": "string"}}},
    {"title": "What an assistant said in place of an answer", "required": ["refusal"],
     "properties": {"type": {"const": "refusal"}, "refusal": {"type": "string"}}},
    {"title": "An image, as Chat Completions has it", "required": ["image_url"],
     "properties": {"type": {"const": "image_url"}, "image_url": {"type": ["string", "object"]}}},
    {"title": "Any other part; an image as Responses has it",
     "properties": {"type": {"not": {"enum": ["text", "input_text", "output_text", "refusal", "image_url"]}}}},
]))]
#[serde(expecting = "a part: an object with `type`")]
struct Fields {
    /// What it is.
    r#type: String,
    /// Words.
    text: Option<String>,
    /// What an assistant said in place of an answer.
    refusal: Option<String>,
    /// An image: its link, or an object that has it. It is passed on, never fetched by the gateway.
    image_url: Option<Image>,
}

/// Chat Completions has an object here, Responses a string.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OpenAiImage")]
#[serde(untagged)]
enum Image {
    /// Its link.
    Link(ImageUrl),
    /// An object that has it.
    Object {
        /// It.
        url: ImageUrl,
    },
}

impl TryFrom<Fields> for OnePart {
    /// Worded as serde words it, so that the answer names the field.
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, &'static str> {
        let Fields { r#type, text, refusal, image_url } = fields;
        Ok(Self(match r#type.as_str() {
            "text" | "input_text" | "output_text" => {
                Ok(Part::Text { text: text.ok_or("missing field `text`")? })
            }
            "refusal" => Ok(Part::Text { text: refusal.ok_or("missing field `refusal`")? }),
            "image_url" | "input_image" => match image_url {
                Some(Image::Link(ImageUrl(url)) | Image::Object { url: ImageUrl(url) }) => {
                    Ok(Part::Image { url })
                }
                // An uploaded file, by its id.
                None if r#type == "input_image" => Err(r#type),
                None => return Err("missing field `image_url`"),
            },
            _ => Err(r#type),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Said {
        crate::body::parse(json).unwrap()
    }

    #[test]
    fn words_and_images_of_both_apis() {
        assert_eq!(read("\"x\"").content, Content::text_only("x"));
        assert_eq!(read("null"), Said::default());
        let chat = r#"[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://e.com/a.png","detail":"low"}}]"#;
        let responses = r#"[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"https://e.com/a.png","detail":"auto"}]"#;
        assert_eq!(read(chat), read(responses));
        assert_eq!(read(chat).content.images().collect::<Vec<_>>(), ["https://e.com/a.png"]);
    }

    #[test]
    fn other_parts_are_named() {
        assert_eq!(
            read(r#"[{"type":"input_audio","input_audio":{}}]"#).other.as_deref(),
            Some("input_audio")
        );
        for wrong in [
            "5",
            "[5]",
            r#"[{"text":"a"}]"#,
            r#"[{"type":"text"}]"#,
            r#"[{"type":"image_url","image_url":{"url":"ftp://x"}}]"#,
        ] {
            assert!(crate::body::parse::<Said>(wrong).is_err(), "{wrong}");
        }
    }
}

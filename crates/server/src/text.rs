//! Short words from clients: titles, names, ids. Bounded, and without control characters.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// A line of at most `MAX` characters without control characters. May be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Line<const MAX: usize>(pub(crate) String);

/// Texts that a [`Line`] takes, as the API's description says it.
const PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// The same with something to read in it.
pub(crate) const NOT_BLANK: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

impl<const MAX: usize> JsonSchema for Line<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Line{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": MAX, "pattern": PATTERN})
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Line<MAX> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reads<const MAX: usize>;
        impl<const MAX: usize> Visitor<'_> for Reads<MAX> {
            type Value = Line<MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Line<MAX>, E> {
                if text.chars().any(char::is_control) {
                    Err(E::custom("must not have control characters"))
                } else if text.chars().count() > MAX {
                    Err(E::custom(format_args!("must not be longer than {MAX} characters")))
                } else {
                    Ok(Line(text.to_owned()))
                }
            }
        }
        json.deserialize_str(Reads)
    }
}

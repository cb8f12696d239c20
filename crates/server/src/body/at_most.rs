//! A number for which more than enough is enough.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// Any whole number from 0; one that no `u32` holds is the largest that it does hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AtMost(pub(crate) u32);

impl<'de> Deserialize<'de> for AtMost {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = AtMost;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<AtMost, E> {
                Ok(AtMost(u32::try_from(number).unwrap_or(u32::MAX)))
            }

            /// So come whole numbers of more than 64 bits, and those that are written as `5.0`.
            fn visit_f64<E: Error>(self, number: f64) -> Result<AtMost, E> {
                if number >= 0.0 && number.fract() == 0.0 {
                    // A float that is too large for an integer becomes the largest one.
                    Ok(AtMost(number as u32))
                } else {
                    Err(E::invalid_value(Unexpected::Float(number), &self))
                }
            }
        }
        json.deserialize_u64(Reads)
    }
}

impl JsonSchema for AtMost {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 0})
    }
}

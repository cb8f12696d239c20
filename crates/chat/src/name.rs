//! Names that operators and clients give: checked once, cheap to copy.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a string cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or only white space.
    #[error("must not be empty")]
    Empty,
    /// More characters than this.
    #[error("must not be longer than {0} characters")]
    TooLong(usize),
    /// A character that this sort of name may not have.
    #[error("has a character that is not allowed here")]
    Character,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $characters_max:literal, $allowed:expr, $pattern:literal, $words:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest there may be, in characters.
            pub const CHARACTERS_MAX: usize = $characters_max;

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let allowed: fn(char) -> bool = $allowed;
                if text.trim().is_empty() {
                    Err(NameError::Empty)
                } else if text.chars().count() > $characters_max {
                    Err(NameError::TooLong($characters_max))
                } else if !text.chars().all(allowed) {
                    Err(NameError::Character)
                } else {
                    Ok(Self(text.into()))
                }
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $words,
                    "minLength": 1,
                    "maxLength": $characters_max,
                    "pattern": $pattern,
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fn in_a_url(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':')
}

fn printable(c: char) -> bool {
    !c.is_control()
}

name!(
    /// What clients ask for: a name that operators configure, made of `A–Z a–z 0–9 . _ - :`, so that it fits in a URL.
    AssistantName,
    128,
    in_a_url,
    "^[A-Za-z0-9._:-]*$",
    "An assistant, as operators name it."
);
name!(
    /// A provider as the configuration names it (`[providers.NAME]`).
    ProviderName,
    128,
    in_a_url,
    "^[A-Za-z0-9._:-]*$",
    "A provider, as operators name it."
);
name!(
    /// Whose conversations, turns and usage these are.
    TenantId,
    128,
    printable,
    r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
    "Whose conversations, turns and usage these are. At most 128 bytes of UTF-8, no control characters."
);
name!(
    /// An end user of a client, as the client names them.
    UserId,
    256,
    printable,
    r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
    "An end user, as the client names them. At most 256 bytes of UTF-8, no control characters."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_plain() {
        assert!("support.v2".parse::<AssistantName>().is_ok());
        assert_eq!("a/b".parse::<AssistantName>(), Err(NameError::Character));
        assert_eq!("".parse::<AssistantName>(), Err(NameError::Empty));
        assert_eq!("a\u{0}b".parse::<UserId>(), Err(NameError::Character));
        assert!("ю".repeat(256).parse::<UserId>().is_ok());
        assert_eq!("u".repeat(257).parse::<UserId>(), Err(NameError::TooLong(256)));
    }
}

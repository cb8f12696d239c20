//! Ids: opaque strings with a prefix outside, UUIDv7 inside, so that they sort by age and need no coordination.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A string that is not an id of the wanted sort. To a client the thing it names does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this sort")]
pub struct ParseIdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this sort begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, later in order than every one this process made before.
            #[must_use]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id as 16 bytes, for stores.
            #[must_use]
            pub fn uuid(self) -> Uuid {
                self.0
            }

            /// The id of these 16 bytes.
            #[must_use]
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.strip_prefix($prefix).ok_or(ParseIdError)?;
                // One id has one spelling: the hyphenated, braced and upper-case forms that Uuid also reads are refused.
                if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                    return Err(ParseIdError);
                }
                Uuid::try_parse(digits).map(Self).map_err(|_| ParseIdError)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": concat!("An opaque id that begins with `", $prefix, "`."),
                    "pattern": concat!("^", $prefix, "[0-9a-f]{32}$"),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
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

id!(
    /// A conversation: `conv_…`.
    ConversationId,
    "conv_"
);
id!(
    /// A turn: `turn_…`.
    TurnId,
    "turn_"
);
id!(
    /// A message: `msg_…`.
    MessageId,
    "msg_"
);
id!(
    /// A key that clients authenticate with: `key_…`. Names the key; is not its secret.
    KeyId,
    "key_"
);

impl KeyId {
    /// The id of a key that stands in the configuration: always the same for the same secret's hash, so that its counters
    /// go on through a restart.
    #[must_use]
    pub fn of_hash(hash: &[u8; 32]) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(hash) {
            *to = *from;
        }
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_printed() {
        let id = TurnId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::from_str::<TurnId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn other_spellings_are_not_ids() {
        let id = TurnId::new();
        let upper = format!("turn_{}", id.uuid().simple().to_string().to_uppercase());
        for text in ["", "turn_", "conv_0", &upper, &format!("turn_{}", id.uuid()), &format!("{id} ")] {
            if text.bytes().any(|b| b.is_ascii_uppercase()) || text.len() != id.to_string().len() {
                assert_eq!(text.parse::<TurnId>(), Err(ParseIdError), "{text:?}");
            }
        }
    }
}

//! Whether a body is JSON in which no field is given twice, found out without making anything of it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// In an object with more fields than this, comparing each with all before it takes too long: it is left to others.
const FIELDS_MAX: usize = 64;

/// Whether the text is nothing but a JSON object, in which no object has a field twice. False also says that it cannot be told here.
pub(super) fn is_fine(text: &str) -> bool {
    let mut json = serde_json::Deserializer::from_str(text);
    let object = Check { names: &mut Vec::with_capacity(16) }.deserialize(&mut json);
    object.is_ok_and(|is_object| is_object) && json.end().is_ok()
}

/// Looks at a value; true where it is an object.
struct Check<'a, 'de> {
    /// The names of the fields of all objects that are open, outermost first.
    names: &'a mut Vec<Cow<'de, str>>,
}

impl<'de> DeserializeSeed<'de> for Check<'_, 'de> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<bool, A::Error> {
        while sequence.next_element_seed(Check { names: &mut *self.names })?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        let begin = self.names.len();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            let before = self.names.get(begin..).unwrap_or_default();
            if before.len() >= FIELDS_MAX || before.contains(&name) {
                return Err(A::Error::custom("a field is given twice, or there are many"));
            }
            self.names.push(name);
            map.next_value_seed(Check { names: &mut *self.names })?;
        }
        self.names.truncate(begin);
        Ok(true)
    }
}

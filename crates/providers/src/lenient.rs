//! JSON as providers really write it: with trailing commas, numbers in strings, fields of another type than documented.
//!
//! A field that may be of any type is read as `Option<Box<RawValue>>` (which `null` leaves empty) and looked at with the functions
//! here: what is not as expected is as good as not there, and spoils nothing beside it.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Reads JSON; where it is none, reads it again with trailing commas left out (one provider's samples have them).
///
/// # Errors
/// It is no JSON either way, or not of this shape: the first reading's error.
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    serde_json::from_slice(json).or_else(|error| {
        if error.is_data() {
            return Err(error);
        }
        serde_json::from_slice(&without_trailing_commas(json)).map_err(|_| error)
    })
}

/// The same for what borrows from its text: `mended` keeps the text without its trailing commas, where it had any. Also whether the
/// text is JSON as it came.
///
/// # Errors
/// As for [`from_slice`].
pub(crate) fn from_str<'a, T: Deserialize<'a>>(
    json: &'a str,
    mended: &'a mut String,
) -> Result<(T, bool), serde_json::Error> {
    let plain = json.strip_prefix('\u{feff}').unwrap_or(json);
    match serde_json::from_str(plain) {
        Ok(value) => Ok((value, plain.len() == json.len())),
        Err(error) if error.is_data() => Err(error),
        Err(error) => {
            // Nothing but commas, which are characters of their own, is left out.
            *mended = String::from_utf8(without_trailing_commas(plain.as_bytes())).unwrap_or_default();
            serde_json::from_str(mended).map(|value| (value, false)).map_err(|_| error)
        }
    }
}

/// A field's value, if it is of this shape.
pub(crate) fn value<'a, T: Deserialize<'a>>(field: Option<&'a RawValue>) -> Option<T> {
    field.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// A field's text, if it is a string: where it stands, unless something in it is escaped. Half of a character, which JSON's escapes can
/// write, is the sign for what cannot be read: nothing beside it is lost.
pub(crate) fn text(field: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let raw = field?.get();
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(text) if memchr(b'\\', text.as_bytes()).is_none() => Some(Cow::Borrowed(text)),
        Some(_) => serde_json::from_str(raw).ok().or_else(|| without_halves(raw)).map(Cow::Owned),
        None => None,
    }
}

/// A string whose escapes write halves of characters.
fn without_halves(raw: &str) -> Option<String> {
    /// A half is written as a character of its own would be, in three bytes.
    const BEGINS_HALF: u8 = 0xed;
    struct Bytes(Vec<u8>);
    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
            struct Read;
            impl Visitor<'_> for Read {
                type Value = Bytes;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a string")
                }

                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                    Ok(Bytes(bytes.to_owned()))
                }
            }
            json.deserialize_bytes(Read)
        }
    }
    let Bytes(bytes) = serde_json::from_str(raw).ok()?;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if chunk.invalid().first() == Some(&BEGINS_HALF) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Some(text)
}

/// A field's text, if it is a string; perhaps empty.
pub(crate) fn string(field: Option<&RawValue>) -> Option<String> {
    value(field)
}

/// A field's text, if it is a string with something in it, or a number: ids and codes come as both. Control characters, which no id
/// has, are left out: not every store and log can hold them.
pub(crate) fn word(field: Option<&RawValue>) -> Option<String> {
    word_in_place(field).map(Cow::into_owned)
}

/// The same where it stands.
pub(crate) fn word_in_place(field: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let raw = field?.get();
    if raw.starts_with('"') {
        let text = text(field)?;
        // Nearly all words are plain: all bytes are compared at once, without a way out in between.
        let is_plain = text.bytes().fold(true, |plain, byte| plain & (b' '..=b'~').contains(&byte));
        let text = if !is_plain && text.contains(char::is_control) {
            Cow::Owned(text.chars().filter(|c| !c.is_control()).collect())
        } else {
            text
        };
        Some(text).filter(|text| !text.trim().is_empty())
    } else {
        raw.starts_with(|c: char| c.is_ascii_digit() || c == '-').then_some(Cow::Borrowed(raw))
    }
}

/// A field's count, if it is a whole number, also as `121.0` or in a string.
pub(crate) fn count(field: Option<&RawValue>) -> Option<u64> {
    let word = word_in_place(field)?;
    let word = word.trim();
    let whole = match word.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte == b'0') => whole,
        _ => word,
    };
    whole.parse().ok()
}

fn without_trailing_commas(json: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(json.len());
    // Where a comma stands in `clean` with nothing but blanks after it.
    let mut comma = None;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b'}' | b']' => {
                    if let Some(place) = comma.take() {
                        clean.truncate(place);
                    }
                }
                b',' => comma = Some(clean.len()),
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => {
                    comma = None;
                    in_string = byte == b'"';
                }
            }
        }
        clean.push(byte);
    }
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn half_a_character_costs_no_text() {
        for (json, expected) in [
            (r#""a\ud83db""#, "a\u{fffd}b"),
            (r#""\ude00 bye""#, "\u{fffd} bye"),
            (r#""\ud83d\ud83d\n""#, "\u{fffd}\u{fffd}\n"),
            (r#""\ud83d\ude00 ы""#, "\u{1f600} ы"),
        ] {
            let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
            assert_eq!(text(Some(&raw)).as_deref(), Some(expected), "{json}");
        }
        assert_eq!(without_halves(r#""\x""#), None);
    }

    #[test]
    fn a_word_has_no_control_characters() {
        let read = |json: &str| word(Some(&RawValue::from_string(json.to_owned()).unwrap()));
        assert_eq!(read(r#""a\u0000b\n""#).as_deref(), Some("ab"));
        assert_eq!(read(r#""\u0000""#), None);
        assert_eq!(read("12").as_deref(), Some("12"));
    }

    #[test]
    fn trailing_commas_are_forgiven() {
        let read = |text: &str| from_slice::<Value>(text.as_bytes());
        assert_eq!(
            read("{\"a\": [1, 2,\n], \"b\": \",}\\\",]\" , }").unwrap(),
            json!({"a": [1, 2], "b": ",}\",]"})
        );
        assert_eq!(read("\u{feff}{}").unwrap(), json!({}));
        assert!(read("{\"a\": 1").is_err());
        assert!(read("").is_err());
        assert!(read("<html>").is_err());
    }
}

//! What values look like in a row: ids, words, JSON and text, and back.

use std::borrow::Cow;
use std::str::FromStr;

use serde::Serialize;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use uuid::Uuid;

use chat::{StoreError, Timestamp};

use crate::conn::Row;
use crate::error::damaged;

/// An id as it is kept: its 16 bytes.
pub(crate) fn blob(id: Uuid) -> Vec<u8> {
    id.into_bytes().to_vec()
}

/// A value as JSON text.
pub(crate) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(damaged)
}

/// JSON text as a value.
pub(crate) fn parsed<T: DeserializeOwned>(json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(damaged)
}

/// A number that is never negative.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A number that a column can hold.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// PostgreSQL's text holds every character but U+0000, which messages may have. It is written as two others, the first of
/// which is never assigned to anything; that one is written twice.
const ESCAPE: char = '\u{10FFFE}';

/// Text as it is kept.
pub(crate) fn kept(text: &str) -> Cow<'_, str> {
    // One after the other: each alone is looked for many bytes at a time.
    if !text.as_bytes().contains(&0) && !text.contains(ESCAPE) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len().saturating_add(16));
    for c in text.chars() {
        match c {
            '\0' => kept.extend([ESCAPE, '0']),
            ESCAPE => kept.extend([ESCAPE, ESCAPE]),
            other => kept.push(other),
        }
    }
    Cow::Owned(kept)
}

/// Text as it was before it was kept.
pub(crate) fn unkept(kept: String) -> String {
    if !kept.contains(ESCAPE) {
        return kept;
    }
    let mut text = String::with_capacity(kept.len());
    let mut chars = kept.chars();
    while let Some(c) = chars.next() {
        match c {
            ESCAPE => text.push(if chars.next() == Some(ESCAPE) { ESCAPE } else { '\0' }),
            other => text.push(other),
        }
    }
    text
}

impl Row {
    /// An id: `ConversationId::from_uuid(row.uuid()?)`.
    pub(crate) fn uuid(&mut self) -> Result<Uuid, StoreError> {
        Uuid::from_slice(&self.take::<Vec<u8>>()?).map_err(damaged)
    }

    /// An id that may be missing.
    pub(crate) fn optional_uuid(&mut self) -> Result<Option<Uuid>, StoreError> {
        self.take::<Option<Vec<u8>>>()?.map(|bytes| Uuid::from_slice(&bytes).map_err(damaged)).transpose()
    }

    pub(crate) fn number(&mut self) -> Result<i64, StoreError> {
        self.take()
    }

    pub(crate) fn optional_number(&mut self) -> Result<Option<i64>, StoreError> {
        self.take()
    }

    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.number()? != 0)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.number().map(Timestamp::from_millis)
    }

    pub(crate) fn optional_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.optional_number()?.map(Timestamp::from_millis))
    }

    pub(crate) fn string(&mut self) -> Result<String, StoreError> {
        self.take()
    }

    pub(crate) fn optional_string(&mut self) -> Result<Option<String>, StoreError> {
        self.take()
    }

    /// Text of a message or an event.
    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.string().map(unkept)
    }

    /// A name.
    pub(crate) fn name<T: FromStr>(&mut self) -> Result<T, StoreError>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.string()?.parse().map_err(damaged)
    }

    /// A name that may be missing.
    pub(crate) fn optional_name<T: FromStr>(&mut self) -> Result<Option<T>, StoreError>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.optional_string()?.map(|name| name.parse().map_err(damaged)).transpose()
    }

    /// One of an enumeration's words.
    pub(crate) fn word<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        let word = self.string()?;
        let word: StrDeserializer<'_, WordError> = word.as_str().into_deserializer();
        T::deserialize(word).map_err(damaged)
    }

    /// A value kept as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        parsed(&self.string()?)
    }

    /// A value kept as JSON, or nothing.
    pub(crate) fn optional_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        self.optional_string()?.map(|json| parsed(&json)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_as_it_was() {
        for text in
            ["", "plain", "a\0b", "\u{10FFFE}", "\u{10FFFE}0", "\0\u{10FFFE}\0", "\u{10FFFE}\u{10FFFE}\0"]
        {
            let kept = kept(text).into_owned();
            assert!(!kept.contains('\0'), "{text:?}");
            assert_eq!(unkept(kept), text);
        }
    }
}

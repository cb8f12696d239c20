//! What a table of the file holds once it has been read: every key of its section, the defaults filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use secrecy::{ExposeSecret, SecretString};

use super::problem::Span;

/// A key's value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Secret(SecretString),
    Texts(Vec<(String, Span)>),
    Duration(Duration),
    Size(u64),
    Integer(u64),
    Number(f64),
    Flag(bool),
    Headers(IndexMap<String, SecretString>),
    Table(Values),
    Named(Vec<(String, Values)>),
    List(Vec<Values>),
}

/// A table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    /// Its path from the top: `providers.tunnel`.
    pub(crate) path: String,
    /// Where it begins; none for a table that is not in the file.
    pub(crate) at: Option<Span>,
    /// By the keys' names. A key without a value, and one whose value is wrong and has no default, is not here.
    pub(crate) entries: BTreeMap<&'static str, Entry>,
    /// Keys that are there with a value that cannot be used, which has been noted.
    pub(crate) wrong: Vec<&'static str>,
    /// The keys that are not the section's own, with their variables filled in.
    pub(crate) rest: toml::Table,
    /// Where those keys stand, by their path within the table: `paths.message`.
    pub(crate) rest_at: BTreeMap<String, Span>,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    /// None for a default.
    pub(crate) at: Option<Span>,
}

/// Reads by name. Whoever asks knows the section's table of keys: a name or a shape that is not in it is an empty value, and a
/// mistake that the tests of this module find.
impl Values {
    fn value(&self, name: &str) -> Option<&Value> {
        self.entries.get(name).map(|entry| &entry.value)
    }

    /// Where a key stands; the table's own place when it stands nowhere.
    pub(crate) fn at(&self, name: &str) -> Option<&Span> {
        self.entries.get(name).and_then(|entry| entry.at.as_ref()).or(self.at.as_ref())
    }

    /// A key's path from the top.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether the key is there with a value that cannot be used.
    pub(crate) fn is_wrong(&self, name: &str) -> bool {
        self.wrong.contains(&name)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// A text that is there and is not empty.
    pub(crate) fn some_text(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    pub(crate) fn secret(&self, name: &str) -> Option<&SecretString> {
        match self.value(name) {
            Some(Value::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    pub(crate) fn texts(&self, name: &str) -> Option<&[(String, Span)]> {
        match self.value(name) {
            Some(Value::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    pub(crate) fn duration(&self, name: &str) -> Duration {
        match self.value(name) {
            Some(Value::Duration(duration)) => *duration,
            _ => Duration::ZERO,
        }
    }

    /// A duration that is not `0`.
    pub(crate) fn some_duration(&self, name: &str) -> Option<Duration> {
        Some(self.duration(name)).filter(|duration| !duration.is_zero())
    }

    pub(crate) fn size(&self, name: &str) -> usize {
        match self.value(name) {
            Some(Value::Size(bytes)) => usize::try_from(*bytes).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    pub(crate) fn some_integer(&self, name: &str) -> Option<u64> {
        match self.value(name) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// A whole number whose range in the table of keys fits in 32 bits.
    pub(crate) fn integer(&self, name: &str) -> u32 {
        self.some_integer(name).map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub(crate) fn number(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Number(number)) => *number,
            _ => 0.0,
        }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Flag(true)))
    }

    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = (&String, &SecretString)> {
        let headers = match self.value(name) {
            Some(Value::Headers(headers)) => Some(headers),
            _ => None,
        };
        headers.into_iter().flatten()
    }

    pub(crate) fn table(&self, name: &str) -> Option<&Self> {
        match self.value(name) {
            Some(Value::Table(table)) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn named(&self, name: &str) -> &[(String, Self)] {
        match self.value(name) {
            Some(Value::Named(tables)) => tables,
            _ => &[],
        }
    }

    pub(crate) fn list(&self, name: &str) -> &[Self] {
        match self.value(name) {
            Some(Value::List(tables)) => tables,
            _ => &[],
        }
    }
}

/// Every secret in these values, passwords in URLs included: they are blotted out wherever words of others are passed on.
pub(crate) fn secrets(values: &Values) -> Vec<SecretString> {
    let mut secrets = Vec::new();
    for entry in values.entries.values() {
        match &entry.value {
            Value::Secret(secret) => match password(secret.expose_secret()) {
                Password::NotAUrl => secrets.push(secret.clone()),
                Password::Has(password) => secrets.push(SecretString::from(password)),
                Password::None => {}
            },
            Value::Headers(headers) => secrets.extend(headers.values().cloned()),
            Value::Table(table) => secrets.extend(self::secrets(table)),
            Value::Named(tables) => secrets.extend(tables.iter().flat_map(|(_, table)| self::secrets(table))),
            Value::List(tables) => secrets.extend(tables.iter().flat_map(self::secrets)),
            _ => {}
        }
    }
    secrets.retain(|secret| !secret.expose_secret().is_empty());
    secrets
}

enum Password<'a> {
    NotAUrl,
    None,
    Has(&'a str),
}

fn password(text: &str) -> Password<'_> {
    match text.split_once("://") {
        Some((_, rest)) => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let login = host.rsplit_once('@').map(|(login, _)| login);
            login
                .and_then(|login| login.split_once(':'))
                .map_or(Password::None, |(_, word)| Password::Has(word))
        }
        None if text.starts_with("sqlite:") || text.starts_with("memory:") => Password::None,
        None => Password::NotAUrl,
    }
}

//! The effective configuration as TOML: defaults filled in, secrets blotted out.

use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};

use super::quantity::{show_duration, show_size};
use super::read::show_url;
use super::schema::{FILE, Key, Section, Shape};
use super::values::{Value, Values};

/// What stands in a secret's place.
pub(crate) const BLOT: &str = "********";

/// Whether secrets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// Blotted out.
    Blotted,
    /// As they are: to tell whether a provider's settings have changed, never to be shown.
    Plain,
}

/// The whole file. `is_secret` tells whether a key of a provider's own is one.
pub(crate) fn file(values: &Values, is_secret: &dyn Fn(&Values, &str) -> bool) -> String {
    let mut out = String::new();
    for key in FILE.keys {
        match (&key.shape, values.entries.get(key.name).map(|entry| &entry.value)) {
            (Shape::Table(section), Some(Value::Table(table))) => {
                heading(&mut out, &format!("[{}]", key.name));
                body(&mut out, section, table, Secrets::Blotted, is_secret);
            }
            (Shape::Named(section, _), Some(Value::Named(tables))) => {
                for (name, table) in tables {
                    heading(&mut out, &format!("[{}.{}]", key.name, bare(name)));
                    body(&mut out, section, table, Secrets::Blotted, is_secret);
                }
            }
            (Shape::List(section), Some(Value::List(tables))) => {
                for table in tables {
                    heading(&mut out, &format!("[[{}]]", key.name));
                    body(&mut out, section, table, Secrets::Blotted, is_secret);
                }
            }
            _ => {}
        }
    }
    out
}

/// The keys of one table, each on a line.
pub(crate) fn body(
    out: &mut String,
    section: &Section,
    values: &Values,
    secrets: Secrets,
    is_secret: &dyn Fn(&Values, &str) -> bool,
) {
    for key in section.keys {
        if let Some(entry) = values.entries.get(key.name) {
            line(out, key.name, &literal(key, &entry.value, secrets));
        }
    }
    for (name, value) in &values.rest {
        let blot = secrets == Secrets::Blotted && is_secret(values, name);
        line(out, &bare(name), &if blot { quoted(BLOT) } else { value.to_string() });
    }
}

/// A key of a table, with quotes where TOML wants them.
pub(crate) fn bare(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { quoted(name) }
}

fn heading(out: &mut String, heading: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(heading);
    out.push('\n');
}

fn line(out: &mut String, name: &str, literal: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{name} = {literal}");
}

fn literal(key: &Key, value: &Value, secrets: Secrets) -> String {
    let secret = |secret: &SecretString| match (secrets, &key.shape) {
        (Secrets::Plain, _) => quoted(secret.expose_secret()),
        (Secrets::Blotted, Shape::Url(_)) => quoted(&show_url(secret)),
        (Secrets::Blotted, _) => quoted(BLOT),
    };
    match value {
        Value::Text(text) => quoted(text),
        Value::Secret(text) => secret(text),
        Value::Texts(texts) => list(texts.iter().map(|(text, _)| quoted(text))),
        Value::Duration(duration) => quoted(&show_duration(*duration)),
        Value::Size(bytes) => quoted(&show_size(*bytes)),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => toml::Value::Float(*number).to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Headers(headers) => {
            inline(headers.iter().map(|(name, value)| format!("{} = {}", bare(name), secret(value))))
        }
        Value::Table(table) => inline_table(key, table, secrets),
        Value::List(tables) => list(tables.iter().map(|table| inline_table(key, table, secrets))),
        Value::Named(_) => "{}".to_owned(),
    }
}

fn inline_table(key: &Key, values: &Values, secrets: Secrets) -> String {
    let (Shape::Table(section) | Shape::List(section)) = &key.shape else { return "{}".to_owned() };
    let entries = section.keys.iter().filter_map(|key| {
        let entry = values.entries.get(key.name)?;
        Some(format!("{} = {}", key.name, literal(key, &entry.value, secrets)))
    });
    inline(entries)
}

fn inline(entries: impl Iterator<Item = String>) -> String {
    let entries: Vec<_> = entries.collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

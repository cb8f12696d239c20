//! Reads the file by the table of keys, and takes note of everything that is wrong with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::Seen;
use super::interpolate::{self, Environment};
use super::problem::{Collector, Span, suggestion};
use super::quantity;
use super::schema::{DEFAULTS, Empty, FILE, Key, Preset, Section, Shape, Zero};
use super::values::{Entry, Value, Values};

/// A file of a secret holds less than this; more is somebody else's file.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A reading of one file.
pub(crate) struct Reader<'a> {
    pub(crate) problems: Collector,
    environment: &'a dyn Environment,
    /// Files that secrets were read from.
    pub(crate) files: Vec<Seen>,
    /// `[defaults]`: what a provider's table does not say.
    defaults: Option<Values>,
}

/// A value of the file, and how it is told about.
struct Found<'a, 'i> {
    value: &'a DeValue<'i>,
    at: Span,
    path: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &str, text: &str, environment: &'a dyn Environment) -> Self {
        Self { problems: Collector::new(file, text), environment, files: Vec::new(), defaults: None }
    }

    /// Reads the whole file. Nothing when it is not TOML.
    pub(crate) fn file(&mut self, text: &str) -> Option<Values> {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let (at, message) = (error.span(), error.message().trim());
            let key = at.clone().and_then(|at| text.get(at)).filter(|_| message == "duplicate key");
            match key {
                Some(key) => {
                    self.problems.add(at.as_ref(), key.trim(), "stands twice: only one can be meant")
                }
                None => self.problems.add(at.as_ref(), "", message),
            }
        }
        if !errors.is_empty() {
            return None;
        }
        let table = table.get_ref();
        // Read first, wherever it stands: the providers' tables build on it. What is wrong with it is noted once.
        let defaults = in_order(table).into_iter().find(|(name, _)| name.get_ref() == "defaults");
        let none = DeTable::new();
        let (at, defaults) = match defaults.map(|(name, value)| (name.span(), value.get_ref())) {
            Some((at, DeValue::Table(defaults))) => (Some(at), defaults),
            _ => (None, &none),
        };
        self.defaults = Some(self.section(&DEFAULTS, defaults, "defaults", at, None));
        Some(self.section(&FILE, table, "", None, None))
    }

    /// Reads a table. `base` gives the values of keys that are left out, in place of their presets.
    fn section(
        &mut self,
        section: &'static Section,
        table: &DeTable<'_>,
        path: &str,
        at: Option<Span>,
        base: Option<&Values>,
    ) -> Values {
        let mut values = Values { path: path.to_owned(), at, ..Values::default() };
        for (name, value) in in_order(table) {
            let (key_at, name) = (name.span(), name.get_ref().as_ref());
            let found = Found { value: value.get_ref(), at: key_at.clone(), path: values.path(name) };
            if let Some(key) = section.key(name) {
                let base = base.and_then(|base| base.table(name));
                match self.value(key, &found, base) {
                    Some(value) => {
                        values.entries.insert(key.name, Entry { value, at: Some(key_at) });
                    }
                    None => values.wrong.push(key.name),
                }
            } else if let Some(key) = file_twin(section, name) {
                match self.twin(key, &found, table) {
                    Some(value) => {
                        values.entries.insert(key.name, Entry { value, at: Some(key_at) });
                    }
                    None => values.wrong.push(key.name),
                }
            } else if section.open {
                if let Some(value) = self.raw(&found, name, &mut values.rest_at) {
                    values.rest.insert(name.to_owned(), value);
                }
            } else {
                self.unknown(section, &found, name);
            }
        }
        for key in section.keys {
            if !values.entries.contains_key(key.name) {
                self.fill(key, &mut values, base);
            }
        }
        values
    }

    /// Fills in what a key is when it is left out (or wrong).
    fn fill(&mut self, key: &'static Key, values: &mut Values, base: Option<&Values>) {
        if let Some(entry) = base.and_then(|base| base.entries.get(key.name)) {
            values.entries.insert(key.name, Entry { value: entry.value.clone(), at: None });
            return;
        }
        match key.preset {
            Preset::Is(text) => {
                if let Some(value) = self.preset(key, text, values) {
                    values.entries.insert(key.name, Entry { value, at: None });
                }
            }
            // A wrong value is told once, not again as a missing one.
            Preset::Required(example) if !values.is_wrong(key.name) => {
                let message = format!("must be there, such as `{} = {example}`", key.name);
                self.problems.add(values.at.as_ref(), values.path(key.name), message);
            }
            Preset::Required(_) | Preset::Nothing(_) => {}
        }
    }

    fn preset(&mut self, key: &'static Key, text: &str, values: &Values) -> Option<Value> {
        let value = DeValue::parse(text).ok()?;
        let found = Found { value: value.get_ref(), at: 0..0, path: values.path(key.name) };
        match self.value(key, &found, None) {
            // A table that is not in the file stands nowhere in it.
            Some(Value::Table(mut table)) => {
                table.at = None;
                Some(Value::Table(table))
            }
            other => other,
        }
    }

    fn value(&mut self, key: &'static Key, found: &Found<'_, '_>, base: Option<&Values>) -> Option<Value> {
        let value = match (&key.shape, found.value) {
            (Shape::Table(section), DeValue::Table(table)) => {
                Some(Value::Table(self.section(section, table, &found.path, Some(found.at.clone()), base)))
            }
            (Shape::Named(section, _), DeValue::Table(table)) => {
                Some(Value::Named(self.named(section, table, &found.path)))
            }
            (Shape::List(section), DeValue::Array(list)) => return self.list(section, list, &found.path),
            (Shape::Headers, DeValue::Table(table)) => return self.headers(table, &found.path),
            (Shape::Texts | Shape::Words(_), DeValue::Array(list)) => return self.texts(key, list, found),
            (Shape::Integer(..), DeValue::Integer(number)) => integer(number).and_then(|n| of_range(key, n)),
            (Shape::Number(min, max), DeValue::Float(number)) => {
                number.as_str().replace('_', "").parse().ok().and_then(|n| number_of(*min, *max, n))
            }
            (Shape::Number(min, max), DeValue::Integer(number)) => {
                number.as_str().parse().ok().and_then(|n| number_of(*min, *max, n))
            }
            (Shape::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
            // A plain `0` needs no unit.
            (Shape::Duration(..), DeValue::Integer(number)) if integer(number) == Some(0) => {
                of_text(key, "0")
            }
            (_, DeValue::String(text)) => {
                let filled = self.filled(text, found)?;
                let from_text = of_text(key, &filled.text);
                // The environment holds text alone: what it gives may stand for a number or a flag.
                if filled.from_environment {
                    from_text.or_else(|| of_variable(key, &filled.text))
                } else {
                    from_text
                }
            }
            _ => None,
        };
        if value.is_none() {
            self.problems.add(Some(&found.at), &found.path, format!("must be {}", key.shape.expected()));
        }
        value
    }

    fn named(
        &mut self,
        section: &'static Section,
        tables: &DeTable<'_>,
        path: &str,
    ) -> Vec<(String, Values)> {
        let mut named = Vec::new();
        let base = section.open.then(|| self.defaults.clone()).flatten();
        for (name, value) in in_order(tables) {
            let (at, name) = (name.span(), name.get_ref());
            let path = format!("{path}.{name}");
            match value.get_ref() {
                DeValue::Table(table) => {
                    let values = self.section(section, table, &path, Some(at), base.as_ref());
                    named.push((name.to_string(), values));
                }
                _ => self.problems.add(Some(&at), path, "must be a table"),
            }
        }
        named
    }

    fn list(
        &mut self,
        section: &'static Section,
        list: &[Spanned<DeValue<'_>>],
        path: &str,
    ) -> Option<Value> {
        let mut tables = Vec::new();
        for (number, value) in list.iter().enumerate() {
            let path = format!("{path}[{number}]");
            match value.get_ref() {
                DeValue::Table(table) => {
                    tables.push(self.section(section, table, &path, Some(value.span()), None));
                }
                _ => self.problems.add(Some(&value.span()), path, "must be a table"),
            }
        }
        Some(Value::List(tables))
    }

    fn headers(&mut self, table: &DeTable<'_>, path: &str) -> Option<Value> {
        let mut headers = IndexMap::new();
        for (name, value) in in_order(table) {
            let found =
                Found { value: value.get_ref(), at: name.span(), path: format!("{path}.{}", name.get_ref()) };
            if let DeValue::String(text) = found.value {
                if let Some(filled) = self.filled(text, &found) {
                    headers.insert(name.get_ref().to_string(), SecretString::from(filled.text));
                }
            } else {
                self.problems.add(Some(&found.at), &found.path, "must be text");
            }
        }
        Some(Value::Headers(headers))
    }

    fn texts(
        &mut self,
        key: &'static Key,
        list: &[Spanned<DeValue<'_>>],
        found: &Found<'_, '_>,
    ) -> Option<Value> {
        let mut texts = Vec::new();
        for value in list {
            let found = Found { value: value.get_ref(), at: value.span(), path: found.path.clone() };
            let DeValue::String(text) = found.value else {
                self.problems.add(Some(&found.at), &found.path, format!("must be {}", key.shape.expected()));
                continue;
            };
            let Some(filled) = self.filled(text, &found) else { continue };
            if let Shape::Words(words) = key.shape
                && !words.contains(&filled.text.as_str())
            {
                let hint = suggestion(&filled.text, words.iter().copied());
                self.problems.add(
                    Some(&found.at),
                    &found.path,
                    format!("has no word `{}`{hint}", filled.text),
                );
            } else {
                texts.push((filled.text, found.at));
            }
        }
        Some(Value::Texts(texts))
    }

    /// A string with its variables filled in; nothing when one is missing, which is noted.
    fn filled(&mut self, text: &str, found: &Found<'_, '_>) -> Option<interpolate::Filled> {
        match interpolate::fill(text, self.environment) {
            Ok(filled) => Some(filled),
            Err(wrong) => {
                for message in wrong {
                    self.problems.add(Some(&found.at), &found.path, message);
                }
                None
            }
        }
    }

    /// The value of `NAME_file`: what stands in the file that it names.
    fn twin(&mut self, key: &'static Key, found: &Found<'_, '_>, table: &DeTable<'_>) -> Option<Value> {
        if table.contains_key(key.name) {
            let message = format!("stands beside `{}`: only one of them can be used", key.name);
            self.problems.add(Some(&found.at), &found.path, message);
            return None;
        }
        let text = self.secret_file(found)?;
        let value = of_text(key, &text);
        if value.is_none() {
            let message = format!("the file must hold {}", key.shape.expected());
            self.problems.add(Some(&found.at), &found.path, message);
        }
        value
    }

    fn secret_file(&mut self, found: &Found<'_, '_>) -> Option<String> {
        let DeValue::String(name) = found.value else {
            self.problems.add(Some(&found.at), &found.path, "must be the name of a file");
            return None;
        };
        let path = PathBuf::from(self.filled(name, found)?.text);
        let text = std::fs::metadata(&path).and_then(|metadata| {
            if metadata.len() > SECRET_FILE_BYTES_MAX {
                return Err(std::io::Error::other("the file is too large for a secret"));
            }
            std::fs::read_to_string(&path)
        });
        self.files.push(Seen::holding(&path, text.as_deref().unwrap_or_default().as_bytes()));
        match text {
            // Editors and `echo` end a file with a line break that is no part of the secret.
            Ok(text) => Some(text.trim_end_matches(['\n', '\r']).to_owned()),
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", path.display());
                self.problems.add(Some(&found.at), &found.path, message);
                None
            }
        }
    }

    /// A value that somebody else will read, with its variables filled in; takes note of where its keys stand.
    fn raw(
        &mut self,
        found: &Found<'_, '_>,
        inner: &str,
        places: &mut BTreeMap<String, Span>,
    ) -> Option<toml::Value> {
        places.insert(inner.to_owned(), found.at.clone());
        Some(match found.value {
            DeValue::String(text) => toml::Value::String(self.filled(text, found)?.text),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix());
                toml::Value::Integer(number.unwrap_or(i64::MAX))
            }
            DeValue::Float(number) => {
                toml::Value::Float(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN))
            }
            DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
            DeValue::Datetime(time) => toml::Value::Datetime(*time),
            DeValue::Array(list) => {
                let items = list.iter().map(|value| {
                    let found = Found { value: value.get_ref(), at: value.span(), path: found.path.clone() };
                    self.raw(&found, inner, places)
                });
                toml::Value::Array(items.collect::<Option<_>>()?)
            }
            DeValue::Table(table) => {
                let mut values = toml::Table::new();
                for (name, value) in in_order(table) {
                    let (at, name) = (name.span(), name.get_ref());
                    let path = format!("{}.{name}", found.path);
                    let found = Found { value: value.get_ref(), at, path };
                    values.insert(name.to_string(), self.raw(&found, &format!("{inner}.{name}"), places)?);
                }
                toml::Value::Table(values)
            }
        })
    }

    /// A secret of a provider's own that stands in a file: `api_key_file` for `api_key`.
    pub(crate) fn raw_secret_file(&mut self, values: &Values, name: &str) -> Option<String> {
        let text = values.rest.get(name)?.as_str().unwrap_or_default();
        let value = DeValue::String(text.replace("${", "$${").into());
        let at = values.rest_at.get(name).cloned().unwrap_or_default();
        self.secret_file(&Found { value: &value, at, path: values.path(name) })
    }

    fn unknown(&mut self, section: &'static Section, found: &Found<'_, '_>, name: &str) {
        let elsewhere = FILE.keys.iter().find(|key| match &key.shape {
            Shape::Table(other) => !std::ptr::eq(*other, section) && other.key(name).is_some(),
            _ => false,
        });
        let hint = match elsewhere {
            Some(table) => format!("; it belongs under [{}]", table.name),
            None => suggestion(name, section.names()),
        };
        self.problems.add(Some(&found.at), &found.path, format!("there is no such key{hint}"));
    }
}

/// The entries of a table as they stand in the file: toml gives them by name.
fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

fn file_twin(section: &'static Section, name: &str) -> Option<&'static Key> {
    section.key(name.strip_suffix("_file")?).filter(|key| key.shape.has_file_twin())
}

fn integer(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

fn of_range(key: &Key, number: u64) -> Option<Value> {
    match key.shape {
        Shape::Integer(min, max) if (min..=max).contains(&number) => Some(Value::Integer(number)),
        _ => None,
    }
}

fn number_of(min: f64, max: f64, number: f64) -> Option<Value> {
    (min..=max).contains(&number).then_some(Value::Number(number))
}

/// What a key's value is when a variable stands for it.
fn of_variable(key: &Key, text: &str) -> Option<Value> {
    match key.shape {
        Shape::Integer(..) => of_range(key, text.trim().parse().ok()?),
        Shape::Number(min, max) => number_of(min, max, text.trim().parse().ok()?),
        Shape::Flag => text.trim().parse().ok().map(Value::Flag),
        // A variable can only hold a list as text with commas.
        Shape::Texts => {
            let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
            Some(Value::Texts(texts.map(|text| (text.to_owned(), 0..0)).collect()))
        }
        _ => None,
    }
}

/// What a key's value is when text stands for it.
fn of_text(key: &Key, text: &str) -> Option<Value> {
    let may_be_empty = matches!(key.preset, Preset::Is("\"\""));
    match &key.shape {
        Shape::Text => Some(Value::Text(text.to_owned())),
        Shape::Secret => Some(Value::Secret(SecretString::from(text))),
        Shape::Url(schemes) => url(schemes, text, may_be_empty).map(Value::Secret),
        Shape::Address(Empty::Taken) if text.is_empty() => Some(Value::Text(String::new())),
        Shape::Address(_) => address(text).map(Value::Text),
        Shape::Word(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
        Shape::Duration(min, max, zero) => {
            let duration = quantity::duration(text)?;
            let fits = quantity::duration(min)? <= duration && duration <= quantity::duration(max)?;
            let zero = duration.is_zero() && *zero == Zero::Taken;
            (fits || zero).then_some(Value::Duration(duration))
        }
        Shape::Size(min, max) => {
            let bytes = quantity::size(text)?;
            (quantity::size(min)?..=quantity::size(max)?).contains(&bytes).then_some(Value::Size(bytes))
        }
        Shape::Amount => {
            let cost = chat::Cost::parse(text, "")?;
            (!cost.amount.is_sign_negative()).then(|| Value::Text(text.trim().to_owned()))
        }
        _ => None,
    }
}

fn url(schemes: &[&str], text: &str, may_be_empty: bool) -> Option<SecretString> {
    let text = text.trim();
    let known = text.split_once(':').is_some_and(|(scheme, rest)| {
        let empty = rest.trim_start_matches('/').is_empty();
        schemes.contains(&scheme) && (scheme == "memory" || !empty)
    });
    (known || (may_be_empty && text.is_empty())).then(|| SecretString::from(text))
}

/// An address as it is bound: `localhost` is the loopback address.
fn address(text: &str) -> Option<String> {
    let text = text.trim().replace("localhost:", "127.0.0.1:");
    text.parse::<std::net::SocketAddr>().ok().map(|address| address.to_string())
}

/// A URL without the password in it.
pub(crate) fn show_url(url: &SecretString) -> String {
    let url = url.expose_secret();
    if url.contains("password=") {
        return "********".to_owned();
    }
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            match host.rsplit_once('@') {
                Some((login, _)) => {
                    let user = login.split(':').next().unwrap_or_default();
                    let rest = rest.get(login.len()..).unwrap_or_default();
                    format!("{scheme}://{user}:********{rest}")
                }
                None => url.to_owned(),
            }
        }
        None => url.to_owned(),
    }
}

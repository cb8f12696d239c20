//! The JSON Schema of the configuration, for editors: generated from the table that the parser reads by and from the providers' own
//! descriptions. Whether names point somewhere, and what keys exclude each other, only `switchboard check` can say.

use providers::Kind;
use serde_json::{Map, Value as Json, json};

use super::schema::{Empty, FILE, Key, PROVIDER, Preset, Section, Shape, Zero};

/// What editors of TOML know best.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// A text with a variable in it: what it becomes, nobody knows before it is read.
const VARIABLE: &str = r"\$\{";

/// The text of `config/schema.json`.
#[must_use]
pub fn json_schema() -> String {
    let mut definitions = Map::new();
    for kind in providers::KINDS {
        definitions.insert(kind.name.to_owned(), provider(kind));
    }
    let mut schema = json!({"$schema": DIALECT, "title": "The configuration of Switchboard"});
    if let (Some(schema), Json::Object(file)) = (schema.as_object_mut(), section(&FILE)) {
        schema.extend(file);
        schema.insert("$defs".to_owned(), definitions.into());
    }
    // Serialising plain data cannot fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// A table: its keys, and no others.
fn section(section: &Section) -> Json {
    let mut properties = Map::new();
    let mut conditions = Vec::new();
    keys(section, &mut properties, &mut conditions);
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    put(&mut schema, "description", section.doc);
    if !conditions.is_empty() {
        put(&mut schema, "allOf", conditions);
    }
    schema
}

/// The keys of a table with the files that they may be read from, and which of them must be there.
fn keys(section: &Section, properties: &mut Map<String, Json>, conditions: &mut Vec<Json>) {
    for key in section.keys {
        properties.insert(key.name.to_owned(), property(key));
        let twin = key.shape.has_file_twin().then(|| file_twin(key.name, properties));
        if let Preset::Required(_) = key.preset {
            conditions.push(must(key.name, twin.as_deref()));
        }
    }
}

/// `NAME_file`, which names a file to read `NAME` from.
fn file_twin(name: &str, properties: &mut Map<String, Json>) -> String {
    let twin = format!("{name}_file");
    let description = format!("The file that `{name}` is read from.");
    properties.insert(twin.clone(), json!({"type": "string", "description": description}));
    twin
}

fn must(name: &str, twin: Option<&str>) -> Json {
    match twin {
        None => json!({"required": [name]}),
        Some(twin) => json!({"anyOf": [{"required": [name]}, {"required": [twin]}]}),
    }
}

fn property(key: &Key) -> Json {
    let mut schema = shape(&key.shape);
    // A table says itself what it is about.
    put(&mut schema, "description", key.doc);
    if let Preset::Is(text) = key.preset
        && let Some(value) = value(text)
    {
        put(&mut schema, "default", value);
    }
    schema
}

/// A default, which the table of keys has as TOML. One that a table's keys have themselves is left out.
fn value(text: &str) -> Option<Json> {
    let mut table: toml::Table = format!("value = {text}").parse().ok()?;
    let value = serde_json::to_value(table.remove("value")?).ok()?;
    let says_nothing = value.as_object().is_some_and(Map::is_empty) || value.as_str() == Some("");
    (!says_nothing).then_some(value)
}

fn shape(shape: &Shape) -> Json {
    match shape {
        Shape::Text | Shape::Secret => json!({"type": "string"}),
        Shape::Url(schemes) => {
            let schemes = schemes.join("|");
            text(&format!("^$|^({schemes}):"))
        }
        Shape::Address(empty) => text(if *empty == Empty::Taken { "^$|:[0-9]+$" } else { ":[0-9]+$" }),
        Shape::Word(words) => word(words),
        Shape::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Shape::Words(words) => json!({"type": "array", "items": word(words)}),
        Shape::Duration(_, _, zero) => {
            let zero = if *zero == Zero::Taken { "^0+$|" } else { "" };
            text(&format!("{zero}^[0-9]+ *(ms|s|m|h|d)$"))
        }
        Shape::Size(..) => text("^[0-9]+ *((K|M|G)i?B|B)?$"),
        Shape::Amount => text(r"^[0-9]+(\.[0-9]+)?$"),
        // What doesn't fit into a TOML number has no bound.
        Shape::Integer(min, max) if i64::try_from(*max).is_err() => {
            or_variable(json!({"type": "integer", "minimum": min}))
        }
        Shape::Integer(min, max) => or_variable(json!({"type": "integer", "minimum": min, "maximum": max})),
        Shape::Number(min, max) => or_variable(json!({"type": "number", "minimum": min, "maximum": max})),
        Shape::Flag => or_variable(json!({"type": "boolean"})),
        Shape::Headers => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Shape::Table(inner) => section(inner),
        Shape::Named(inner, _) if inner.open => {
            json!({"type": "object", "additionalProperties": any_provider()})
        }
        Shape::Named(inner, _) => json!({"type": "object", "additionalProperties": section(inner)}),
        Shape::List(inner) => json!({"type": "array", "items": section(inner)}),
    }
}

/// A text of this form, or with a variable in it.
fn text(pattern: &str) -> Json {
    json!({"type": "string", "pattern": format!("{pattern}|{VARIABLE}")})
}

fn word(words: &[&str]) -> Json {
    json!({"anyOf": [{"enum": words}, {"type": "string", "pattern": VARIABLE}]})
}

fn or_variable(schema: Json) -> Json {
    json!({"anyOf": [schema, {"type": "string", "pattern": VARIABLE}]})
}

/// A provider's table, as its kind wants it.
fn any_provider() -> Json {
    let kinds: Vec<_> = providers::KINDS.iter().map(|kind| kind.name).collect();
    let by_kind: Vec<_> = kinds
        .iter()
        .map(|kind| {
            json!({
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": format!("#/$defs/{kind}")},
            })
        })
        .collect();
    let description = PROVIDER.key("kind").map_or("", |key| key.doc);
    json!({
        "type": "object",
        "description": PROVIDER.doc,
        "properties": {"kind": {"enum": kinds, "description": description}},
        "required": ["kind"],
        "allOf": by_kind,
    })
}

/// The gateway's keys for every provider, and a kind's own.
fn provider(kind: &Kind) -> Json {
    let (mut properties, mut conditions) = (Map::new(), Vec::new());
    keys(&PROVIDER, &mut properties, &mut conditions);
    properties.insert("kind".to_owned(), json!({"const": kind.name}));
    if let Some(base_url) = properties.get_mut("base_url") {
        put(base_url, "default", kind.default_base_url);
    }
    let own = serde_json::to_value((kind.settings)()).unwrap_or_default();
    let list = |name: &str| own.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
    let required = list("required");
    for (name, property) in own.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let mut property = inlined(property, &own);
        let secret = property.get("writeOnly").and_then(Json::as_bool).unwrap_or(false);
        if let Some(property) = property.as_object_mut() {
            property.remove("writeOnly");
        }
        properties.insert(name.clone(), property);
        let twin = secret.then(|| file_twin(name, &mut properties));
        if required.contains(&Json::from(name.as_str())) {
            conditions.push(must(name, twin.as_deref()));
        }
    }
    json!({"type": "object", "properties": properties, "additionalProperties": false, "allOf": conditions})
}

/// A schema with the definitions that it points at in their place: they are small, and their names are the provider's own.
fn inlined(schema: &Json, root: &Json) -> Json {
    match schema {
        Json::Object(fields) => {
            let mut whole = Map::new();
            if let Some(place) = fields.get("$ref").and_then(Json::as_str)
                && let Some(target) = root.pointer(place.trim_start_matches('#'))
                && let Json::Object(target) = inlined(target, root)
            {
                whole.extend(target);
            }
            for (name, value) in fields.iter().filter(|(name, _)| *name != "$ref") {
                whole.insert(name.clone(), inlined(value, root));
            }
            Json::Object(whole)
        }
        Json::Array(items) => items.iter().map(|item| inlined(item, root)).collect(),
        other => other.clone(),
    }
}

fn put(schema: &mut Json, name: &str, value: impl Into<Json>) {
    let value = value.into();
    if let Some(schema) = schema.as_object_mut()
        && value.as_str() != Some("")
    {
        schema.insert(name.to_owned(), value);
    }
}

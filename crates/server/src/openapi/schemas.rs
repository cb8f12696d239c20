//! JSON Schemas of the API's types, generated from the types and gathered under `components`.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

const PATH: &str = "#/components/schemas/";

/// Gathers the schemas of what routes read and of what they write: one type can differ in both, by what may be left out.
pub(super) struct Schemas {
    asked: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = PATH.trim_start_matches('#').into();
            settings.meta_schema = None;
        });
        let asked = settings.clone().for_deserialize().into_generator();
        Self { asked, answered: settings.for_serialize().into_generator() }
    }

    /// A reference to what a route reads.
    pub(super) fn asked<T: JsonSchema>(&mut self) -> Value {
        self.asked.subschema_for::<T>().to_value()
    }

    /// A reference to what a route writes.
    pub(super) fn answered<T: JsonSchema>(&mut self) -> Value {
        self.answered.subschema_for::<T>().to_value()
    }

    /// All that was referred to, in the order of names.
    pub(super) fn gathered(mut self) -> Map<String, Value> {
        let mut all = self.answered.take_definitions(true);
        let mut asked = self.asked.take_definitions(true);
        let differing = differing(&asked, &all);
        asked.values_mut().for_each(|schema| {
            each(schema, &mut |node| {
                if let Some(Value::String(to)) = node.get_mut("$ref")
                    && let Some(name) = to.strip_prefix(PATH)
                    && differing.contains(name)
                {
                    *to = format!("{to}Input");
                }
            });
        });
        for (name, schema) in asked {
            let name = if differing.contains(&name) { format!("{name}Input") } else { name };
            all.insert(name, schema);
        }
        all.values_mut().for_each(|schema| {
            each(schema, &mut |node| {
                fold_words(node);
                bound_number(node);
                // Leaving out and null are the same everywhere: that needs no saying at each field.
                if node.get("default").is_some_and(Value::is_null) {
                    node.shift_remove("default");
                }
            });
        });
        let names: Vec<_> = all.keys().cloned().collect();
        for name in names {
            name_variants(&name, &mut all);
        }
        all.sort_keys();
        all
    }
}

/// The names whose schemas are not the same on both sides, or refer to such.
fn differing(asked: &Map<String, Value>, answered: &Map<String, Value>) -> BTreeSet<String> {
    let on_both = || asked.iter().filter_map(|(name, schema)| Some((name, schema, answered.get(name)?)));
    let mut found: BTreeSet<String> =
        on_both().filter(|(_, one, other)| one != other).map(|(name, ..)| name.clone()).collect();
    loop {
        let refers = |schema: &Value| {
            let text = schema.to_string();
            found.iter().any(|name| text.contains(&format!("\"{PATH}{name}\"")))
        };
        let more: Vec<_> = on_both()
            .filter(|(name, schema, _)| !found.contains(*name) && refers(schema))
            .map(|(name, ..)| name.clone())
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// Calls `change` for every object in a schema, the inner ones first.
fn each(schema: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Object(node) => {
            node.values_mut().for_each(|inner| each(inner, change));
            change(node);
        }
        Value::Array(all) => all.iter_mut().for_each(|inner| each(inner, change)),
        _ => {}
    }
}

/// A choice among words, each with its own description, becomes one `enum` with all descriptions in one: the form that generators of
/// client code know.
fn fold_words(node: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = node.get("oneOf") else { return };
    let mut words = Vec::new();
    let mut lines = Vec::new();
    for choice in choices {
        let (Some(word), Some("string")) = (choice.get("const"), choice.get("type").and_then(Value::as_str))
        else {
            return;
        };
        words.push(word.clone());
        if let (Some(word), Some(meaning)) =
            (word.as_str(), choice.get("description").and_then(Value::as_str))
        {
            lines.push(format!("- `{word}`: {meaning}"));
        }
    }
    node.shift_remove("oneOf");
    let head = node.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = format!("{head}\n\n{}", lines.join("\n"));
    node.insert("description".into(), description.trim().into());
    node.insert("type".into(), "string".into());
    node.insert("enum".into(), words.into());
}

/// Numbers have the bounds of their sort: a program that reads the document may not know its names.
fn bound_number(node: &mut Map<String, Value>) {
    let maximum = match node.get("format").and_then(Value::as_str) {
        Some("uint32") => u64::from(u32::MAX),
        Some("uint64") => u64::MAX,
        _ => return,
    };
    node.entry("maximum").or_insert(maximum.into());
}

/// The variants of a choice by `type` get names of their own, and the choice says which is which.
fn name_variants(name: &str, all: &mut Map<String, Value>) {
    let Some(variants) = all.get(name).and_then(|schema| schema.get("oneOf")?.as_array()).cloned() else {
        return;
    };
    let mut references = Vec::new();
    let mut mapping = Map::new();
    for variant in variants {
        let kind = variant.pointer("/properties/type/const").and_then(Value::as_str);
        let Some(kind) = kind.map(str::to_owned) else { return };
        let own = format!("{}{name}", pascal(&kind));
        let reference = format!("{PATH}{own}");
        references.push(json!({"$ref": reference}));
        mapping.insert(kind, reference.into());
        all.insert(own, variant);
    }
    if let Some(Value::Object(choice)) = all.get_mut(name) {
        choice.insert("oneOf".into(), references.into());
        choice.insert("discriminator".into(), json!({"propertyName": "type", "mapping": mapping}));
    }
}

fn pascal(words: &str) -> String {
    words
        .split(['.', '_'])
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
                .collect::<String>()
        })
        .collect()
}

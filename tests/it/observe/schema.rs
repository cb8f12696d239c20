//! The JSON Schema of the configuration: generated, and it takes what the gateway takes.

use std::path::Path;

use serde_json::Value;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn schema() -> Value {
    serde_json::from_str(&cli::config::json_schema()).unwrap()
}

#[test]
fn the_schema_is_generated() {
    let written = std::fs::read_to_string(root().join("config/schema.json")).unwrap();
    assert!(
        written == cli::config::json_schema(),
        "config/schema.json is out of date: cargo run -- check --schema > config/schema.json"
    );
}

/// What is wrong with a value, as far as the keywords go that the schema uses. Most patterns are left to editors.
struct Check<'a> {
    root: &'a Value,
    problems: Vec<String>,
}

impl Check<'_> {
    fn all(&mut self, schema: &Value, value: &Value, at: &str) {
        for (keyword, rule) in schema.as_object().unwrap() {
            match keyword.as_str() {
                "properties" | "additionalProperties" | "required" | "items" => {
                    self.inside(schema, (keyword, rule), value, at);
                }
                "$ref" | "allOf" | "anyOf" | "oneOf" | "if" => {
                    self.combined(schema, (keyword, rule), value, at)
                }
                "then" | "$schema" | "$defs" | "title" | "description" | "default" | "format" => {}
                keyword => {
                    if !fits(keyword, rule, value) {
                        self.problems.push(format!("{at}: breaks {keyword} {rule}"));
                    }
                }
            }
        }
    }

    /// Keywords about what a value holds.
    fn inside(&mut self, schema: &Value, (keyword, rule): (&str, &Value), value: &Value, at: &str) {
        let listed = |name: &str| schema.get("properties").and_then(|listed| listed.get(name));
        for (name, value) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            match (keyword, listed(name)) {
                ("properties", Some(rule)) => self.all(rule, value, &at),
                ("additionalProperties", None) if rule.is_object() => self.all(rule, value, &at),
                ("additionalProperties", None) if *rule == false => {
                    self.problems.push(format!("{at}: unknown"))
                }
                _ => {}
            }
        }
        for name in rule.as_array().into_iter().flatten().filter_map(Value::as_str) {
            if keyword == "required" && value.get(name).is_none() {
                self.problems.push(format!("{at}.{name}: missing"));
            }
        }
        for (index, value) in
            value.as_array().into_iter().flatten().enumerate().filter(|_| keyword == "items")
        {
            self.all(rule, value, &format!("{at}[{index}]"));
        }
    }

    /// Keywords that put schemas together.
    fn combined(&mut self, schema: &Value, (keyword, rule): (&str, &Value), value: &Value, at: &str) {
        let root = self.root;
        let good = |rule: &Value| {
            let mut check = Check { root, problems: Vec::new() };
            check.all(rule, value, at);
            check.problems.is_empty()
        };
        let rules = rule.as_array().map(Vec::as_slice).unwrap_or_default();
        match keyword {
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#'));
                self.all(target.unwrap_or_else(|| panic!("{rule}")), value, at);
            }
            "allOf" => rules.iter().for_each(|rule| self.all(rule, value, at)),
            "if" if good(rule) => self.all(&schema["then"], value, at),
            "anyOf" | "oneOf" if !rules.iter().any(good) => {
                self.problems.push(format!("{at}: fits none of several"))
            }
            _ => {}
        }
    }
}

/// Keywords about the value itself.
fn fits(keyword: &str, rule: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    match keyword {
        "type" => rule.as_array().map_or_else(|| is(rule), |all| all.iter().any(is)),
        "enum" => rule.as_array().unwrap().contains(value),
        "const" => rule == value,
        "minimum" => value.as_f64() >= rule.as_f64(),
        "maximum" => value.as_f64() <= rule.as_f64(),
        // The one pattern that decides between alternatives: a variable, or not.
        "pattern" => rule != r"\$\{" || value.as_str().is_none_or(|text| text.contains("${")),
        other => panic!("the schema uses `{other}`, which this test does not know"),
    }
}

fn check(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap();
    let root = schema();
    let mut check = Check { root: &root, problems: Vec::new() };
    check.all(&root, &serde_json::to_value(table).unwrap(), "");
    check.problems.sort();
    check.problems
}

#[test]
fn every_file_that_is_shipped_fits() {
    let stanzas = std::fs::read_dir(root().join("config/providers")).unwrap();
    let files = ["config/switchboard.toml", "config/reference.toml"].map(|name| root().join(name));
    for file in stanzas.map(|entry| entry.unwrap().path()).chain(files) {
        let problems = check(&std::fs::read_to_string(&file).unwrap());
        assert!(problems.is_empty(), "{}: {problems:#?}", file.display());
    }
}

#[test]
fn what_is_wrong_does_not_fit() {
    let text = r#"
[server]
lisen = "x"
[cluster]
[turns]
when_busy = "wait"
[defaults]
max_concurrency = 0
hedge_after = 5
[providers.a]
kind = "openai"
api_kez = "x"
[providers.b]
kind = "gptunnel"
[providers.c]
kind = "gptunnel"
api_key_file = "x"
max_concurrency = "${MANY}"
[providers.d]
kind = "nobody"
[[keys]]
secret = "x"
"#;
    assert_eq!(
        check(text),
        [
            ".cluster: fits none of several",
            ".defaults.hedge_after: breaks type \"string\"",
            ".defaults.max_concurrency: fits none of several",
            ".keys[0].name: missing",
            ".providers.a.api_kez: unknown",
            ".providers.b: fits none of several",
            ".providers.d.kind: breaks enum [\"gptunnel\",\"mygptassistants\",\"unleash\",\"gigachat\",\"openai\"]",
            ".server.lisen: unknown",
            ".turns.when_busy: fits none of several",
        ]
    );
}

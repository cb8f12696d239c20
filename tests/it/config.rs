//! The configuration: every problem is named with file, line, key and what would be right, all at once.

use std::path::{Path, PathBuf};

use cli::config::{Config, Environment, Invalid, reference};

/// A test's environment.
struct Fixed(Vec<(String, String)>);

impl Environment for Fixed {
    fn value(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }
}

fn environment(variables: &[(&str, &str)]) -> Fixed {
    Fixed(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A configuration that is right, to be broken in one place.
const RIGHT: &str = r#"
[providers.model]
kind = "openai"
api_key = "upstream-key"

[assistants.support]
provider = "model"
upstream_id = "gpt"

[[keys]]
name = "app"
secret = "0123456789abcdef"
"#;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    Config::parse("f.toml", text, &environment(variables), &[])
        .map_err(|Invalid(problems)| problems.iter().map(ToString::to_string).collect())
}

fn problems(text: &str) -> Vec<String> {
    load(text, &[]).map(|_| ()).expect_err("the configuration is wrong")
}

#[test]
fn all_problems_are_named_at_once_with_line_and_nearest_key() {
    let text = r#"[server]
lisen = "127.0.0.1:8080"
max_body = "1MB1"
drain_timeout = "99h"
heartbeat = 15
retention = "90d"

[storage]
url = "mysql://host/db"

[cluster]
redis = "redis://127.0.0.1"

[turns]
when_busy = "wait"

[defaults]
retry = { attempts = 0, base = "0s" }
breaker = { failures = 2.0 }

[providers.tunnel]
kind = "gptunel"

[providers.other]
kind = "openai"
api_kez = "x"
max_concurrency = 0

[assistants.support]
provider = "tunel"
fallback = ["support", "dogs"]

[assistants.docs]
provider = "other"
context_messages = -1

[[keys]]
name = "a"
secret = "short"
assistants = ["suport"]
may = ["operators"]

[[keys]]
name = "a"
secret = "${WEB_KEY}"

[[keys]]
hash = "sha256:12"
budgets = [{ per = "week" }]

[elsewhere]
"#;
    insta::assert_snapshot!(problems(text).join("\n"));
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    insta::assert_snapshot!(problems("[server]\nlisten = \nopen = yes\n[server]\n").join("\n"));
}

#[test]
fn a_right_configuration_has_no_problem() {
    let config = load(RIGHT, &[]).unwrap();
    assert_eq!((config.providers().len(), config.keys.len()), (1, 1));
    assert_eq!(config.listen().to_string(), "127.0.0.1:8080");
}

#[test]
fn variables_files_and_their_absence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "a-secret-of-a-file\n").unwrap();
    let right = RIGHT
        .replace("secret = \"0123456789abcdef\"", "secret_file = \"${FOLDER}/secret\"")
        .replace("api_key = \"upstream-key\"", "api_key_file = \"${FOLDER}/secret\"");
    let config = load(&right, &[("FOLDER", folder.path().to_str().unwrap())]).unwrap();
    assert_eq!(
        config.keys[0].hash,
        server::hash_secret("a-secret-of-a-file"),
        "the line's end is no part of it"
    );
    assert!(config.files.iter().any(|seen| seen.path == file), "{:?}", config.files);
    assert!(!config.printed.contains("a-secret"), "{}", config.printed);

    let wrong = load(&right, &[("FOLDR", "x")]).map(|_| ()).unwrap_err();
    let message = "the environment variable `FOLDER` is not set; did you mean `FOLDR`?";
    assert_eq!(
        wrong,
        [
            format!("f.toml:4: providers.model.api_key_file: {message}"),
            format!("f.toml:12: keys[0].secret_file: {message}")
        ]
    );
    let gone = load(&right, &[("FOLDER", "/nowhere")]).map(|_| ()).unwrap_err();
    assert!(gone[0].contains("cannot read `/nowhere/secret`"), "{gone:?}");
    let both = RIGHT.replace("secret = ", "secret_file = \"x\"\nsecret = ");
    assert_eq!(
        problems(&both),
        ["f.toml:12: keys[0].secret_file: stands beside `secret`: only one of them can be used"]
    );
}

#[test]
fn variables_may_stand_for_numbers_and_flags() {
    let text =
        format!("[server]\nopen = \"${{OPEN}}\"\n[defaults]\nmax_concurrency = \"${{MANY:-7}}\"\n{RIGHT}");
    let config = load(&text, &[("OPEN", "true")]).unwrap();
    assert!(config.server.open);
    assert!(config.printed.contains("max_concurrency = 7"), "{}", config.printed);
    assert!(problems("[server]\nopen = \"true\"")[0].contains("must be true or false"));
}

#[test]
fn a_budget_needs_a_provider_that_reports_usage() {
    let text = r#"
[providers.silent]
kind = "unleash"
api_key = "k"
[assistants.search]
provider = "silent"
upstream_id = "default"
[[keys]]
name = "app"
secret = "0123456789abcdef"
budgets = [{ per = "day", tokens = 5 }]
"#;
    assert_eq!(
        problems(text),
        [
            "f.toml:11: keys[0].budgets: nobody can know what `search` costs: its provider `silent` reports no usage. \
          Leave the assistant out of the key's `assistants`, or the budgets"
        ]
    );
}

#[test]
fn a_budget_in_money_needs_a_provider_that_reports_money() {
    let text = |budget: &str| {
        format!(
            r#"
[providers.model]
kind = "openai"
base_url = "https://models.example/v1"
[assistants.gpt]
provider = "model"
upstream_id = "gpt"
[[keys]]
name = "app"
secret = "0123456789abcdef"
budgets = [{{ per = "day", tokens = 5 }}, {budget}]
"#
        )
    };
    assert_eq!(
        problems(&text(r#"{ per = "day", cost = "5", currency = "RUB" }"#)),
        [
            "f.toml:11: keys[0].budgets[1].cost: nobody can know what `gpt` costs in money: its provider `model` reports \
          tokens alone. Leave the assistant out of the key's `assistants`, or budget `tokens`"
        ]
    );
    assert!(load(&text(r#"{ per = "month", tokens = 50 }"#), &[]).is_ok());
}

#[test]
fn a_key_that_stands_twice_is_named() {
    for (text, line, key) in [
        ("[server]\nlisten = \"127.0.0.1:1\"\nopen = true\nlisten = \"127.0.0.1:2\"", 4, "listen"),
        ("[server]\nopen = true\n[server]\nmax_body = \"1MiB\"", 3, "server"),
        ("[defaults]\nretry = { base = \"1s\", base = \"2s\" }", 2, "base"),
    ] {
        assert_eq!(problems(text), [format!("f.toml:{line}: {key}: stands twice: only one can be meant")]);
    }
}

#[test]
fn sizes_are_powers_of_two() {
    for wrong in ["1MB", "1000KB", "1048576", "1048576B"] {
        let told = problems(&format!("[server]\nmax_body = \"{wrong}\""));
        assert!(told[0].contains("server.max_body: must be a size from 1KiB to 64MiB"), "{told:?}");
    }
}

#[test]
fn open_is_for_loopback_alone() {
    let open = |listen: &str| load(&format!("[server]\nopen = true\nlisten = \"{listen}\""), &[]).is_ok();
    assert!(open("127.0.0.1:1") && open("[::1]:1") && open("localhost:1"));
    assert!(!open("0.0.0.0:1") && !open("192.168.1.1:1"));
    let admins =
        |listen: &str| load(&format!("[server]\nopen = true\nadmin_listen = \"{listen}\""), &[]).is_ok();
    assert!(admins("127.0.0.1:1") && admins("") && !admins("0.0.0.0:1") && !admins("192.168.1.1:1"));
}

#[test]
fn the_same_secret_twice_is_a_problem_also_when_one_is_a_hash() {
    // The hash of the empty text's neighbour: printed by `printf 0123456789abcdef | sha256sum`.
    let hash = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
    let text = format!("{RIGHT}\n[[keys]]\nname = \"b\"\nhash = \"sha256:{hash}\"\n");
    assert_eq!(problems(&text), ["f.toml:14: keys[1].secret: `b` has the same secret as `app`"]);
}

#[test]
fn providers_override_the_defaults() {
    let text = format!(
        "[defaults]\nidle_timeout = \"7s\"\nretry = {{ attempts = 9 }}\n{}",
        RIGHT.replace(
            "kind = \"openai\"",
            "kind = \"openai\"\ntotal_timeout = \"8s\"\nretry = { base = \"1s\" }"
        )
    );
    let printed = load(&text, &[]).unwrap().printed;
    let provider = printed.split("[providers.model]").nth(1).unwrap();
    for expected in [
        "idle_timeout = \"7s\"",
        "total_timeout = \"8s\"",
        "attempts = 9, base = \"1s\"",
        "max_concurrency = 256",
    ] {
        assert!(provider.contains(expected), "{expected} in {provider}");
    }
}

#[test]
fn the_printed_configuration_reads_back_and_holds_no_secret() {
    let text = r#"
[storage]
url = "postgres://user:pass-word@host/db"
[providers.model]
kind = "gptunnel"
api_key = "upstream-key"
headers = { x-team = "header-secret" }
proxy = "http://me:proxy-pass@proxy:3128"
[assistants."odd.name"]
provider = "model"
upstream_id = "gpt"
[[keys]]
name = "app"
secret = "0123456789abcdef"
budgets = [{ per = "month", cost = "5.00", currency = "RUB" }]
reserve = { cost = "0.1" }
"#;
    let printed = load(text, &[]).unwrap().printed;
    for secret in ["pass-word", "upstream-key", "header-secret", "proxy-pass", "0123456789abcdef"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    insta::assert_snapshot!(printed);
    let again = printed.replace("secret = \"********\"", "secret = \"fedcba9876543210\"");
    let twice = load(&again, &[]).unwrap().printed;
    assert_eq!(twice, printed, "what is printed is a configuration");
}

#[test]
fn a_provider_with_the_same_settings_is_taken_over_by_a_reload() {
    let first = load(RIGHT, &[]).unwrap();
    let reload = |text: &str| {
        let config = Config::parse("f.toml", text, &environment(&[]), &first.built).unwrap();
        std::sync::Arc::ptr_eq(&first.providers()[0], &config.providers()[0])
    };
    assert!(reload(&RIGHT.replace("upstream_id = \"gpt\"", "upstream_id = \"other\"")), "another assistant");
    assert!(!reload(&RIGHT.replace("upstream-key", "another-key")), "another key");
    assert!(!reload(&format!("[defaults]\nidle_timeout = \"7s\"\n{RIGHT}")), "another clock");
}

#[test]
fn the_reference_is_generated() {
    let file = root().join("config/reference.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(
        written == reference(),
        "config/reference.toml is out of date: cargo run -- check --reference > config/reference.toml"
    );
}

#[test]
fn every_file_that_is_shipped_is_right() {
    let variables = [
        ("GPTUNNEL_API_KEY", "k"),
        ("MYGPTASSISTANTS_API_KEY", "k"),
        ("UNLEASH_API_KEY", "k"),
        ("GIGACHAT_API_KEY", "k"),
        ("OPENAI_API_KEY", "k"),
        ("SWITCHBOARD_CLIENT_KEY", "0123456789abcdef"),
    ];
    let stanzas = std::fs::read_dir(root().join("config/providers")).unwrap();
    let stanzas: Vec<_> = stanzas.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(stanzas.len(), providers::KINDS.len(), "a stanza for each sort of provider");
    let files = ["config/switchboard.toml", "config/reference.toml"].map(|name| root().join(name));
    for file in files.iter().chain(&stanzas) {
        let outcome = Config::load(file, &environment(&variables), &[]);
        assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
    for kind in providers::KINDS {
        assert!(
            stanzas.contains(&root().join(format!("config/providers/{}.toml", kind.name))),
            "{}",
            kind.name
        );
    }
}

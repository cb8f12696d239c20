//! Rules of the repository that no compiler checks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folders(path: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// All Rust sources below a folder, with their path from the top.
fn sources(below: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, read(&path)));
            }
        }
    }
    found
}

/// The sources of the crates, without their tests.
fn code() -> Vec<(String, String)> {
    let all = sources("crates").into_iter().filter(|(name, _)| !is_test(name));
    all.map(|(name, text)| (name, text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()))
        .collect()
}

fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest: toml::Table = read(&root().join("crates").join(name).join("Cargo.toml")).parse().unwrap();
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

/// Fails with every offence, not only the first.
fn none(offences: &[String]) {
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// Which of our crates each may see: the arrows of `crates/README.md`.
const EDGES: &[(&str, &[&str])] = &[
    ("chat", &[]),
    ("upstream", &[]),
    ("simulator", &[]),
    ("providers", &["chat", "upstream"]),
    ("store", &["chat"]),
    ("cluster", &["chat"]),
    ("engine", &["chat"]),
    ("server", &["chat", "engine"]),
    ("cli", &["chat", "cluster", "engine", "providers", "server", "simulator", "store", "upstream"]),
];

#[test]
fn crates_see_only_what_the_arrows_allow() {
    let crates = folders(&root().join("crates"));
    let listed: BTreeSet<_> = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(crates, listed);
    let mut offences = Vec::new();
    for (name, allowed) in EDGES {
        for seen in dependencies(name).intersection(&crates) {
            if !allowed.contains(&seen.as_str()) {
                offences.push(format!("{name} must not depend on {seen}"));
            }
        }
    }
    none(&offences);
}

/// Libraries that are a reason to change of their own, and the crates that have them.
const HEAVY: &[(&str, &[&str])] = &[
    ("axum", &["server", "simulator"]),
    ("tower-http", &["server"]),
    ("governor", &["server"]),
    ("metrics-exporter-prometheus", &["server"]),
    ("tokio-rustls", &["server"]),
    // The terminal client is a client like any other: it speaks the public API over its own connection.
    ("reqwest", &["upstream", "cli"]),
    ("sqlx", &["store"]),
    ("rusqlite", &["store"]),
    ("redis", &["cluster"]),
    ("clap", &["cli"]),
    ("rustyline", &["cli"]),
    ("notify", &["cli"]),
    ("tracing-subscriber", &["cli"]),
    ("tracing-opentelemetry", &["cli"]),
    ("opentelemetry", &["cli"]),
    ("opentelemetry_sdk", &["cli"]),
    ("opentelemetry-otlp", &["cli"]),
    ("tower", &["server", "upstream"]),
];

#[test]
fn a_heavy_library_has_one_home() {
    let mut offences = Vec::new();
    for name in folders(&root().join("crates")) {
        for library in dependencies(&name) {
            let homes = HEAVY.iter().find(|(heavy, _)| *heavy == library).map(|(_, homes)| *homes);
            if homes.is_some_and(|homes| !homes.contains(&name.as_str())) {
                offences.push(format!("{name} must not depend on {library}"));
            }
        }
    }
    none(&offences);
}

#[test]
fn every_source_says_what_it_is() {
    let all = sources("crates").into_iter().filter(|(name, _)| !is_test(name)).chain(sources("tests"));
    let silent = all.filter(|(_, text)| !text.starts_with("//! "));
    none(&silent.map(|(name, _)| format!("{name} does not begin with `//!`")).collect::<Vec<_>>());
}

#[test]
fn sources_are_short_enough_to_be_read() {
    let long = sources("crates").into_iter().filter(|(name, _)| !is_test(name));
    // What is said about the code makes it no longer to read.
    let code = |text: &str| text.lines().filter(|line| !line.trim_start().starts_with("//")).count();
    let long = long.map(|(name, text)| (name, code(&text))).filter(|(_, lines)| *lines > 600);
    none(&long.map(|(name, lines)| format!("{name} has {lines} lines of code")).collect::<Vec<_>>());
}

#[test]
fn a_provider_is_a_folder_a_row_a_stanza_and_cassettes() {
    let kinds: BTreeSet<_> = providers::KINDS.iter().map(|kind| kind.name.to_owned()).collect();
    assert_eq!(kinds.len(), providers::KINDS.len(), "a kind stands twice");
    let shared = ["decoder", "redaction", "shape"].map(str::to_owned);
    let own: BTreeSet<_> = folders(&root().join("crates/providers/src"))
        .into_iter()
        .filter(|name| !shared.contains(name))
        .collect();
    assert_eq!(own, kinds, "folders of crates/providers/src");
    assert_eq!(folders(&root().join("tests/cassettes")), kinds, "folders of tests/cassettes");
    let stanzas = std::fs::read_dir(root().join("config/providers")).unwrap();
    let stanzas: BTreeSet<_> = stanzas
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(stanzas, kinds, "files of config/providers");
}

#[test]
fn no_code_names_a_provider_outside_its_folder() {
    // `openai` is also the name of a dialect that clients speak.
    let names: Vec<_> =
        providers::KINDS.iter().map(|kind| kind.name).filter(|name| *name != "openai").collect();
    let mut offences = Vec::new();
    for (name, text) in code() {
        if name.starts_with("crates/providers/src/lib.rs") || name.starts_with("crates/simulator/") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            // Comments may say why.
            let line = line.split("//").next().unwrap().to_lowercase();
            let home = |provider: &str| name.starts_with(&format!("crates/providers/src/{provider}/"));
            if let Some(found) = names.iter().find(|provider| line.contains(**provider) && !home(provider)) {
                offences.push(format!("{name}:{} names {found}", number + 1));
            }
        }
    }
    none(&offences);
}

#[test]
fn tests_neither_sleep_nor_hide() {
    let mut offences = Vec::new();
    let this = "tests/it/tidy.rs";
    // The benchmark keeps to a schedule, which is done by sleeping.
    let counts = |name: &str| name != this && !name.starts_with("tests/bench/");
    let all = sources("tests").into_iter().chain(sources("crates"));
    for (name, text) in all.filter(|(name, _)| counts(name)) {
        // Where the clock is a paused one, sleeping is how it is moved, and takes no time.
        let tests = (name.starts_with("tests/") || is_test(&name)) && !text.contains("start_paused");
        for (number, line) in text.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            let sleeps = tests && line.contains("sleep(");
            let hidden = line.contains("#[ignore") || line.contains("#[should_panic");
            if sleeps || hidden {
                offences.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none(&offences);
}

#[test]
fn tasks_begin_in_one_file_of_a_crate() {
    let mut offences = Vec::new();
    for (name, text) in code() {
        if name.ends_with("/tasks.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            if ["tokio::spawn(", "tokio::task::spawn(", "tracker.spawn("]
                .iter()
                .any(|spawn| line.contains(spawn))
            {
                offences.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none(&offences);
}

/// What is compiled for speed, and only that, is compiled with the profile; whatever else cargo says comes through as it is.
#[test]
fn release_builds_have_a_profile() {
    let wrapper = root().join(".cargo/rustc");
    let said = |words: &[&str]| {
        let output = Command::new(&wrapper).arg("printf").arg("%s\n").args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = ["rustc", "-C", "opt-level=0", "a b", "*"];
    assert_eq!(said(&plain), plain);
    let fast = ["rustc", "-C", "opt-level=3", "--crate-name", "a b"];
    let mut words = said(&fast);
    let added = words.split_off(fast.len());
    assert_eq!(words, fast);
    let profile = added.iter().find_map(|word| word.strip_prefix("profile-use=")).unwrap();
    assert!(Path::new(profile).is_absolute(), "{profile}: rustc runs in other folders than this");
    let begin = std::fs::read(profile).unwrap();
    assert!(begin.starts_with(b"\xfflprofi\x81"), "an indexed profile of LLVM");
    // What cargo says in the environment comes through as well, whatever it is called.
    let output = Command::new(&wrapper).arg("env").env("a-b", "c").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().lines().any(|line| line == "a-b=c"));
    assert!(read(&root().join(".cargo/config.toml")).contains("rustc-wrapper = \".cargo/rustc\""));
}

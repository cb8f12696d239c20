//! Times, ports, paths, names of metrics, variables and secrets: those that the files speak of exist, and fit together.

use std::collections::BTreeSet;
use std::time::Duration;

use cli::config::{Config, Environment};

use super::{read, root};
use crate::smoke::program::{Program, client};

/// How long closing may take once nothing runs any more: three steps of five seconds, see `wiring.rs`.
const CLOSING: Duration = Duration::from_secs(15);

/// A configuration that is shipped for containers, and the files that run it, with what gives it time to leave.
const SHIPPED: &[(&str, &str, &str)] = &[
    ("config/switchboard.toml", "docker/compose.yaml", "stop_grace_period: "),
    ("docker/gateway/cluster.toml", "docker/compose.cluster.yaml", "stop_grace_period: "),
    (
        "docker/kubernetes/overlays/single/switchboard.toml",
        "docker/kubernetes/base/deployment.yaml",
        "terminationGracePeriodSeconds: ",
    ),
    (
        "docker/kubernetes/overlays/cluster/switchboard.toml",
        "docker/kubernetes/base/deployment.yaml",
        "terminationGracePeriodSeconds: ",
    ),
];

/// The environment of a container: of the image, and what an operator sets.
struct Container;

impl Environment for Container {
    fn value(&self, name: &str) -> Option<String> {
        let value = match name {
            "GPTUNNEL_API_KEY" => "a-key-of-the-provider",
            "SWITCHBOARD_CLIENT_KEY" => "0123456789abcdef",
            "SWITCHBOARD_LISTEN" => "0.0.0.0:8080",
            "SWITCHBOARD_ADMIN_LISTEN" => "0.0.0.0:9090",
            "SWITCHBOARD_STORE" => "sqlite:/data/switchboard.db",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The names of the secrets that a configuration reads from files.
fn secrets(text: &str) -> BTreeSet<String> {
    let files = text.lines().filter_map(|line| line.split_once("_file = \"")?.1.split('"').next());
    files.map(|file| file.rsplit('/').next().unwrap().to_owned()).collect()
}

/// A configuration as it is in its container: its secrets are there.
fn load(name: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let mut text = read(name);
    for secret in secrets(&text) {
        let value = match secret.as_str() {
            "store-url" => "postgres://switchboard:password@postgres/switchboard",
            "redis-url" => "redis://:password@redis:6379",
            _ => "0123456789abcdef",
        };
        std::fs::write(folder.path().join(&secret), format!("{value}\n")).unwrap();
    }
    let here = format!("{}/", folder.path().display());
    text = text.replace("/run/secrets/switchboard/", &here).replace("/run/secrets/", &here);
    Config::parse(name, &text, &Container, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What stands behind a key, on each line that has it.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(move |line| line.strip_prefix(key)).map(str::trim)
}

/// The part of a text from the line that begins so to the next one that is indented no deeper.
fn block<'a>(text: &'a str, head: &str) -> &'a str {
    let begin = text.find(head).unwrap_or_else(|| panic!("no `{}`", head.trim()));
    let rest = &text[begin + 1..];
    let indent = head.trim_start_matches('\n').chars().take_while(|character| *character == ' ').count();
    let ends = |line: &str| {
        let depth = line.chars().take_while(|character| *character == ' ').count();
        !line.trim().is_empty() && depth <= indent
    };
    let mut length = 0;
    for (number, line) in rest.split_inclusive('\n').enumerate() {
        if number > 0 && ends(line) {
            break;
        }
        length += line.len();
    }
    &rest[..length]
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("{text:?}")))
}

#[test]
fn there_is_time_to_leave() {
    for (config, runs, key) in SHIPPED {
        let drain = load(config).drain;
        let needed = drain.delay + drain.timeout + CLOSING;
        let file = read(runs);
        // nginx waits for the same streams; a database has times of its own.
        let file = file.split("\n  postgres:\n").next().unwrap();
        let given: Vec<_> = values(file, key).map(seconds).collect();
        assert!(!given.is_empty(), "{runs} gives no time");
        for given in given {
            assert!(given > needed, "{runs} gives {given:?}; {config} needs {needed:?}");
        }
    }
    let wiring = read("crates/cli/src/wiring.rs");
    assert!(wiring.contains("const CLOSE_MAX: Duration = Duration::from_secs(5);"), "CLOSING is from there");
}

#[test]
fn several_gateways_have_one_store_and_share_the_rest() {
    for name in ["docker/gateway/cluster.toml", "docker/kubernetes/overlays/cluster/switchboard.toml"] {
        // It would be refused without a PostgreSQL.
        let config = load(name);
        assert!(config.cluster.is_some() && read(name).contains("store-url"));
        // Load balancers must have time to look.
        assert!(!config.drain.delay.is_zero());
    }
}

#[test]
fn a_pod_is_out_of_the_service_before_it_refuses() {
    let deployment = read("docker/kubernetes/base/deployment.yaml");
    let probe = block(&deployment, "\n          readinessProbe:");
    let number = |key| values(probe, key).next().unwrap().parse::<u32>().unwrap();
    let noticed = Duration::from_secs(u64::from(number("periodSeconds: ") * number("failureThreshold: ")));
    for overlay in ["single", "cluster"] {
        let drain = load(&format!("docker/kubernetes/overlays/{overlay}/switchboard.toml")).drain;
        assert!(noticed < drain.delay, "{overlay}: noticed after {noticed:?}");
    }
}

#[tokio::test]
async fn what_is_probed_and_scraped_answers() {
    let program = Program::demo().await;
    let deployment = read("docker/kubernetes/base/deployment.yaml");
    let probed: BTreeSet<_> = values(&deployment, "path: ").collect();
    assert_eq!(probed, BTreeSet::from(["/livez", "/readyz"]));
    let monitor = read("docker/kubernetes/base/service-monitor.yaml");
    let scraped: Vec<_> = values(&monitor, "path: ").collect();
    assert_eq!(scraped, ["/metrics"]);
    let asked = probed.iter().map(|path| (&program.url, *path));
    for (url, path) in asked.chain([(&program.admin, "/metrics")]) {
        let answer = client().get(format!("{url}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[test]
fn ports_are_the_same_everywhere() {
    let image = read("Dockerfile");
    assert!(image.contains("EXPOSE 8080 9090\n"));
    assert!(
        image.contains("SWITCHBOARD_LISTEN=0.0.0.0:8080 ")
            && image.contains("SWITCHBOARD_ADMIN_LISTEN=0.0.0.0:9090 ")
    );
    for (config, _, _) in SHIPPED {
        let server = load(config).server;
        assert_eq!(server.listen.to_string(), "0.0.0.0:8080", "{config}");
        assert_eq!(server.admin_listen.unwrap().to_string(), "0.0.0.0:9090", "{config}");
    }
    let deployment = read("docker/kubernetes/base/deployment.yaml");
    let named: Vec<_> = values(block(&deployment, "\n          ports:"), "containerPort: ").collect();
    assert_eq!(named, ["8080", "9090"]);
    assert!(read("docker/prometheus/prometheus.yml").contains("port: 9090"));
    let gateways = read("docker/nginx/gateways.conf");
    assert_eq!(gateways.matches(":8080 ").count(), 2);
    for file in ["docker/compose.yaml", "docker/compose.cluster.yaml"] {
        assert!(read(file).contains("${SWITCHBOARD_PUBLISH:-127.0.0.1:8080}:8080"), "{file}");
    }
}

#[test]
fn metrics_that_are_named_are_counted() {
    let counted = read("crates/server/src/metrics.rs");
    let guide = read("docker/README.md");
    let autoscaler = read("docker/kubernetes/overlays/cluster/autoscaler.yaml");
    assert!(autoscaler.contains("name: switchboard_open_streams"));
    for (file, text) in [("docker/README.md", &guide), ("autoscaler.yaml", &autoscaler)] {
        let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        for name in words.filter(|word| word.starts_with("switchboard_")) {
            let name = name.trim_end_matches("_bucket").trim_end_matches("_count");
            assert!(counted.contains(&format!("\"{name}\"")), "{file} names {name}");
        }
    }
}

#[test]
fn variables_that_are_set_are_read() {
    let read_by_the_program = [
        read("crates/cli/src/commands/mod.rs"),
        read("config/switchboard.toml"),
        read("docker/gateway/cluster.toml"),
        // Those that compose files read themselves.
        read("docker/compose.yaml"),
        read("docker/compose.cluster.yaml"),
    ]
    .concat();
    let is_read = |name: &str| {
        [format!("${{{name}}}"), format!("${{{name}:-"), format!("env = \"{name}\"")]
            .iter()
            .any(|way| read_by_the_program.contains(way))
    };
    let mut set = BTreeSet::new();
    for file in [
        "Dockerfile",
        "docker/compose.yaml",
        "docker/compose.cluster.yaml",
        "docker/.env.example",
        "docker/README.md",
    ] {
        let text = read(file);
        let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        let ours = words.filter(|word| word.starts_with("SWITCHBOARD_") || word.starts_with("GPTUNNEL_"));
        set.extend(ours.map(|name| (name.to_owned(), file)));
    }
    assert!(set.len() >= 20, "{set:?}");
    let unread: Vec<_> = set.iter().filter(|(name, _)| !is_read(name)).collect();
    assert!(unread.is_empty(), "nobody reads {unread:?}");
}

#[test]
fn secrets_that_are_read_are_there() {
    let compose = read("docker/compose.cluster.yaml");
    let listed = block(&compose, "\nsecrets:");
    let made = read("docker/make-secrets.sh");
    for secret in secrets(&read("docker/gateway/cluster.toml")) {
        assert!(listed.contains(&format!("  {secret}:\n    file: ./secrets/{secret}\n")), "{secret}");
        assert!(values(&compose, "secrets: ").any(|list| list.contains(&secret)), "{secret}");
    }
    for secret in values(listed, "file: ./secrets/") {
        assert!(made.contains(&format!("keep {secret} ")), "{secret} is made by nobody");
    }
    let guide = read("docker/README.md");
    for overlay in ["single", "cluster"] {
        for secret in secrets(&read(&format!("docker/kubernetes/overlays/{overlay}/switchboard.toml"))) {
            assert!(guide.contains(&format!("--from-literal={secret}=")), "docker/README.md: {secret}");
        }
    }
}

#[test]
fn nginx_is_patient_and_repeats_nothing() {
    let config = read("docker/nginx/nginx.conf");
    let directives: Vec<_> = config.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    let value = |name: &str| {
        let found = directives.iter().find_map(|line| line.strip_prefix(name)?.strip_suffix(';'));
        found.unwrap_or_else(|| panic!("no {name}")).trim()
    };
    let shipped = load("docker/gateway/cluster.toml");
    let read_timeout = seconds(value("proxy_read_timeout"));
    assert!(
        read_timeout > shipped.server.heartbeat && seconds(value("send_timeout")) > shipped.server.heartbeat
    );
    // A turn that is answered whole is silent until its end.
    assert!(read_timeout > Duration::from_mins(15), "defaults.total_timeout");
    assert!(read("config/reference.toml").contains("\ntotal_timeout = \"15m\""));
    assert_eq!(value("proxy_buffering"), "off");
    assert_eq!(value("proxy_next_upstream "), "error timeout");
    assert!(
        !directives
            .iter()
            .any(|line| line.contains("non_idempotent") || line.contains("worker_shutdown_timeout"))
    );
    let body = value("client_max_body_size").trim_end_matches('m').parse::<usize>().unwrap();
    assert!(body * 1024 * 1024 > shipped.server.body_bytes_max);
}

#[test]
fn only_what_the_build_needs_is_sent_to_it() {
    let ignored = read(".dockerignore");
    let sent: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(ignored.lines().find(|line| !line.starts_with('#')), Some("*"));
    for copied in read("Dockerfile").lines().filter_map(|line| line.strip_prefix("COPY ")) {
        for name in
            copied.split_whitespace().rev().skip(1).filter(|name| !name.starts_with("--") && *name != "/out/")
        {
            assert!(sent.contains(&name), "{name} is not sent");
            assert!(root().join(name).exists(), "{name}");
        }
    }
}

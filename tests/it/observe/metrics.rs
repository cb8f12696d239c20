//! Metrics: what traffic counts, and that dashboards and alerts ask for nothing that isn't there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::echo::assistant;
use super::served::ADMIN;
use super::{Echo, Served};

/// A sample: its name, its labels, its value.
type Sample = (String, BTreeMap<String, String>, f64);

fn samples(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| sample(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let pairs = labels.strip_suffix('}')?.split_terminator("\",").map(|pair| pair.trim_end_matches('"'));
    let labels =
        pairs.map(|pair| pair.split_once("=\"").map(|(name, value)| (name.to_owned(), value.to_owned())));
    Some((name.to_owned(), labels.collect::<Option<_>>()?, value.parse().ok()?))
}

/// The sum of all samples that have these labels, written as in a query.
fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let found = samples(text).into_iter().filter(|(other, has, _)| {
        other == name && labels.iter().all(|(name, value)| has.get(*name).is_some_and(|has| has == value))
    });
    found.map(|(_, _, value)| value).sum()
}

/// A gateway after a bit of everything, and what it shows then.
async fn after_traffic(echo: &Echo) -> (Served, String) {
    let config = [
        echo.provider("first"),
        "breaker = { window = \"1m\", failures = 0.5, minimum = 2, cool_down = \"1h\" }\n".to_owned(),
        echo.provider("second"),
        assistant("support", "first", "status-503", "\"docs\""),
        assistant("docs", "second", "fine", ""),
        assistant("lost", "second", "status-404", ""),
        "[[keys]]\nname = \"slow\"\nsecret = \"0123456789abcdef\"\nrequests_per_minute = 1\nburst = 1\n"
            .to_owned(),
        "[[keys]]\nname = \"shadow\"\nsecret = \"0123456789abcdeg\"\nrequests_per_minute = 1\nburst = 1\nshadow = true\n"
            .to_owned(),
    ]
    .concat();
    let gateway = Served::start(&config).await;
    for (assistant, stream, status) in
        [("support", true, 200), ("docs", false, 200), ("docs", true, 200), ("lost", false, 502)]
    {
        let body = json!({"assistant": assistant, "message": "Hello", "stream": stream});
        let answer = gateway.post("/v1/chat", &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    for (key, status) in [("f", 200), ("f", 429), ("g", 200), ("g", 200)] {
        let request = crate::smoke::program::client().get(format!("{}/v1/assistants", gateway.url));
        let answer = super::served::send(request.bearer_auth(format!("0123456789abcde{key}"))).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let answer = gateway.admin("POST", "/admin/reload", ADMIN, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = gateway.metrics().await;
    (gateway, text)
}

#[tokio::test]
async fn traffic_is_counted_by_what_it_was() {
    let echo = Echo::start().await;
    let (gateway, text) = after_traffic(&echo).await;
    for (name, labels, expected) in [
        ("requests_total", &[("route", "/v1/chat"), ("status", "200")][..], 3.0),
        ("requests_total", &[("route", "/v1/chat"), ("status", "502")], 1.0),
        ("turns_total", &[("assistant", "docs"), ("provider", "second"), ("status", "completed")], 3.0),
        ("turns_total", &[("assistant", "lost"), ("provider", "second"), ("status", "failed")], 1.0),
        ("attempts_total", &[("provider", "first"), ("outcome", "provider_error")], 2.0),
        ("attempts_total", &[("provider", "second"), ("outcome", "completed")], 3.0),
        ("attempts_total", &[("provider", "second"), ("outcome", "provider_not_found")], 1.0),
        ("first_text_seconds_count", &[("assistant", "docs"), ("provider", "second")], 3.0),
        // Two streams of two pieces.
        ("piece_gap_seconds_count", &[("provider", "second")], 2.0),
        ("turn_duration_seconds_count", &[("assistant", "docs")], 3.0),
        ("tokens_total", &[("assistant", "docs"), ("provider", "second")], 54.0),
        ("limit_hits_total", &[("limit", "requests"), ("enforced", "true")], 1.0),
        ("limit_hits_total", &[("limit", "requests"), ("enforced", "false")], 1.0),
        ("provider_breaker", &[("provider", "first"), ("state", "open")], 1.0),
        ("provider_breaker", &[("provider", "second"), ("state", "open")], 0.0),
        ("provider_breaker", &[("provider", "second"), ("state", "closed")], 1.0),
        ("provider_in_flight", &[("provider", "second")], 0.0),
        ("budget_left", &[("key", "client"), ("per", "day"), ("unit", "tokens")], 1_000_000.0 - 54.0),
        ("retry_budget_exhausted_total", &[], 0.0),
        ("log_lines_dropped_total", &[], 0.0),
        ("config_reloads_total", &[("outcome", "ok")], 1.0),
        ("config_last_reload_successful", &[], 1.0),
        ("open_streams", &[], 0.0),
        ("running_turns", &[], 0.0),
        ("ready", &[], 1.0),
        ("store_commit_seconds_count", &[("outcome", "failed")], 0.0),
    ] {
        let found = sum(&text, &format!("switchboard_{name}"), labels);
        assert!((found - expected).abs() < 1e-9, "{name}{labels:?} is {found}, not {expected}:\n{text}");
    }
    assert!(sum(&text, "switchboard_store_commit_seconds_count", &[("outcome", "ok")]) > 3.0, "{text}");

    // What is taken out of the configuration is shown as a number no more.
    let file = gateway.folder.path().join("switchboard.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = config.split_once("[providers.first]").unwrap();
    let (_, rest) = rest.split_once("[providers.second]").unwrap();
    let rest = rest.replace("provider = \"first\"", "provider = \"second\"");
    std::fs::write(&file, format!("{before}[providers.second]{rest}")).unwrap();
    let answer = gateway.admin("POST", "/admin/reload", ADMIN, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = gateway.metrics().await;
    assert!(
        sum(&text, "switchboard_provider_breaker", &[("provider", "first"), ("state", "open")]).is_nan(),
        "{text}"
    );
}

/// The metrics that a query asks for, each with the labels that it matches by.
fn asked(query: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    for (at, _) in query.match_indices("switchboard_") {
        let name: String = query[at..].chars().take_while(|letter| is_name(*letter)).collect();
        let rest = &query[at + name.len()..];
        let matchers =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let labels =
            matchers.split(',').filter_map(|one| one.split_once(['=', '!'])).map(|(name, _)| name.trim());
        found.push((name, labels.map(str::to_owned).collect()));
    }
    found
}

/// The labels that a query groups by.
fn grouped(query: &str) -> BTreeSet<String> {
    let groups =
        query.split("by (").skip(1).filter_map(|rest| rest.split_once(')')).map(|(inside, _)| inside);
    groups.flat_map(|inside| inside.split(',').map(|label| label.trim().to_owned())).collect()
}

fn docker(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker").join(path)).unwrap()
}

fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&docker("grafana/dashboards/switchboard.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().into_iter().flatten();
        queries.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        queries.extend(variable["query"]["query"].as_str().map(str::to_owned));
    }
    let panels = queries.len();
    // One rule is one item of the list; its expression may go over several lines.
    for rule in docker("prometheus/alerts.yml").split("- alert: ").skip(1) {
        let expression = rule.split_once("expr:").unwrap().1;
        queries.push(expression.split("labels:").next().unwrap().to_owned());
    }
    assert!(panels > 20 && queries.len() > panels + 10, "{queries:#?}");
    queries
}

#[tokio::test]
async fn dashboards_and_alerts_ask_for_what_there_is() {
    let echo = Echo::start().await;
    let (_gateway, text) = after_traffic(&echo).await;
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, labels, _) in samples(&text) {
        shown.entry(name).or_default().extend(labels.into_keys());
    }
    // There only with PostgreSQL and in a cluster: tests/it/degraded/ sees them there.
    for name in ["switchboard_store_up", "switchboard_cluster_up"] {
        assert!(shown.insert(name.to_owned(), BTreeSet::new()).is_none(), "{name} without a server");
    }
    // What Prometheus adds itself.
    let added = ["instance", "job"].map(str::to_owned);
    let mut used = BTreeSet::new();
    for query in queries() {
        for (name, mut labels) in asked(&query) {
            let has = shown
                .get(&name)
                .unwrap_or_else(|| panic!("there is no {name}, which is asked for by {query}\n{text}"));
            labels.extend(grouped(&query));
            let unknown: Vec<_> =
                labels.iter().filter(|label| !has.contains(*label) && !added.contains(label)).collect();
            assert!(unknown.is_empty(), "{name} has no {unknown:?}: {query}");
            used.insert(name);
        }
    }
    let base = |name: &str| {
        let suffixes = ["_bucket", "_sum", "_count"];
        suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name).to_owned()
    };
    let used: BTreeSet<_> = used.iter().map(|name| base(name)).collect();
    let all: BTreeSet<_> = shown.keys().map(|name| base(name)).collect();
    shown.retain(|name, _| text.contains(name.as_str()));
    let described: BTreeSet<_> = shown.keys().map(|name| base(name)).collect();
    assert_eq!(
        all.difference(&used).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "a metric that nobody looks at"
    );
    for name in &described {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} says not what it means");
    }
}

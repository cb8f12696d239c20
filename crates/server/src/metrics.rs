//! What is counted, and how it is shown. Names begin with `switchboard_`; every label has a bounded set of values.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::Label;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::series::Remembering;

/// Seconds: from what a health check takes to what a long turn takes.
const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Seconds that people wait for a first word: up to what providers are given by default.
const FIRST_TEXT_BUCKETS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0];
/// Seconds between two pieces of a stream: from a token's time to the silence that ends a call.
const GAP_BUCKETS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds of a whole turn.
const TURN_BUCKETS: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0];
/// Seconds that a commit takes: from memory to a disk in trouble. Close together where a good disk lies.
const COMMIT_BUCKETS: &[f64] = &[
    0.00025, 0.0005, 0.00075, 0.001, 0.00125, 0.0015, 0.002, 0.0025, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01,
    0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Seconds of a call that has a tenth of one.
const CALL_BUCKETS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

/// Buckets that differ from [`DURATION_BUCKETS`].
const BUCKETS: &[(&str, &[f64])] = &[
    ("switchboard_first_text_seconds", FIRST_TEXT_BUCKETS),
    ("switchboard_piece_gap_seconds", GAP_BUCKETS),
    ("switchboard_turn_duration_seconds", TURN_BUCKETS),
    ("switchboard_store_commit_seconds", COMMIT_BUCKETS),
    ("switchboard_cluster_call_seconds", CALL_BUCKETS),
];

/// The recorder is the process's own, as the `metrics` facade wants it: every server in the process shows the same numbers.
static METRICS: OnceLock<Metrics> = OnceLock::new();

/// Begins to count, once in the life of the process; a server does it as well. What is counted before is lost.
pub fn count() {
    Metrics::of_process();
}

/// A gauge's name and labels.
type Series = (&'static str, Vec<Label>);

/// Shows what the process counted.
#[derive(Clone)]
pub(crate) struct Metrics {
    prometheus: PrometheusHandle,
    /// The gauges that were shown by [`Metrics::show`].
    shown: Arc<Mutex<HashSet<Series>>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// The process's metrics; made the first time.
    pub(crate) fn of_process() -> Self {
        METRICS.get_or_init(|| Self { prometheus: install(), shown: Arc::default() }).clone()
    }

    /// The Prometheus text.
    pub(crate) fn render(&self) -> String {
        self.prometheus.render()
    }

    /// Histograms grow unless this is called every few seconds.
    pub(crate) fn upkeep(&self) {
        self.prometheus.run_upkeep();
    }

    /// Sets the gauges of what can come and go (providers, keys): one that was shown before and is not among these is no number
    /// any more.
    pub(crate) fn show(&self, gauges: Vec<(&'static str, Vec<Label>, f64)>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *shown);
        for (name, labels, value) in gauges {
            metrics::gauge!(name, labels.clone()).set(value);
            shown.insert((name, labels));
        }
        for (name, labels) in gone.into_iter().filter(|one| !shown.contains(one)) {
            metrics::gauge!(name, labels).set(f64::NAN);
        }
    }
}

fn install() -> PrometheusHandle {
    // Only an empty list of buckets is refused, and these have some.
    let duration = Matcher::Suffix("_seconds".to_owned());
    let mut builder =
        PrometheusBuilder::new().set_buckets_for_metric(duration, DURATION_BUCKETS).unwrap_or_default();
    for (name, buckets) in BUCKETS {
        let name = Matcher::Full((*name).to_owned());
        builder = builder.set_buckets_for_metric(name, buckets).unwrap_or_default();
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(Remembering(recorder)).is_err() {
        tracing::warn!("another metrics recorder is installed: /metrics shows nothing of this server");
    }
    describe();
    metrics::gauge!("switchboard_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    handle
}

/// What each number means. Those of other crates are described here, too: this is the list of all.
fn describe() {
    for (name, meaning) in [
        ("switchboard_requests_total", "Requests answered, by route template, method and status"),
        (
            "switchboard_turns_total",
            "Turns that ended, by the assistant and provider that answered, and status",
        ),
        (
            "switchboard_turns_taken_over_total",
            "Turns of gateways on the same store that are gone, which this one has settled",
        ),
        ("switchboard_fenced_total", "Times that others took this gateway for dead and its turns for theirs"),
        (
            "switchboard_attempts_total",
            "Attempts at providers that ended, by outcome: completed, incomplete, hedged, cancelled, draining or an error code",
        ),
        ("switchboard_tokens_total", "Tokens that providers reported"),
        (
            "switchboard_retry_budget_exhausted_total",
            "Retries that were not made because too many of a provider's recent calls were retries",
        ),
        (
            "switchboard_limit_checks_total",
            "Requests and turns whose key's limits were counted together with other gateways, or alone because Redis did not answer",
        ),
        (
            "switchboard_cluster_calls_total",
            "Calls of Redis, by outcome: ok, deadline, broken, refused, or down: not made because Redis is known to be gone",
        ),
        ("switchboard_limit_hits_total", "Requests that a key's limit refused, or would have"),
        (
            "switchboard_log_lines_dropped_total",
            "Lines of the log that were dropped because nobody took them in time",
        ),
        ("switchboard_config_reloads_total", "Times the configuration was read again, by outcome"),
    ] {
        metrics::describe_counter!(name, meaning);
    }
    for (name, meaning) in [
        ("switchboard_request_duration_seconds", "Until an answer's head was ready"),
        ("switchboard_first_text_seconds", "From a turn's acceptance to the first text that its readers see"),
        ("switchboard_piece_gap_seconds", "Between two pieces of text of one call"),
        ("switchboard_turn_duration_seconds", "From a turn's acceptance to its end"),
        ("switchboard_cluster_call_seconds", "What calls of Redis took"),
        ("switchboard_store_commit_seconds", "Until writes were durable, by outcome"),
    ] {
        metrics::describe_histogram!(name, meaning);
    }
    for (name, meaning) in [
        ("switchboard_open_streams", "Event streams being read"),
        ("switchboard_connections", "Connections open, by listener"),
        ("switchboard_running_turns", "Turns that run now"),
        ("switchboard_followed_turns", "Turns that run at another gateway and are read here"),
        ("switchboard_ready", "1 if turns are taken: the store answers and the gateway is not draining"),
        ("switchboard_cluster_up", "1 if Redis answers. There only where [cluster] is configured"),
        ("switchboard_store_up", "1 if the database server answers. There only for PostgreSQL"),
        ("switchboard_store_queued_writes", "Writes that wait for the store's next commit"),
        ("switchboard_provider_breaker", "1 for the state that a provider's breaker is in"),
        ("switchboard_provider_in_flight", "Calls of a provider under way"),
        (
            "switchboard_budget_left",
            "What a key may still spend in its span, reserves of running turns taken off",
        ),
        (
            "switchboard_config_last_reload_successful",
            "1 if the configuration in force is the one in the file",
        ),
        ("switchboard_build_info", "1, with the version"),
    ] {
        metrics::describe_gauge!(name, meaning);
    }
}

/// The numbers of requests that were answered alike.
#[derive(Clone)]
struct Answered {
    count: metrics::Counter,
    took: metrics::Histogram,
}

impl Answered {
    fn of(route: &str, method: &'static str, status: http::StatusCode) -> Self {
        let (route, status) = (route.to_owned(), status.as_str().to_owned());
        let count = metrics::counter!("switchboard_requests_total", "route" => route.clone(), "method" => method,
            "status" => status);
        let took = metrics::histogram!("switchboard_request_duration_seconds", "route" => route);
        Self { count, took }
    }
}

/// By method and status, then by route: as many as the numbers themselves.
type AllAnswered = HashMap<(&'static str, http::StatusCode), HashMap<String, Answered>>;

thread_local! {
    static ANSWERED: RefCell<AllAnswered> = RefCell::default();
}

/// A request was answered.
pub(crate) fn request(route: &str, method: &http::Method, status: http::StatusCode, took: Duration) {
    let method = known(method);
    ANSWERED.with_borrow_mut(|answered| {
        let routes = answered.entry((method, status)).or_default();
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Answered::of(route, method, status));
        }
        if let Some(Answered { count, took: times }) = routes.get(route) {
            count.increment(1);
            times.record(took.as_secs_f64());
        }
    });
}

/// Methods are the client's to invent: those that we don't know are one.
pub(crate) fn known(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// A limit of a key was hit: `requests`, `concurrency` or `budget`.
pub(crate) fn limit_hit(limit: &'static str, enforced: bool) {
    let enforced = if enforced { "true" } else { "false" };
    metrics::counter!("switchboard_limit_hits_total", "limit" => limit, "enforced" => enforced).increment(1);
}

/// A limit was asked for in a cluster: `requests` or `turns`, counted with the other gateways or by this one alone.
pub(crate) fn limit_check(limit: &'static str, shared: bool) {
    let counted = if shared { "together" } else { "alone" };
    metrics::counter!("switchboard_limit_checks_total", "limit" => limit, "counted" => counted).increment(1);
}

/// Counts something as long as it lives.
#[derive(Debug)]
pub(crate) struct Gauge(Which);

#[derive(Debug, Clone, Copy)]
enum Which {
    Streams,
    Connections(&'static str),
}

impl Gauge {
    pub(crate) fn streams() -> Self {
        Self::of(Which::Streams)
    }

    pub(crate) fn connections(listener: &'static str) -> Self {
        Self::of(Which::Connections(listener))
    }

    fn of(which: Which) -> Self {
        gauge(which).increment(1.0);
        Self(which)
    }
}

fn gauge(which: Which) -> metrics::Gauge {
    match which {
        Which::Streams => metrics::gauge!("switchboard_open_streams"),
        Which::Connections(listener) => {
            metrics::gauge!("switchboard_connections", "listener" => listener)
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        gauge(self.0).decrement(1.0);
    }
}

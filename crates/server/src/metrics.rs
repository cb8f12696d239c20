//! What is counted, and how it is shown. Names begin with `switchboard_`; every label has a bounded set of values.

use std::sync::OnceLock;
use std::time::Duration;

use chat::LedgerRow;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds: from what a health check takes to what a long turn takes.
const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The recorder is the process's own, as the `metrics` facade wants it: every server in the process shows the same numbers.
static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Shows what the process counted.
#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// The process's metrics; made the first time.
    pub(crate) fn of_process() -> Self {
        Self(HANDLE.get_or_init(install).clone())
    }

    /// The Prometheus text.
    pub(crate) fn render(&self) -> String {
        self.0.render()
    }

    /// Histograms grow unless this is called every few seconds.
    pub(crate) fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

fn install() -> PrometheusHandle {
    let duration = Matcher::Suffix("_seconds".to_owned());
    // Only an empty list of buckets is refused.
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(duration, DURATION_BUCKETS).unwrap_or_default();
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another metrics recorder is installed: /metrics shows nothing of this server");
    }
    metrics::describe_counter!(
        "switchboard_requests_total",
        "Requests answered, by route template and status"
    );
    metrics::describe_histogram!("switchboard_request_duration_seconds", "Until an answer's head was ready");
    metrics::describe_gauge!("switchboard_open_streams", "Event streams being read");
    metrics::describe_gauge!("switchboard_connections", "Connections open, by listener");
    metrics::describe_gauge!("switchboard_running_turns", "Turns that run now");
    metrics::describe_gauge!(
        "switchboard_store_queued_writes",
        "Writes that wait for the store's next commit"
    );
    metrics::describe_counter!(
        "switchboard_turns_total",
        "Turns that ended, by how their last call came out"
    );
    metrics::describe_counter!("switchboard_calls_total", "Calls of providers, by outcome");
    metrics::describe_counter!("switchboard_tokens_total", "Tokens that providers reported");
    metrics::describe_counter!(
        "switchboard_limit_hits_total",
        "Requests that a key's limit refused, or would have"
    );
    metrics::gauge!("switchboard_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    handle
}

/// A request was answered.
pub(crate) fn request(route: &str, method: &http::Method, status: http::StatusCode, took: Duration) {
    let (route, method) = (route.to_owned(), known(method));
    metrics::counter!("switchboard_requests_total", "route" => route.clone(), "method" => method,
        "status" => status.as_str().to_owned())
    .increment(1);
    metrics::histogram!("switchboard_request_duration_seconds", "route" => route).record(took.as_secs_f64());
}

/// Methods are the client's to invent: those that we don't know are one.
fn known(method: &http::Method) -> &'static str {
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

/// A turn ended: all its calls.
pub(crate) fn turn(rows: &[LedgerRow]) {
    for row in rows {
        let (assistant, provider) = (row.assistant.to_string(), row.provider.to_string());
        metrics::counter!("switchboard_calls_total", "assistant" => assistant.clone(), "provider" => provider.clone(),
            "outcome" => row.outcome.clone())
        .increment(1);
        if let Some(tokens) = row.usage.as_ref().and_then(chat::Usage::tokens) {
            metrics::counter!("switchboard_tokens_total", "assistant" => assistant, "provider" => provider)
                .increment(tokens);
        }
    }
    if let Some(last) = rows.iter().rfind(|row| row.answered).or(rows.last()) {
        metrics::counter!("switchboard_turns_total", "assistant" => last.assistant.to_string(),
            "provider" => last.provider.to_string(), "status" => last.outcome.clone())
        .increment(1);
    }
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

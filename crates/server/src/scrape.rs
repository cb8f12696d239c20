//! `GET /metrics`: what is only known when asked is measured now, then all is shown.

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use metrics::Label;

use crate::app::App;

/// The states of a breaker: one gauge each, so that a query can name one.
const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];

type Gauges = Vec<(&'static str, Vec<Label>, f64)>;

/// The text that Prometheus reads. No key is asked for.
pub(crate) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    metrics::gauge!("switchboard_running_turns").set(count(app.engine.running()));
    metrics::gauge!("switchboard_followed_turns").set(count(app.engine.followed()));
    metrics::gauge!("switchboard_store_queued_writes")
        .set(count(app.back.maintenance.status().queued_writes));
    metrics::gauge!("switchboard_ready").set(if app.engine.ready().await.is_ok() { 1.0 } else { 0.0 });
    // So that they are there before anything was counted: an alert on what has not happened yet sees zero, not nothing.
    for name in ["switchboard_turns_taken_over_total", "switchboard_fenced_total"] {
        metrics::counter!(name).increment(0);
    }
    metrics::gauge!("switchboard_open_streams").increment(0.0);
    let mut gauges = providers(&app);
    for left in app.counters.budgets_left() {
        let labels = vec![
            Label::new("key", left.key_name.to_string()),
            Label::new("key_id", left.key.to_string()),
            Label::new("per", left.per.as_str()),
            Label::new("unit", left.unit),
        ];
        gauges.push(("switchboard_budget_left", labels, left.amount));
    }
    app.back.metrics.show(gauges);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.back.metrics.render())
}

fn providers(app: &App) -> Gauges {
    let mut gauges = Gauges::new();
    for provider in app.engine.providers() {
        let name = || Label::new("provider", provider.name.to_string());
        for state in BREAKER_STATES {
            let is = if provider.status.breaker == state { 1.0 } else { 0.0 };
            gauges.push(("switchboard_provider_breaker", vec![name(), Label::new("state", state)], is));
        }
        gauges.push(("switchboard_provider_in_flight", vec![name()], count(provider.status.in_flight)));
        metrics::counter!("switchboard_attempts_total", vec![name(), Label::new("outcome", "completed")])
            .increment(0);
        metrics::counter!("switchboard_retry_budget_exhausted_total", vec![name()]).increment(0);
    }
    gauges
}

/// As a gauge takes it: nothing that is counted here comes near the bound.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

//! What is counted of Redis. `server/src/metrics.rs` says what the numbers mean.

use std::time::Duration;

use crate::LinkError;

/// Redis answers, or doesn't.
pub(crate) fn up(up: bool) {
    metrics::gauge!("switchboard_cluster_up").set(if up { 1.0 } else { 0.0 });
}

/// A call ended.
pub(crate) fn call(operation: &'static str, outcome: Result<(), &LinkError>, took: Duration) {
    let word = match outcome {
        Ok(()) => "ok",
        Err(LinkError::Down) => "down",
        Err(LinkError::Deadline) => "deadline",
        Err(LinkError::Broken) => "broken",
        Err(LinkError::Refused(_)) => "refused",
    };
    metrics::counter!("switchboard_cluster_calls_total", "operation" => operation, "outcome" => word)
        .increment(1);
    // A call that was not made took no time, and would only make Redis look fast.
    if outcome != Err(&LinkError::Down) {
        metrics::histogram!("switchboard_cluster_call_seconds", "operation" => operation)
            .record(took.as_secs_f64());
    }
}

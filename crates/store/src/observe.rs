//! What can be seen of the store from outside: how long its writes take to be durable.

use std::time::Duration;

/// Writes were committed together, or were lost for the database's sake. What they refused for their own sake is no failure.
pub(crate) fn commit(took: Duration, done: bool) {
    let outcome = if done { "ok" } else { "failed" };
    metrics::histogram!("switchboard_store_commit_seconds", "outcome" => outcome).record(took);
}

/// Whether the database server answers.
pub(crate) fn up(up: bool) {
    metrics::gauge!("switchboard_store_up").set(if up { 1.0 } else { 0.0 });
}

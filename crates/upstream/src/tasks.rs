//! This crate's only spawn.

use std::sync::Weak;
use std::time::Duration;

/// Looks after something again and again, until it is gone or there is nothing left to look at. Shutdown need not wait for it: it
/// holds nothing, and does nothing that anybody would miss.
pub(crate) fn sweep<T: Send + Sync + 'static>(thing: Weak<T>, every: Duration, sweep: fn(&T) -> bool) {
    #[expect(clippy::disallowed_methods, reason = "nothing waits for this task: it holds nothing")]
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            if !thing.upgrade().is_some_and(|thing| sweep(&thing)) {
                return;
            }
        }
    });
}

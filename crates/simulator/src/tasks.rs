//! This crate's only spawn: one task a connection, owned by the call of `serve` that accepted it.

use std::future::Future;

use tokio::task::JoinSet;

/// The open connections. Dropping it ends them.
///
/// A `JoinSet` and not a tracker with a token: thousands of streams are polled tens of thousands of times a second
/// here, and a token would be looked at on each of them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    tasks: JoinSet<()>,
}

impl Connections {
    /// Serves one more connection.
    pub(crate) fn start(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(connection);
    }

    /// Forgets a connection that has ended; waits for one, and for ever if there is none.
    pub(crate) async fn reap(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Ends every connection and waits until they are gone.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

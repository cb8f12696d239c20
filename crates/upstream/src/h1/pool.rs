//! Connections that wait for the next call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::connection::Connection;
use crate::client::POOL_IDLE;
use crate::tasks;

/// The connections of one upstream that wait.
#[derive(Debug)]
pub(super) struct Pool {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The one that has waited longest is the first.
    connections: Vec<(Connection, Instant)>,
    /// Somebody looks for those that have waited too long.
    is_swept: bool,
}

impl Pool {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, waiting: Mutex::default() })
    }

    /// One that can be used: that which has waited shortest.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            let (mut connection, since) = self.lock().connections.pop()?;
            if since.elapsed() >= POOL_IDLE {
                // All others have waited longer.
                self.lock().connections.clear();
                return None;
            }
            if connection.is_quiet(since) {
                return Some(connection);
            }
        }
    }

    /// Keeps one for the next call.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        let mut waiting = self.lock();
        if waiting.connections.len() >= self.most {
            return;
        }
        waiting.connections.push((connection, Instant::now()));
        if !std::mem::replace(&mut waiting.is_swept, true) {
            drop(waiting);
            tasks::sweep(Arc::downgrade(self), POOL_IDLE, Self::sweep);
        }
    }

    /// Closes those that have waited too long. Whether any are left to look at again.
    fn sweep(&self) -> bool {
        let mut waiting = self.lock();
        let old = waiting.connections.partition_point(|(_, since)| since.elapsed() >= POOL_IDLE);
        waiting.connections.drain(..old);
        waiting.is_swept = !waiting.connections.is_empty();
        waiting.is_swept
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

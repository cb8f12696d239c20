//! Connections that wait for the next call.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::POOL_IDLE;
use crate::tasks;

/// How long what the runtime knows of a connection counts as all there is to know.
const KNOWN_FOR: Duration = Duration::from_millis(50);

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: TcpStream,
}

impl Connection {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket }
    }

    /// Whether nothing has come while it waited: neither its end nor bytes that nobody asked for.
    fn is_quiet(&self, since: Instant) -> bool {
        // What the runtime knows is as good as what the system says, where it has only just looked.
        let known = self.socket.ready(Interest::READABLE).now_or_never().is_none();
        if known && since.elapsed() < KNOWN_FOR {
            return true;
        }
        let mut byte = [0];
        matches!(self.socket.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

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
            let (connection, since) = self.lock().connections.pop()?;
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

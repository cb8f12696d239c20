//! Connections that wait for the next call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id};
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
    homes: Vec<Home>,
    /// Somebody looks for those that have waited too long.
    is_swept: bool,
}

/// Those that one runtime listens to.
#[derive(Debug)]
struct Home {
    runtime: Id,
    /// The one that has waited longest is the first.
    connections: Vec<(Connection, Instant)>,
}

impl Waiting {
    fn count(&self) -> usize {
        self.homes.iter().map(|home| home.connections.len()).sum()
    }

    /// The one that has waited shortest: one of this runtime, else of the one that has the most.
    fn take(&mut self, runtime: Id) -> Option<(Connection, Instant)> {
        if let Some(own) = self.homes.iter_mut().find(|home| home.runtime == runtime)
            && let Some(own) = own.connections.pop()
        {
            return Some(own);
        }
        self.homes.iter_mut().max_by_key(|home| home.connections.len())?.connections.pop()
    }

    fn put(&mut self, connection: Connection) {
        let waiting = (connection, Instant::now());
        let runtime = waiting.0.home();
        match self.homes.iter_mut().find(|home| home.runtime == runtime) {
            Some(home) => home.connections.push(waiting),
            None => self.homes.push(Home { runtime, connections: vec![waiting] }),
        }
    }
}

impl Pool {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, waiting: Mutex::default() })
    }

    /// One that can be used, for the runtime of the caller.
    pub(super) fn take(&self) -> Option<Connection> {
        let here = Handle::current().id();
        loop {
            let (mut connection, since) = self.lock().take(here)?;
            if since.elapsed() < POOL_IDLE
                && connection.is_quiet(since)
                && let Ok(connection) = connection.move_here()
            {
                return Some(connection);
            }
        }
    }

    /// Closes all that wait.
    pub(super) fn clear(&self) {
        let homes = std::mem::take(&mut self.lock().homes);
        drop(homes);
    }

    /// Keeps one for the next call.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        let mut waiting = self.lock();
        if waiting.count() >= self.most {
            return;
        }
        waiting.put(connection);
        if !std::mem::replace(&mut waiting.is_swept, true) {
            drop(waiting);
            tasks::sweep(Arc::downgrade(self), POOL_IDLE, Self::sweep);
        }
    }

    /// Closes those that have waited too long. Whether any are left to look at again.
    fn sweep(&self) -> bool {
        let mut waiting = self.lock();
        for home in &mut waiting.homes {
            let old = home.connections.partition_point(|(_, since)| since.elapsed() >= POOL_IDLE);
            home.connections.drain(..old);
        }
        // A runtime that is gone is not heard of again.
        waiting.homes.retain(|home| !home.connections.is_empty());
        waiting.is_swept = !waiting.homes.is_empty();
        waiting.is_swept
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::{Buf as _, Bytes};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Puts a connection of the caller's runtime into the pool; its other end.
    async fn put_one(pool: &Arc<Pool>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        pool.put(Connection::new(ours.unwrap(), None));
        theirs.unwrap().0
    }

    #[test]
    fn a_runtime_gets_its_own_connection_back() {
        let (one, two) = (runtime(), runtime());
        let pool = Pool::new(8);
        let _others = [&one, &two].map(|runtime| runtime.block_on(put_one(&pool)));
        for runtime in [&one, &two] {
            let taken = runtime.block_on(async { pool.take().unwrap() });
            assert_eq!(taken.home(), runtime.handle().id());
        }
    }

    #[test]
    fn a_connection_moves_to_the_runtime_that_needs_it() {
        let (one, two) = (runtime(), runtime());
        let pool = Pool::new(8);
        let mut other = one.block_on(async { put_one(&pool).await.into_std().unwrap() });
        // Its first runtime does nothing from here on: whatever is heard of the connection is heard by the second.
        two.block_on(async {
            let mut taken = pool.take().unwrap();
            assert_eq!(taken.home(), two.handle().id());
            let echo = std::thread::spawn(move || {
                use std::io::{Read as _, Write as _};
                other.set_nonblocking(false).unwrap();
                let mut asked = [0; 3];
                other.read_exact(&mut asked).unwrap();
                other.write_all(&asked).unwrap();
            });
            let mut unsent = Bytes::from_static(b"a").chain(Bytes::from_static(b"sk"));
            poll_fn(|context| taken.poll_write(context, &mut unsent)).await.unwrap();
            let mut answer = Vec::new();
            poll_fn(|context| taken.poll_read(context, |bytes| answer.extend_from_slice(bytes)))
                .await
                .unwrap();
            echo.join().unwrap();
            assert_eq!(answer, b"ask");
        });
    }

    #[test]
    fn no_more_wait_than_may_be_open() {
        let (one, two) = (runtime(), runtime());
        let pool = Pool::new(1);
        let _others = [&one, &two].map(|runtime| runtime.block_on(put_one(&pool)));
        assert_eq!(pool.lock().count(), 1);
    }
}

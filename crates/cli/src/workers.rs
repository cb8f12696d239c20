//! The threads that serve clients: one for each core, each with a runtime of its own.
//!
//! A connection lives on one of them with all that it begins: its turns, their clocks, their calls. So nothing of a request changes
//! threads, nobody has to be woken for it, and what it needs is in that core's caches. What belongs to the process and not to a client
//! (signals, reloads, the store, other gateways, admins) has the runtime that the process began with.

use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::tasks;

/// The threads. They end when this is dropped; what still runs there is dropped.
#[derive(Debug)]
pub(crate) struct Workers {
    handles: Vec<Handle>,
    _stop: DropGuard,
}

impl Workers {
    /// One for each core that the process may use.
    ///
    /// # Errors
    /// The system gives no further thread, or no further file.
    pub(crate) fn start() -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let count = available_parallelism().map_or(1, usize::from);
        let mut handles = Vec::with_capacity(count);
        for _ in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            tasks::spawn_runtime(runtime, stop.clone().cancelled_owned())?;
        }
        Ok(Self { handles, _stop: stop.drop_guard() })
    }

    /// Where to run what comes from a client.
    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.handles.clone()
    }
}

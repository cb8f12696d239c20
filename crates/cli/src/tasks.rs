//! This crate's only spawn. Shutdown waits for the tracker, with a bound.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;

/// Runs a task of the process itself on its tracker.
pub(crate) fn spawn<T: Send + 'static>(
    tracker: &TaskTracker,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tracker.spawn(task)
}

/// How often a worker's runtime wakes whatever happens.
///
/// A clock that is set for earlier than all that run wakes the runtime so that it looks: a system call, also where it is awake and sets
/// the clock itself. Each request has clocks, and between requests none may run. One that is always earlier spares them that.
const TICK: Duration = Duration::from_secs(1);

/// Waits until told to stop, and does something at each tick, the first at once.
async fn until(stop: impl Future<Output = ()>, mut tick: impl FnMut()) {
    // Not with the clock's first, which is late by a moment.
    tick();
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ticking = async {
        loop {
            ticks.tick().await;
            tick();
        }
    };
    tokio::select! {
        () = stop => {}
        () = ticking => {}
    }
}

/// Runs a runtime on a thread of its own until told to stop; what still runs on it then is dropped. `tick` is done there at once, and then
/// each second.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn spawn_runtime(
    runtime: Runtime,
    tick: impl FnMut() + Send + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("worker".to_owned());
    thread.spawn(move || {
        runtime.block_on(until(stop, tick));
        // A thread that still reads the store would hold the process.
        runtime.shutdown_background();
    })?;
    Ok(())
}

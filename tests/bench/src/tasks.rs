//! The only place where tasks are made. Each thread of the load and of the upstream has a runtime of its own: no work moves
//! between threads, which costs the least.

use std::future::Future;

use tokio::task::JoinHandle;

/// Runs a task on the thread's own runtime.
#[expect(clippy::disallowed_methods, reason = "the place where it is allowed")]
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

/// Runs a future to its end on a runtime of this thread alone.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

/// Runs `work(index)` on each of `count` threads and gives their results.
pub(crate) fn threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..count).map(|index| scope.spawn(move || work(index))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

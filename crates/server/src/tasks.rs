//! This crate's only spawn. Shutdown waits for the tracker, with a bound.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// So many more tasks may a worker have than the one with the fewest, and still keep those that come from itself: whoever wakes a task
/// of another thread pays for it.
const KEEP_BEYOND: usize = 4;

/// Where connections are served.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    workers: Arc<OnceLock<Vec<Worker>>>,
}

/// A runtime that connections are spread over.
#[derive(Debug)]
struct Worker {
    handle: Handle,
    tasks: Arc<AtomicUsize>,
}

/// A task of a worker, as long as this lives.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tasks {
    pub(crate) fn new(tracker: TaskTracker) -> Self {
        Self { tracker, workers: Arc::default() }
    }

    /// From now on what is spread runs on these. The first told stand.
    pub(crate) fn spread_over(&self, workers: Vec<Handle>) {
        let workers = workers.into_iter().map(|handle| Worker { handle, tasks: Arc::default() }).collect();
        // Nobody tells twice.
        let _ = self.workers.set(workers);
    }

    /// The same, with everything where it comes from.
    pub(crate) fn at_home(&self) -> Self {
        Self::new(self.tracker.clone())
    }

    /// Runs a task beside the others, where it comes from.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Runs a task, with all that it begins, on the worker that has the fewest; where there are none, where it comes from.
    pub(crate) fn spread(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(worker) = self.worker() else {
            self.tracker.spawn(task);
            return;
        };
        worker.tasks.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&worker.tasks));
        // Not an `async` block: it would keep the task's future twice.
        self.tracker.spawn_on(task.map(move |()| drop(counted)), &worker.handle);
    }

    fn worker(&self) -> Option<&Worker> {
        let workers = self.workers.get()?;
        let tasks = |worker: &&Worker| worker.tasks.load(Ordering::Relaxed);
        let idlest = workers.iter().min_by_key(tasks)?;
        let own = Handle::try_current().ok().map(|own| own.id());
        let own = workers.iter().find(|worker| Some(worker.handle.id()) == own);
        Some(own.filter(|own| tasks(own) <= tasks(&idlest) + KEEP_BEYOND).unwrap_or(idlest))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::oneshot;

    use super::*;

    fn workers<const N: usize>() -> [Runtime; N] {
        [(); N].map(|()| Builder::new_multi_thread().worker_threads(1).build().unwrap())
    }

    fn spread_over(workers: &[Runtime]) -> Tasks {
        let tasks = Tasks::new(TaskTracker::new());
        tasks.spread_over(workers.iter().map(|worker| worker.handle().clone()).collect());
        tasks
    }

    /// How many tasks each worker has.
    fn counts(tasks: &Tasks) -> Vec<usize> {
        let workers = tasks.workers.get().unwrap().iter();
        workers.map(|worker| worker.tasks.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn tasks_are_spread_evenly() {
        let workers: [Runtime; 3] = workers();
        let tasks = spread_over(&workers);
        for _ in 0..9 {
            tasks.spread(pending());
        }
        assert_eq!(counts(&tasks), [3, 3, 3]);
    }

    #[test]
    fn a_task_that_has_ended_counts_no_more() {
        let workers: [Runtime; 2] = workers();
        let tasks = spread_over(&workers);
        let (ended, end) = oneshot::channel::<()>();
        tasks.spread(async move { drop(ended) });
        end.blocking_recv().unwrap_err();
        tasks.tracker.close();
        workers[0].block_on(tasks.tracker.wait());
        assert_eq!(counts(&tasks), [0, 0]);
    }

    #[test]
    fn what_a_worker_begins_stays_there_within_reason() {
        let workers: [Runtime; 2] = workers();
        let tasks = spread_over(&workers);
        workers[1].block_on(async {
            for _ in 0..KEEP_BEYOND + 1 {
                tasks.spread(pending());
            }
            assert_eq!(counts(&tasks), [0, KEEP_BEYOND + 1]);
            tasks.spread(pending());
        });
        assert_eq!(counts(&tasks), [1, KEEP_BEYOND + 1]);
    }

    #[test]
    fn without_workers_tasks_run_where_they_come_from() {
        let [home]: [Runtime; 1] = workers();
        let tasks = spread_over(&[]).at_home();
        let (tell, told) = oneshot::channel();
        home.block_on(async {
            tasks.spread(async move { tell.send(Handle::current().id()).unwrap() });
            assert_eq!(told.await.unwrap(), home.handle().id());
        });
    }
}

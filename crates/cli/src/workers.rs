//! The threads that serve clients: one for each core, each with a runtime of its own.
//!
//! A connection lives on one of them with all that it begins: its turns, their clocks, their calls. So nothing of a request changes
//! threads, nobody has to be woken for it, and what it needs is in that core's caches. What belongs to the process and not to a client
//! (signals, reloads, the store, other gateways, admins) has the runtime that the process began with.

use std::thread::available_parallelism;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
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
    /// One for each core that the process may use. `commits` says how often the store's writer has written so far.
    ///
    /// # Errors
    /// The system gives no further thread, or no further file.
    pub(crate) fn start(commits: impl Fn() -> u64 + Clone + Send + 'static) -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let count = available_parallelism().map_or(1, usize::from);
        // Where it cannot be told, none is held anywhere.
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let cores = cores_for(count, &allowed);
        let mut handles = Vec::with_capacity(count);
        for number in 0..count {
            // Threads that read the store are begun by a worker's: they would have to share its core.
            let anywhere = move || sched_setaffinity(None, &allowed).unwrap_or(());
            let runtime = Builder::new_current_thread().enable_all().on_thread_start(anywhere).build()?;
            handles.push(runtime.handle().clone());
            let mut hold = cores.get(number).map(|core| Hold::new(*core, allowed));
            let commits = commits.clone();
            let tick = move || {
                if let Some(hold) = &mut hold {
                    hold.renew(commits());
                }
            };
            tasks::spawn_runtime(runtime, tick, stop.clone().cancelled_owned())?;
        }
        Ok(Self { handles, _stop: stop.drop_guard() })
    }

    /// Where to run what comes from a client.
    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.handles.clone()
    }
}

/// Which of the cores that the process may use is each worker's; none where they are not one for each.
///
/// Where the process has only a share of the time of its cores (a quota), as many workers as that share are left to the system: others run
/// on these cores as well.
fn cores_for(workers: usize, allowed: &CpuSet) -> Vec<usize> {
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    if cores.len() == workers { cores } else { Vec::new() }
}

/// From how many commits between two looks on the store's writer needs so much of a core that it must not meet a held worker there.
const BUSY: u64 = 250;

/// Holds a worker's thread to a core while it is worth it.
///
/// It sleeps often and for a moment, and the system puts a thread that wakes where it sees fit: now and then two workers on one core, where
/// one waits while the other core has nothing to do. So each stays on its own; but not beside the store's writer, which is on
/// either core for half of the time when it is busy: a worker that may not make way for it waits, and its clients with it.
#[derive(Debug)]
struct Hold {
    only: CpuSet,
    allowed: CpuSet,
    held: bool,
    commits: u64,
}

impl Hold {
    fn new(core: usize, allowed: CpuSet) -> Self {
        let mut only = CpuSet::new();
        only.set(core);
        Self { only, allowed, held: false, commits: 0 }
    }

    /// Looks again, on the worker's thread. `commits` of the writer so far.
    fn renew(&mut self, commits: u64) {
        let free = commits.saturating_sub(self.commits) >= BUSY;
        self.commits = commits;
        if free == self.held {
            self.held = !free;
            // Where that is not allowed it runs on any.
            sched_setaffinity(None, if free { &self.allowed } else { &self.only }).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;

    #[test]
    fn each_worker_has_a_core_of_its_own_or_none_has() {
        let mut allowed = CpuSet::new();
        for core in [1, 4, 6] {
            allowed.set(core);
        }
        assert_eq!(cores_for(3, &allowed), [1, 4, 6]);
        assert!(cores_for(2, &allowed).is_empty(), "a quota");
    }

    #[tokio::test]
    async fn a_worker_stays_on_its_core_and_who_reads_for_it_does_not() {
        let allowed = sched_getaffinity(None).unwrap();
        let workers = Workers::start(|| 0).unwrap();
        let tracker = TaskTracker::new();
        let has = || sched_getaffinity(None).unwrap();
        for (number, handle) in workers.handles().iter().enumerate() {
            let reading = tracker.clone();
            let both = async move { (has(), reading.spawn_blocking(has).await.unwrap()) };
            let (worker, reader) = tracker.spawn_on(both, handle).await.unwrap();
            let cores = cores_for(workers.handles().len(), &allowed);
            match cores.get(number) {
                Some(core) => assert!(worker.count() == 1 && worker.is_set(*core)),
                None => assert_eq!(worker, allowed),
            }
            assert_eq!(reader, allowed);
        }
    }

    /// On a thread of its own, which the test harness does not use again.
    #[test]
    fn a_worker_makes_way_for_a_busy_writer() {
        let looks = std::thread::spawn(|| {
            let allowed = sched_getaffinity(None).unwrap();
            let core = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)).unwrap();
            let mut hold = Hold::new(core, allowed);
            let so_far = [0, BUSY - 1, 3 * BUSY, 4 * BUSY, 4 * BUSY + 1];
            so_far.map(|commits| {
                hold.renew(commits);
                sched_getaffinity(None).unwrap() == allowed
            })
        });
        let several = sched_getaffinity(None).unwrap().count() > 1;
        assert_eq!(looks.join().unwrap(), [false, false, true, true, false].map(|free| free || !several));
    }
}

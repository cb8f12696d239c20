//! Processes: started on their cores, measured from `/proc`, stopped.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How long a process may take to leave before it is killed.
const LEAVE_MAX: Duration = Duration::from_secs(8);

/// Which cores do what; none where there are too few to part them.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    /// For what is measured.
    pub(crate) measured: Option<String>,
    /// For upstream and load.
    pub(crate) load: Option<String>,
    /// How many threads upstream and load have each.
    pub(crate) load_threads: usize,
    /// How many workers nginx has.
    pub(crate) measured_threads: usize,
}

impl Cores {
    /// Two for what is measured, the rest for the others, where there are four.
    pub(crate) fn of_machine() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        if count < 4 {
            return Self {
                measured: None,
                load: None,
                load_threads: count.min(2),
                measured_threads: count.min(2),
            };
        }
        Self {
            measured: Some("0,1".to_owned()),
            load: Some(format!("2-{}", count - 1)),
            load_threads: (count - 2).min(4),
            measured_threads: 2,
        }
    }

    /// Puts this process, and what it starts from now on, on the cores of the load.
    pub(crate) fn take_load(&self) -> anyhow::Result<()> {
        if let Some(cores) = &self.load {
            let pid = std::process::id().to_string();
            let done = Command::new("taskset").args(["-a", "-p", "-c", cores, &pid]).output();
            anyhow::ensure!(done.context("taskset")?.status.success(), "taskset failed");
        }
        Ok(())
    }
}

/// A process that was started here; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    tick: Duration,
}

/// Memory of a process and its children, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) rss: u64,
    pub(crate) pss: u64,
}

impl Process {
    /// Starts a program on cores.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        cores: Option<&str>,
        pipes: impl FnOnce(&mut Command) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let mut command = match cores {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cores]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::null());
        pipes(&mut command)?;
        let child = command.spawn().with_context(|| program.display().to_string())?;
        let ticks = Command::new("getconf").arg("CLK_TCK").output().ok();
        let ticks = ticks.and_then(|said| String::from_utf8(said.stdout).ok()?.trim().parse().ok());
        Ok(Self { child, tick: Duration::from_secs(1) / ticks.unwrap_or(100) })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    fn pids(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        std::iter::once(pid).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// Processor time so far, user and system together, of it and its children. Exact to a tick, mostly 10 ms.
    pub(crate) fn cpu(&self) -> Duration {
        self.pids().into_iter().filter_map(ticks).map(|ticks| self.tick * ticks).sum()
    }

    /// The same to the nanosecond, of the threads that are there.
    pub(crate) fn cpu_exact(&self) -> Duration {
        let mut nanos = 0;
        for pid in self.pids() {
            let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.flatten() {
                let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
                nanos += text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
            }
        }
        Duration::from_nanos(nanos)
    }

    /// Memory now.
    pub(crate) fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for pid in self.pids() {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let of = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
            };
            memory.rss += of("Rss:");
            memory.pss += of("Pss:");
        }
        memory
    }

    /// Proportional set size now, in MiB.
    pub(crate) fn mib(&self) -> f64 {
        self.memory().pss as f64 / 1048576.0
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn stop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).output();
        let until = Instant::now() + LEAVE_MAX;
        while Instant::now() < until {
            if !self.is_alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// User and system time of one process, in ticks.
fn ticks(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(user + system)
}

//! Under what conditions a run was made: without them its numbers mean nothing.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::machine::Cores;
use crate::plan::Plan;
use crate::report::Spread;

/// The conditions of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Conditions {
    date: String,
    commit: String,
    quick: bool,
    processor: String,
    cores: usize,
    cores_of_gateway: Option<String>,
    cores_of_load: Option<String>,
    memory_mib: u64,
    kernel: String,
    rustc: String,
    nginx: String,
    pub(crate) open_files: u64,
    /// Load averages when the run began: what else the machine did.
    load_average: String,
    /// Writing 4 KiB at a file's end and waiting until it is on the disk.
    pub(crate) fsync_ms: Spread,
    /// How late a thread that sleeps a millisecond is woken, on a machine that has nothing else to do: what the system, and whoever the
    /// machine is shared with, add to every latency.
    wake_ms: Spread,
}

impl Conditions {
    /// Looks at the machine.
    pub(crate) fn now(plan: &Plan, cores: &Cores) -> anyhow::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let limits = read("/proc/self/limits");
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let limit = limit.and_then(|line| line.split_whitespace().next()?.parse().ok());
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory: u64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Ok(Self {
            date: said("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
            commit: plan.commit.clone(),
            quick: plan.quick,
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count(),
            cores_of_gateway: cores.measured.clone(),
            cores_of_load: cores.load.clone(),
            memory_mib: memory / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: said("rustc", &["--version"]),
            nginx: said("nginx", &["-v"]),
            open_files: limit.unwrap_or(1024),
            load_average: load_average(),
            fsync_ms: fsync(&plan.work, if plan.quick { 50 } else { 300 })?,
            wake_ms: wake(if plan.quick { 300 } else { 3000 }),
        })
    }

    /// As a list for people.
    pub(crate) fn markdown(&self) -> String {
        let cores = |cores: &Option<String>| cores.clone().unwrap_or_else(|| "all".to_owned());
        format!(
            "- {}, commit `{}`{}\n- {}, {} cores (gateway or nginx on {}, upstream and load on {}), {} MiB, Linux {}\n\
             - {}; {}; {} open files\n- load average at the beginning: {}\n- fsync of 4 KiB: p50 {:.2} ms, p99 {:.2} ms\n\
             - a thread that sleeps is woken late by: p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms\n",
            self.date,
            self.commit,
            if self.quick { ", a quick run: it shows that everything works and measures little" } else { "" },
            self.processor,
            self.cores,
            cores(&self.cores_of_gateway),
            cores(&self.cores_of_load),
            self.memory_mib,
            self.kernel,
            self.rustc,
            self.nginx,
            self.open_files,
            self.load_average,
            self.fsync_ms.p50,
            self.fsync_ms.p99,
            self.wake_ms.p50,
            self.wake_ms.p99,
            self.wake_ms.p999,
        )
    }
}

/// The load averages now.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// What a program says in its first line, on either of its outputs.
fn said(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return "none".to_owned() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

fn wake(times: usize) -> Spread {
    let nap = Duration::from_millis(1);
    let late = |_| {
        let due = Instant::now() + nap;
        std::thread::sleep(nap);
        u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX)
    };
    Spread::of((0..times).map(late).collect())
}

fn fsync(directory: &Path, times: usize) -> anyhow::Result<Spread> {
    let path = directory.join("fsync");
    let mut file = fs::File::create(&path)?;
    let mut nanos = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        nanos.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    fs::remove_file(path)?;
    Ok(Spread::of(nanos))
}

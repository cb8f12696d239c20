//! The cases, in order.

use std::fs;
use std::time::Duration;

use crate::conditions::Conditions;
use crate::dialect::DIALECTS;
use crate::grow;
use crate::json::{self, Outcome};
use crate::machine::{Cores, Process};
use crate::plan::Plan;
use crate::postgres;
use crate::report::{self, Row};
use crate::rounds::Turn;
use crate::slow;
use crate::streams::{self, Slow};
use crate::targets::{self, Proxy, Setting, Target, Upstream};
use crate::timed::slow_load;

/// Time between two pieces of a slow stream.
pub(crate) const EVERY: Duration = Duration::from_millis(250);
/// Rounds of the case whose point is how late a piece is.
const SLOW_ROUNDS: usize = 5;
/// Pieces of a stream without delay.
const FAST_PIECES: usize = 1000;
/// Pieces of a stream that is not read: about 2 MB of text.
const STUCK_PIECES: usize = 40_000;
/// File descriptors that a proxy needs beside two for each stream.
const SPARE_FILES: u64 = 500;

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) cores: Cores,
    pub(crate) upstream: Upstream,
    rows: Vec<Row>,
    wrong: u64,
}

/// Runs what is wanted. True when everything was answered whole.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<bool> {
    fs::create_dir_all(&plan.work)?;
    let cores = Cores::of_machine();
    let conditions = Conditions::now(plan, &cores)?;
    cores.take_load()?;
    let upstream = Upstream::start(&cores)?;
    let mut run = Run { plan, cores, upstream, rows: Vec::new(), wrong: 0 };
    run.start_and_idle()?;
    run.json()?;
    run.fast()?;
    run.tls()?;
    run.adapters()?;
    run.stored_turns()?;
    run.on_postgres()?;
    run.overload()?;
    run.grow()?;
    let rounds = (if plan.quick { 1 } else { SLOW_ROUNDS }, plan.seconds(3));
    run.slow("slow-2000", if plan.quick { 200 } else { 2000 }, true, rounds)?;
    let most = usize::try_from(conditions.open_files.saturating_sub(SPARE_FILES) / 2)?;
    run.slow("slow-9500", most.min(if plan.quick { 500 } else { 9500 }), false, (1, plan.seconds(10)))?;
    run.stuck()?;
    run.flat()?;
    report::write(plan, &conditions, &run.rows)?;
    Ok(run.wrong == 0)
}

impl Run<'_> {
    pub(crate) fn push(&mut self, row: Row) {
        eprintln!(
            "{} {}: {:?}/s {:?} µs p99 {:?} ms {:?} KiB {:?} MiB, {} whole, {} not {}",
            row.case,
            row.target,
            row.per_second.map(f64::round),
            row.cpu_us,
            row.ms.map(|ms| ms.p99),
            row.kib_per_stream,
            row.mib,
            row.whole,
            row.wrong,
            row.problem.as_deref().unwrap_or_default()
        );
        self.wrong += row.wrong;
        self.rows.push(row);
    }

    pub(crate) fn nginx(&self) -> anyhow::Result<Option<Proxy>> {
        targets::nginx(&self.plan.work, &self.upstream, &self.cores)
    }

    pub(crate) fn gateway(&self, shapes: &targets::Shapes) -> anyhow::Result<Proxy> {
        self.gateway_with(shapes, &Setting::default())
    }

    fn gateway_with(&self, shapes: &targets::Shapes, setting: &Setting) -> anyhow::Result<Proxy> {
        targets::gateway(&self.plan.gateway, &self.plan.work, &self.upstream, &self.cores, shapes, setting)
    }

    /// From start to the first answer, the size at rest, the processor time at rest.
    fn start_and_idle(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("start") {
            return Ok(());
        }
        for name in ["nginx", "gateway"] {
            let mut millis = Vec::new();
            let mut last = None;
            for _ in 0..5 {
                drop(last.take());
                let proxy = if name == "nginx" { self.nginx()? } else { Some(self.gateway(&[])?) };
                let Some(proxy) = proxy else { break };
                millis.push(proxy.start.as_secs_f64() * 1e3);
                last = Some(proxy);
            }
            let Some(proxy) = last else { continue };
            millis.sort_by(f64::total_cmp);
            let mut row = Row::of("start", name, Outcome::default());
            row.value = millis.get(millis.len() / 2).copied();
            row.note =
                format!("{:.1} ms from start to the first answer (median of 5)", row.value.unwrap_or(0.0));
            row.mib = Some(proxy.process.mib());
            self.push(row);
            std::thread::sleep(Duration::from_secs(2));
            let (lasts, before) = (self.plan.seconds(10), proxy.process.cpu_exact());
            std::thread::sleep(lasts);
            let share = (proxy.process.cpu_exact() - before).as_secs_f64() / lasts.as_secs_f64() * 100.0;
            let mut row = Row::of("start: idle", name, Outcome::default());
            row.value = Some(share);
            row.note = format!("{share:.4} % of a core over {} s", lasts.as_secs());
            row.mib = Some(proxy.process.mib());
            self.push(row);
        }
        Ok(())
    }

    /// 200 streams without a pause.
    fn fast(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("fast") {
            return Ok(());
        }
        let (nginx, gateway) = (self.nginx()?, self.gateway(&[(FAST_PIECES, 0)])?);
        let mut targets = vec![(self.upstream.target(), None)];
        if let Some(nginx) = &nginx {
            targets.push((targets::nginx_target(nginx.address), Some(&nginx.process)));
        }
        let asked = targets::gateway_targets(gateway.address);
        targets.extend(asked.into_iter().map(|target| (target, Some(&gateway.process))));
        for (target, process) in targets {
            let (threads, lasts) = (self.cores.load_threads, self.plan.seconds(5));
            let load = || streams::fast(&target, threads, (200, FAST_PIECES), lasts);
            self.push(measured("fast: 200 streams", &target, process, load, |outcome| outcome.events));
        }
        Ok(())
    }

    /// Whole answers and streams without a pause, from an upstream behind TLS.
    fn tls(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("tls") {
            return Ok(());
        }
        let (plan, cores) = (self.plan, &self.cores);
        let upstream = Upstream::start_with_tls(cores, &plan.work)?;
        let nginx = targets::nginx(&plan.work, &upstream, cores)?;
        let (shapes, setting) = ([(FAST_PIECES, 0)], Setting::default());
        let gateway = targets::gateway(&plan.gateway, &plan.work, &upstream, cores, &shapes, &setting)?;
        let (threads, lasts) = (cores.load_threads, plan.seconds(5));
        let mut targets = Vec::new();
        if let Some(nginx) = &nginx {
            targets.push((targets::nginx_target(nginx.address), &nginx.process));
        }
        targets.push((targets::dialect_target(gateway.address), &gateway.process));
        for (target, process) in &targets {
            json::closed(target, threads, 64, Duration::from_millis(500));
            let row = closed("tls: whole, 64 connections", target, Some(process), (threads, 64), lasts);
            self.push(row);
        }
        for (target, process) in &targets {
            let load = || streams::fast(target, threads, (200, FAST_PIECES), lasts);
            self.push(measured("tls: 200 streams", target, Some(process), load, |outcome| outcome.events));
        }
        Ok(())
    }

    /// Each provider's adapter, whole and streamed.
    fn adapters(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("adapter") {
            return Ok(());
        }
        let gateway = self.gateway(&[(FAST_PIECES, 0)])?;
        let (threads, lasts) = (self.cores.load_threads, self.plan.seconds(3));
        for dialect in &DIALECTS {
            let mut target = targets::native_target(gateway.address, dialect.kind, false);
            target.name = format!("gateway ({})", dialect.kind);
            self.push(closed("adapter: whole", &target, Some(&gateway.process), (threads, 64), lasts));
            let load = || streams::fast(&target, threads, (64, FAST_PIECES), lasts);
            let row =
                measured("adapter: streams", &target, Some(&gateway.process), load, |outcome| outcome.events);
            self.push(row);
        }
        Ok(())
    }

    /// Completed turns with everything durable, and streams without a pause, on PostgreSQL.
    fn on_postgres(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("postgres") {
            return Ok(());
        }
        let Some(server) = postgres::start(&self.plan.work, &self.cores)? else {
            eprintln!("PostgreSQL is not installed: its cases are left out");
            return Ok(());
        };
        let setting = Setting { store: Some(server.url.clone()), ..Setting::default() };
        let gateway = self.gateway_with(&[(FAST_PIECES, 0)], &setting)?;
        let mut target = targets::native_target(gateway.address, "openai", true);
        target.name = "gateway (PostgreSQL)".to_owned();
        for connections in [16, 256] {
            let case = format!("postgres: turns, {connections} at once");
            let load = (self.cores.load_threads, connections);
            self.push(closed(&case, &target, Some(&gateway.process), load, self.plan.seconds(5)));
        }
        let (threads, lasts) = (self.cores.load_threads, self.plan.seconds(5));
        let load = || streams::fast(&target, threads, (200, FAST_PIECES), lasts);
        let row = measured("postgres: fast streams", &target, Some(&gateway.process), load, |all| all.events);
        self.push(row);
        Ok(())
    }

    /// What it can carry, then twice as many who ask at once, then sixteen times as many: whether as much is answered, and what the
    /// others wait.
    fn overload(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("overload") {
            return Ok(());
        }
        let gateway = self.gateway(&[])?;
        let target = targets::dialect_target(gateway.address);
        json::closed(&target, self.cores.load_threads, 64, Duration::from_millis(500));
        for connections in [64, 128, 1024] {
            let case = format!("overload: {connections} ask at once");
            let load = (self.cores.load_threads, connections);
            self.push(closed(&case, &target, Some(&gateway.process), load, self.plan.seconds(5)));
        }
        Ok(())
    }

    /// How cost grows with what there is.
    fn grow(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("grow") {
            return Ok(());
        }
        let (threads, lasts) = (self.cores.load_threads, self.plan.seconds(3));
        for keys in [1, if self.plan.quick { 100 } else { 10_000 }] {
            let setting = Setting { further_keys: keys, ..Setting::default() };
            let gateway = self.gateway_with(&[], &setting)?;
            let targets = grow::keyed(gateway.address, keys, 64);
            let Some(first) = targets.first() else { continue };
            json::closed_each(&targets, threads, 64, Duration::from_millis(500));
            let load = || json::closed_each(&targets, threads, 64, lasts);
            let row = measured("grow: keys", first, Some(&gateway.process), load, |all| all.whole);
            self.push(row);
        }
        let gateway = self.gateway(&[])?;
        for messages in [10, if self.plan.quick { 1000 } else { 10_000 }] {
            let target = grow::conversation(gateway.address, messages)?;
            let row = closed("grow: messages", &target, Some(&gateway.process), (1, 1), lasts);
            self.push(row);
        }
        drop(gateway);
        let gateway = self.gateway(&[])?;
        grow::begin(gateway.address)?;
        drop(gateway);
        let file = self.plan.work.join("gateway").join(targets::STORE);
        let mut kept = 1;
        for conversations in [10, if self.plan.quick { 10_000 } else { 1_000_000 }] {
            if !grow::fill(&file, conversations - kept)? {
                eprintln!("sqlite3 is not installed: lists of many conversations are left out");
                return Ok(());
            }
            kept = conversations;
            let gateway = self.gateway_with(&[], &Setting { keeps_store: true, ..Setting::default() })?;
            let target = grow::list(gateway.address, conversations);
            json::closed(&target, 1, 4, Duration::from_millis(500));
            let row = closed("grow: conversations", &target, Some(&gateway.process), (1, 4), lasts);
            self.push(row);
        }
        Ok(())
    }

    /// Clients that do not read, and others beside them.
    fn stuck(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("stuck") {
            return Ok(());
        }
        let (count, stuck) =
            (if self.plan.quick { 10 } else { 40 }, self.plan.seconds(8).max(Duration::from_secs(4)));
        let window = stuck / 4;
        let pieces = (stuck.as_secs_f64() / EVERY.as_secs_f64()) as usize;
        let gateway = self.gateway(&[(STUCK_PIECES, 0), (pieces, EVERY.as_millis() as u64)])?;
        let target = targets::native_target(gateway.address, "openai", false);
        let beside = Slow {
            target: target.clone(),
            streams: 200,
            pieces,
            every: EVERY,
            ramp: Duration::from_millis(500),
        };
        let before = gateway.process.memory().pss;
        let threads = self.cores.load_threads;
        let case = format!("stuck: {count} clients read nothing for {} s", stuck.as_secs());
        let (readers, turn) = slow::readers(&target, (count, STUCK_PIECES), stuck, || {
            slow_load(&beside, Some(&gateway.process), threads, (stuck / 2, window))
        })?;
        let row = turn.row(&case, "gateway (200 others)");
        let text = STUCK_PIECES * crate::dialect::PIECE_BYTES;
        let grown = row.mib.unwrap_or(0.0) * 1048576.0 - before as f64;
        let mut row = Row { kib_per_stream: None, ..row };
        row.note = "streams beside the stuck ones".to_owned();
        self.push(row);
        let mut row = Row::of(&case, "gateway (the stuck)", readers);
        row.kib_per_stream = Some(grown / count as f64 / 1024.0);
        row.note = format!("memory for each while stuck; its text has {} KiB. Then read whole", text / 1024);
        self.push(row);
        Ok(())
    }

    /// Whether memory stays what it is under load: its size after each of several rounds of whole answers and of streams.
    fn flat(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("flat") {
            return Ok(());
        }
        let gateway = self.gateway(&[(20, 0)])?;
        let target = targets::native_target(gateway.address, "openai", false);
        let stored = targets::native_target(gateway.address, "openai", true);
        let (rounds, lasts) = match self.plan.minutes {
            0 if self.plan.quick => (2, Duration::from_secs(1)),
            0 => (6, Duration::from_secs(3)),
            minutes => (minutes, Duration::from_secs(28)),
        };
        let threads = self.cores.load_threads;
        for round in 1..=rounds {
            let load = || {
                let mut all = json::closed(&target, threads, 64, lasts);
                for next in [
                    streams::fast(&target, threads, (64, 20), lasts),
                    json::closed(&stored, threads, 64, lasts),
                ] {
                    let took = all.took + next.took;
                    all.add(next);
                    all.took = took;
                }
                all
            };
            let case = format!("flat: round {round} of {rounds}");
            let mut row = measured(&case, &target, Some(&gateway.process), load, |outcome| outcome.whole);
            row.note =
                format!("turns whole and streamed, {0} s of each; a tenth of that stored", lasts.as_secs());
            self.push(row);
        }
        Ok(())
    }
}

/// A closed loop and what it cost.
pub(crate) fn closed(
    case: &str,
    target: &Target,
    process: Option<&Process>,
    (threads, connections): (usize, usize),
    lasts: Duration,
) -> Row {
    measured(
        case,
        target,
        process,
        || json::closed(target, threads, connections, lasts),
        |outcome| outcome.whole,
    )
}

/// A load, with what it cost the process for each of what `count` counts.
fn measured(
    case: &str,
    target: &Target,
    process: Option<&Process>,
    load: impl FnOnce() -> Outcome,
    count: impl FnOnce(&Outcome) -> u64,
) -> Row {
    turn(process, load, count).row(case, &target.name)
}

/// The same, as one turn of several.
pub(crate) fn turn(
    process: Option<&Process>,
    load: impl FnOnce() -> Outcome,
    count: impl FnOnce(&Outcome) -> u64,
) -> Turn {
    let cpu = process.map(Process::cpu);
    let mut outcome = load();
    let cpu = process.zip(cpu).map(|(process, before)| process.cpu() - before);
    let done = count(&outcome);
    if outcome.events > 0 {
        // Nothing but the queue in front of the load generator is late when everything comes at once.
        outcome.nanos.clear();
    }
    let mib = process.map(Process::mib);
    Turn { done, took: outcome.took, cpu, mib, outcome, ..Turn::default() }
}

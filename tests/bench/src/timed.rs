//! The cases whose point is a time: that of an answer, that by which a piece is late, that which durability adds. They are measured in
//! rounds, so that all targets see the same machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::cases::{EVERY, Run, closed, turn};
use crate::commits::Commits;
use crate::json::{self, Outcome, Pace};
use crate::machine::Process;
use crate::rounds::{Rounds, Turn};
use crate::streams::{Shared, Slow};
use crate::targets::{self, Proxy, Target};

/// Requests at the same rate before each turn of an open loop: connections and caches are then as in steady load.
const WARM_UP: Duration = Duration::from_millis(200);
/// How long each turn of whole answers is measured. Short rounds, so that there can be many: a moment of the machine spoils one of them,
/// and the median is of the others.
const JSON_TURN: Duration = Duration::from_millis(750);
const JSON_ROUNDS: usize = 9;
/// The rate that stored turns must reach, at which their latency is looked at; that at half of what they can reach is as well.
const TURNS_RATE: u32 = 2500;
/// How long each turn at these is measured, with the store and without.
const TURNS_TURN: Duration = Duration::from_secs(2);
const TURNS_ROUNDS: usize = 5;
/// What is asked before that is not measured. Longer than elsewhere: the gateway sees within a second where its threads are to run, beside a
/// writer that is busy or not.
const TURNS_WARM_UP: Duration = Duration::from_millis(1500);
/// Connections of that loop, as many as its goal is about. An answer that takes longer than until its connection's next request is due
/// makes that one late: the fewer there are, the sooner it is the load and not the gateway that is measured.
const TURNS_CONNECTIONS: usize = 256;
/// Rounds of a quick run.
const QUICK_ROUNDS: usize = 2;

impl Run<'_> {
    fn rounds(&self, full: usize) -> usize {
        if self.plan.quick { QUICK_ROUNDS } else { full }
    }

    /// Whole answers: closed loop over 64 connections, then at a fixed rate.
    pub(crate) fn json(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("json") {
            return Ok(());
        }
        let (nginx, gateway) = (self.nginx()?, self.gateway(&[])?);
        let threads = self.cores.load_threads;
        let mut targets = vec![(self.upstream.target(), None)];
        if let Some(nginx) = &nginx {
            targets.push((targets::nginx_target(nginx.address), Some(&nginx.process)));
        }
        let asked = targets::gateway_targets(gateway.address);
        targets.extend(asked.into_iter().map(|target| (target, Some(&gateway.process))));
        for (target, process) in &targets {
            json::closed(target, threads, 64, Duration::from_millis(500));
            let row = closed("json: 64 connections", target, *process, (threads, 64), self.plan.seconds(5));
            self.push(row);
        }
        for rate in [500, 2000] {
            let pace = Pace { rate, connections: 64, warm_up: WARM_UP, lasts: JSON_TURN };
            let mut rounds = Rounds::new(format!("json: {rate} a second"), "direct");
            for _ in 0..self.rounds(JSON_ROUNDS) {
                for (target, process) in &targets {
                    let (turn, ()) = paced(target, *process, pace, || ());
                    rounds.add(&target.name, turn);
                }
            }
            self.push_all(rounds);
        }
        Ok(())
    }

    /// Completed turns with everything durable, over how many are under way at once.
    pub(crate) fn stored_turns(&mut self) -> anyhow::Result<()> {
        if !self.plan.wants("turns") {
            return Ok(());
        }
        let gateway = self.gateway(&[])?;
        let target = targets::native_target(gateway.address, "openai", true);
        let without = targets::native_target(gateway.address, "openai", false);
        let threads = self.cores.load_threads;
        let mut most: f64 = 0.0;
        for connections in [1, 16, 64] {
            let case = format!("turns: stored, {connections} at once");
            let row =
                closed(&case, &target, Some(&gateway.process), (threads, connections), self.plan.seconds(5));
            most = row.per_second.unwrap_or(0.0).max(most);
            self.push(row);
        }
        let lasts = if self.plan.quick { TURNS_TURN / 2 } else { TURNS_TURN };
        let mut rounds = Rounds::new(format!("turns: {TURNS_CONNECTIONS} at once"), "gateway (native)");
        for _ in 0..self.rounds(TURNS_ROUNDS) {
            for (target, stored) in [(&without, false), (&target, true)] {
                let load = |lasts| json::closed(target, threads, TURNS_CONNECTIONS, lasts);
                load(TURNS_WARM_UP);
                let before = commits(&gateway)?;
                let mut turn = turn(Some(&gateway.process), || load(lasts), |outcome| outcome.whole);
                turn.commits = stored.then_some(commits(&gateway)?.since(&before));
                rounds.add(&target.name, turn);
            }
        }
        for row in rounds.rows() {
            if row.target == target.name {
                most = row.per_second.unwrap_or(0.0).max(most);
            }
            self.push(row);
        }
        // What durability adds where the store is not the bottleneck.
        let half = ((most / 2.0) as u32).max(1);
        // A quick run may be of a debug build, which carries less.
        let rate = if self.plan.quick { TURNS_RATE / 10 } else { TURNS_RATE };
        let cases = [
            (rate, format!("turns: {rate} a second")),
            (half, format!("turns: {half} a second, half the peak")),
        ];
        for (rate, case) in cases {
            let pace = Pace { rate, connections: TURNS_CONNECTIONS, warm_up: TURNS_WARM_UP, lasts };
            let mut rounds = Rounds::new(case, "gateway (native)");
            for _ in 0..self.rounds(TURNS_ROUNDS) {
                // The metrics are asked for in both turns: that is work for the gateway as well.
                let (turn, before) = paced(&without, Some(&gateway.process), pace, || commits(&gateway));
                before?;
                rounds.add(&without.name, turn);
                let (mut turn, before) = paced(&target, Some(&gateway.process), pace, || commits(&gateway));
                turn.commits = Some(commits(&gateway)?.since(&before?));
                rounds.add(&target.name, turn);
            }
            self.push_all(rounds);
        }
        Ok(())
    }

    /// Slow streams, all open at once: lateness, processor time and memory while they are. In a number of rounds, each with a window of
    /// its own.
    pub(crate) fn slow(
        &mut self,
        case: &str,
        streams: usize,
        with_store: bool,
        (count, window): (usize, Duration),
    ) -> anyhow::Result<()> {
        if !self.plan.wants(case) {
            return Ok(());
        }
        let ramp = Duration::from_secs_f64((streams as f64 / 1500.0).max(1.0));
        let settle = Duration::from_secs(1);
        let pieces = ((ramp + settle * 2 + window).as_secs_f64() / EVERY.as_secs_f64()).ceil() as usize;
        let shape = (pieces, EVERY.as_millis() as u64);
        let slow = |target: Target| Slow { target, streams, pieces, every: EVERY, ramp };
        let (threads, times) = (self.cores.load_threads, (ramp + settle, window));
        let mut rounds = Rounds::new(format!("{case}: {streams} streams, a piece each 0.25 s"), "direct");
        for _ in 0..count {
            let load = slow(self.upstream.target());
            rounds.add(&load.target.name, slow_load(&load, None, threads, times));
            // A process that has had streams before keeps some of their memory, and would seem to need less for the next: each turn
            // has a new one.
            if let Some(nginx) = self.nginx()? {
                let load = slow(targets::nginx_target(nginx.address));
                rounds.add(&load.target.name, slow_load(&load, Some(&nginx.process), threads, times));
            }
            for way in if with_store { 0..3 } else { 0..1 } {
                let gateway = self.gateway(&[shape])?;
                let Some(target) = targets::gateway_targets(gateway.address).into_iter().nth(way) else {
                    continue;
                };
                let load = slow(target);
                rounds.add(&load.target.name, slow_load(&load, Some(&gateway.process), threads, times));
            }
        }
        self.push_all(rounds);
        Ok(())
    }

    fn push_all(&mut self, rounds: Rounds) {
        for row in rounds.rows() {
            self.push(row);
        }
    }
}

fn commits(gateway: &Proxy) -> anyhow::Result<Commits> {
    gateway.admin.map_or_else(|| Ok(Commits::default()), Commits::so_far)
}

/// An open loop and what it cost once it was warm. `begun` is done then.
fn paced<T>(target: &Target, process: Option<&Process>, pace: Pace, begun: impl FnOnce() -> T) -> (Turn, T) {
    let (outcome, (seen, cpu)) = json::open(target, pace, || (begun(), process.map(Process::cpu)));
    let cpu = process.zip(cpu).map(|(process, before)| process.cpu() - before);
    let mib = process.map(Process::mib);
    (Turn { done: outcome.whole, took: outcome.took, cpu, mib, outcome, ..Turn::default() }, seen)
}

/// Slow streams: opened, watched for a while, read to their end.
pub(crate) fn slow_load(
    slow: &Slow,
    process: Option<&Process>,
    threads: usize,
    (before, window): (Duration, Duration),
) -> Turn {
    let shared = Arc::new(Shared::default());
    let rest = process.map(|process| process.memory().pss);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| slow.run(threads, &shared));
        std::thread::sleep(before.saturating_sub(began.elapsed()));
        let open = shared.open.load(Ordering::Relaxed);
        shared.measuring.store(true, Ordering::Relaxed);
        let (from, cpu) = (Instant::now(), process.map(Process::cpu));
        std::thread::sleep(window);
        let done = shared.events.load(Ordering::Relaxed);
        let cpu = process.zip(cpu).map(|(process, before)| process.cpu() - before);
        let took = from.elapsed();
        shared.measuring.store(false, Ordering::Relaxed);
        let memory = process.map(|process| process.memory().pss);
        Turn {
            done,
            took,
            cpu,
            mib: memory.map(|memory| memory as f64 / 1048576.0),
            open: Some(open),
            grown: memory.zip(rest).map(|(memory, rest)| memory.saturating_sub(rest)),
            commits: None,
            outcome: running.join().unwrap_or_else(|_| broken()),
        }
    })
}

/// What a load came to whose thread broke.
fn broken() -> Outcome {
    let mut outcome = Outcome::default();
    outcome.fail(&anyhow::anyhow!("the load broke"));
    outcome
}

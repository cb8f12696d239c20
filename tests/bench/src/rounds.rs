//! Several rounds of a measurement, in each of which every target has its turn: what a moment of the machine did to one round does not
//! decide the row.

use std::time::Duration;

use crate::commits::Commits;
use crate::json::Outcome;
use crate::report::{Row, Spread};

/// What one target's turn in one round came to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) outcome: Outcome,
    /// Answers, turns or events, whichever the case counts, in the time that is measured.
    pub(crate) done: u64,
    pub(crate) took: Duration,
    /// Processor time of the target in it.
    pub(crate) cpu: Option<Duration>,
    /// Memory of the target, in MiB.
    pub(crate) mib: Option<f64>,
    /// Streams that were open, and how many bytes the target had grown by for them.
    pub(crate) open: Option<u64>,
    pub(crate) grown: Option<u64>,
    /// The commits of its store, where they are looked at.
    pub(crate) commits: Option<Commits>,
}

impl Turn {
    /// The row of a measurement that has one turn.
    pub(crate) fn row(self, case: &str, target: &str) -> Row {
        let spreads = [self.spread()];
        row(case, target, vec![self], &spreads, None)
    }

    /// None where nothing was timed.
    fn spread(&self) -> Option<Spread> {
        let nanos = &self.outcome.nanos;
        (!nanos.is_empty()).then(|| Spread::of(nanos.clone()))
    }
}

/// The turns of a case.
#[derive(Debug)]
pub(crate) struct Rounds {
    case: String,
    /// What `added` is measured from.
    baseline: &'static str,
    /// Each target's, in the order of the rounds.
    targets: Vec<(String, Vec<Turn>)>,
}

impl Rounds {
    pub(crate) fn new(case: String, baseline: &'static str) -> Self {
        Self { case, baseline, targets: Vec::new() }
    }

    /// A target's turn in the round after its last one.
    pub(crate) fn add(&mut self, target: &str, turn: Turn) {
        match self.targets.iter_mut().find(|(name, _)| name == target) {
            Some((_, turns)) => turns.push(turn),
            None => self.targets.push((target.to_owned(), vec![turn])),
        }
    }

    /// A row for each target, in the order of their first turns.
    pub(crate) fn rows(self) -> Vec<Row> {
        let spreads: Vec<Vec<_>> =
            self.targets.iter().map(|(_, turns)| turns.iter().map(Turn::spread).collect()).collect();
        let baseline = self.targets.iter().position(|(name, _)| name == self.baseline);
        let rows =
            self.targets.into_iter().zip(&spreads).enumerate().map(|(index, ((name, turns), mine))| {
                let from =
                    baseline.filter(|baseline| *baseline != index).and_then(|index| spreads.get(index));
                row(&self.case, &name, turns, mine, from.map(Vec::as_slice))
            });
        rows.collect()
    }
}

/// Medians over the rounds of what varies, sums of what is counted.
fn row(
    case: &str,
    target: &str,
    turns: Vec<Turn>,
    spreads: &[Option<Spread>],
    baseline: Option<&[Option<Spread>]>,
) -> Row {
    let count = turns.len();
    let added = added(spreads, baseline.unwrap_or_default());
    let added_to_commit = median(added.iter().zip(&turns).filter_map(|(added, turn)| {
        let commit = turn.commits.as_ref()?.within_ms(0.99);
        added.filter(|_| commit > 0.0).map(|added| added / commit)
    }));
    let kib = turns.iter().filter_map(|turn| {
        turn.grown.zip(turn.open).map(|(grown, open)| grown as f64 / open.max(1) as f64 / 1024.0)
    });
    let kib_per_stream = median(kib);
    let mib = median(turns.iter().filter_map(|turn| turn.mib));
    let open = turns.iter().filter_map(|turn| turn.open).min();

    let (mut all, mut commits) = (Outcome::default(), None::<Commits>);
    let (mut done, mut took, mut cpu) = (0, Duration::ZERO, None::<Duration>);
    for turn in turns {
        all.add(turn.outcome);
        done += turn.done;
        took += turn.took;
        cpu = turn.cpu.map(|spent| cpu.unwrap_or_default() + spent).or(cpu);
        if let Some(more) = turn.commits {
            commits.get_or_insert_default().add(&more);
        }
    }

    let mut notes: Vec<String> = open.map(|open| format!("{open} open")).into_iter().collect();
    notes.extend(commits.as_ref().map(|commits| commits.note(all.whole)));
    notes.extend(added_to_commit.map(|times| format!("adds {times:.2} × the p99 of a commit")));
    let p99_together =
        (count > 1 && !all.nanos.is_empty()).then(|| Spread::of(std::mem::take(&mut all.nanos)).p99);
    notes.extend(p99_together.map(|p99| format!("p99 of all {count} rounds together: {p99:.3} ms")));
    let mut row = Row::of(case, target, Outcome { nanos: Vec::new(), ..all });
    row.ms = median_spread(spreads);
    row.added_p99 = median(added.into_iter().flatten());
    row.p99_together = p99_together;
    row.rounds = if count > 1 { spreads.to_vec() } else { Vec::new() };
    row.per_second = Some(done as f64 / took.as_secs_f64());
    row.cpu_us = cpu.map(|spent| spent.as_secs_f64() * 1e6 / done.max(1) as f64);
    row.kib_per_stream = kib_per_stream;
    row.mib = mib;
    row.value = commits.map(|commits| commits.within_ms(0.99));
    row.added_to_commit = added_to_commit;
    row.note = notes.join("; ");
    row
}

fn median_spread(spreads: &[Option<Spread>]) -> Option<Spread> {
    let of = |part: fn(&Spread) -> f64| median(spreads.iter().flatten().map(part));
    Some(Spread {
        p50: of(|ms| ms.p50)?,
        p99: of(|ms| ms.p99)?,
        p999: of(|ms| ms.p999)?,
        max: of(|ms| ms.max)?,
    })
}

/// What p99 is more than the baseline's in each round; none where one of the two timed nothing.
fn added(spreads: &[Option<Spread>], baseline: &[Option<Spread>]) -> Vec<Option<f64>> {
    let of = |(mine, from): (&Option<Spread>, &Option<Spread>)| Some((*mine)?.p99 - (*from)?.p99);
    spreads.iter().zip(baseline).map(of).collect()
}

/// The one in the middle, or what lies between the two there; none of nothing.
fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests;

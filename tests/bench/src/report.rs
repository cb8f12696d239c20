//! What was measured, as JSON and as tables.

use std::fmt::Write as _;
use std::fs;

use serde::Serialize;

use crate::conditions::Conditions;
use crate::json::Outcome;
use crate::plan::Plan;

/// How a quantity spreads, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of nanoseconds.
    pub(crate) fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        let at = |part: f64| {
            let index = (nanos.len().saturating_sub(1)) as f64 * part;
            nanos.get(index.round() as usize).map_or(0.0, |nanos| *nanos as f64 / 1e6)
        };
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

/// One measurement.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) case: String,
    /// To whom.
    pub(crate) target: String,
    /// Answers, turns or events a second, whichever the case counts.
    pub(crate) per_second: Option<f64>,
    /// Processor time for each of them, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// Time to the answer, or from the upstream's writing of a piece to its arrival.
    pub(crate) ms: Option<Spread>,
    /// Memory for each stream, in KiB (proportional set size, kernel buffers not included).
    pub(crate) kib_per_stream: Option<f64>,
    /// Memory in all at that time, in MiB.
    pub(crate) mib: Option<f64>,
    /// p99 less that of what the case compares with, round by round: the median. In milliseconds.
    pub(crate) added_p99: Option<f64>,
    /// The same as a multiple of the p99 of each round's commits.
    pub(crate) added_to_commit: Option<f64>,
    /// p99 of all rounds together, where there are several, in milliseconds.
    pub(crate) p99_together: Option<f64>,
    /// What each of several rounds was; `ms` has their medians. None for a round that timed nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rounds: Vec<Option<Spread>>,
    /// Something else, named in the note.
    pub(crate) value: Option<f64>,
    pub(crate) note: String,
    /// Answers or streams that were whole, and those that were not.
    pub(crate) whole: u64,
    pub(crate) wrong: u64,
    /// What was wrong with the first of them.
    pub(crate) problem: Option<String>,
    /// What the machine was doing.
    pub(crate) load_average: String,
}

impl Row {
    /// A row with what every load tells.
    pub(crate) fn of(case: &str, target: &str, outcome: Outcome) -> Self {
        let timed = !outcome.nanos.is_empty();
        Self {
            case: case.to_owned(),
            target: target.to_owned(),
            whole: outcome.whole,
            wrong: outcome.wrong,
            problem: outcome.problem,
            ms: timed.then(|| Spread::of(outcome.nanos)),
            load_average: crate::conditions::load_average(),
            ..Self::default()
        }
    }
}

#[derive(Debug, Serialize)]
struct Results<'a> {
    conditions: &'a Conditions,
    rows: &'a [Row],
}

/// Prints the tables, and keeps them and the numbers if that is wanted.
pub(crate) fn write(plan: &Plan, conditions: &Conditions, rows: &[Row]) -> anyhow::Result<()> {
    let text = markdown(conditions, rows)?;
    println!("{text}");
    if plan.keep {
        fs::create_dir_all(&plan.results)?;
        fs::write(plan.results.join("latest.md"), &text)?;
        let json = serde_json::to_string_pretty(&Results { conditions, rows })?;
        fs::write(plan.results.join("latest.json"), json + "\n")?;
    }
    Ok(())
}

fn markdown(conditions: &Conditions, rows: &[Row]) -> anyhow::Result<String> {
    let mut text = format!("# A run of `tests/bench/run`\n\n{}\n", conditions.markdown());
    writeln!(text, "{}", crate::goals::markdown(rows))?;
    text.push_str(
        "`×` is the ratio to nginx in the same case. `ms` is the time to the whole answer, or from the upstream's writing of a \
         piece to its arrival; `added` is that p99 less the one without anything between (in `turns`: without the store). What was \
         measured in rounds has medians over them of each of these, and beside them the p99 of all rounds together. `whole`: answers or streams that came \
         whole and in order, and how many did not.\n\n\
         | case | target | /s | × | CPU µs | × | p50 ms | p99 ms | p99.9 ms | added p99 ms | KiB/stream | × | MiB | whole | note |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let find = |name: &str| rows.iter().find(|other| other.case == row.case && other.target == name);
        let (nginx, direct) = (find("nginx"), find("direct"));
        let ratio = |of: fn(&Row) -> Option<f64>| {
            let ratio = of(row).zip(nginx.filter(|_| row.target != "nginx").and_then(of));
            ratio.map_or_else(String::new, |(mine, its)| format!("{:.2}", mine / its))
        };
        let number = |value: Option<f64>| match value {
            None => String::new(),
            Some(value) if value >= 1000.0 => format!("{value:.0}"),
            Some(value) if value >= 10.0 => format!("{value:.1}"),
            Some(value) => format!("{value:.3}"),
        };
        let added = row.ms.zip(direct.filter(|_| row.target != "direct").and_then(|direct| direct.ms));
        let added = row.added_p99.or(added.map(|(mine, direct)| mine.p99 - direct.p99));
        let whole = if row.whole + row.wrong > 0 { row.whole.to_string() } else { String::new() };
        let wrong = if row.wrong > 0 { format!(" (**{} not**)", row.wrong) } else { String::new() };
        let mut note = row.note.clone();
        if let Some(problem) = &row.problem {
            let problem: String =
                problem.chars().map(|c| if c == '|' || c == '\n' { ' ' } else { c }).collect();
            write!(note, " {problem}")?;
        }
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {}{wrong} | {note} |",
            row.case,
            row.target,
            number(row.per_second),
            ratio(|row| row.per_second),
            number(row.cpu_us),
            ratio(|row| row.cpu_us),
            number(row.ms.map(|ms| ms.p50)),
            number(row.ms.map(|ms| ms.p99)),
            number(row.ms.map(|ms| ms.p999)),
            number(added),
            number(row.kib_per_stream),
            ratio(|row| row.kib_per_stream),
            number(row.mib),
            whole,
        )?;
    }
    Ok(text)
}

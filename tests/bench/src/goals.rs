//! What the numbers are held to, as ratios in one run on one machine.

use std::fmt::Write as _;

use crate::report::Row;

/// One goal.
struct Goal {
    what: &'static str,
    wanted: f64,
    /// More is better, as for throughput.
    at_least: bool,
    measured: fn(&[Row]) -> Option<f64>,
}

fn find<'a>(rows: &'a [Row], case: &str, target: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.case.starts_with(case) && row.target == target)
}

/// A quantity of one target, as a multiple of another's in the same case.
fn ratio(rows: &[Row], case: &str, (mine, its): (&str, &str), of: fn(&Row) -> Option<f64>) -> Option<f64> {
    let (mine, its) = (of(find(rows, case, mine)?)?, of(find(rows, case, its)?)?);
    (its > 0.0).then(|| mine / its)
}

const TO_NGINX: (&str, &str) = ("gateway", "nginx");

/// Of the first and the last row of cases that begin so.
fn growth(rows: &[Row], case: &str, of: fn(&Row) -> Option<f64>) -> Option<f64> {
    let mut all = rows.iter().filter(|row| row.case.starts_with(case)).filter_map(of);
    let first = all.next()?;
    all.next_back().map(|last| last / first)
}

/// What p99 is added to the one without anything between: the median over the rounds.
fn added(rows: &[Row], case: &str, target: &str) -> Option<f64> {
    find(rows, case, target)?.added_p99
}

/// The same as a multiple of nginx's; none where nginx adds nothing.
fn added_to_nginx(rows: &[Row], case: &str) -> Option<f64> {
    let nginx = added(rows, case, "nginx").filter(|added| *added > 0.0)?;
    Some(added(rows, case, "gateway")? / nginx)
}

/// What durability adds to p99 of turns under the load that the case's name ends with, as a multiple of a commit's: the median over the
/// rounds.
fn added_to_commit(rows: &[Row], load: &str) -> Option<f64> {
    let case = |row: &&Row| row.case.starts_with("turns:") && row.case.ends_with(load);
    rows.iter().filter(case).find(|row| row.target == "gateway (stored)")?.added_to_commit
}

const GOALS: &[Goal] = &[
    Goal {
        what: "JSON, OpenAI's dialect: CPU per request, × nginx",
        wanted: 3.0,
        at_least: false,
        measured: |rows| ratio(rows, "json: 64", TO_NGINX, |row| row.cpu_us),
    },
    Goal {
        what: "JSON, OpenAI's dialect: requests/s, × nginx",
        wanted: 1.0 / 3.0,
        at_least: true,
        measured: |rows| ratio(rows, "json: 64", TO_NGINX, |row| row.per_second),
    },
    Goal {
        what: "JSON at 2,000/s: added p99, × nginx",
        wanted: 2.0,
        at_least: false,
        measured: |rows| added_to_nginx(rows, "json: 2000"),
    },
    Goal {
        what: "streams without delay: CPU per event, × nginx",
        wanted: 2.0,
        at_least: false,
        measured: |rows| ratio(rows, "fast", TO_NGINX, |row| row.cpu_us),
    },
    Goal {
        what: "streams without delay: with the store, × without",
        wanted: 1.5,
        at_least: false,
        measured: |rows| ratio(rows, "fast", ("gateway (stored)", "gateway (native)"), |row| row.cpu_us),
    },
    Goal {
        what: "2,000 slow streams: CPU per event, × nginx",
        wanted: 1.5,
        at_least: false,
        measured: |rows| ratio(rows, "slow-2000", TO_NGINX, |row| row.cpu_us),
    },
    Goal {
        what: "2,000 slow streams: added p99, ms",
        wanted: 0.2,
        at_least: false,
        measured: |rows| added(rows, "slow-2000", "gateway"),
    },
    Goal {
        what: "2,000 slow streams: added p99, × nginx",
        wanted: 2.0,
        at_least: false,
        measured: |rows| added_to_nginx(rows, "slow-2000"),
    },
    Goal {
        what: "memory of an open slow stream, KiB",
        wanted: 24.0,
        at_least: false,
        measured: |rows| {
            find(rows, "slow-9500", "gateway").or_else(|| find(rows, "slow-2000", "gateway"))?.kib_per_stream
        },
    },
    Goal {
        what: "memory at rest, MiB",
        wanted: 20.0,
        at_least: false,
        measured: |rows| find(rows, "start: idle", "gateway")?.mib,
    },
    Goal {
        what: "processor at rest, % of a core",
        wanted: 0.1,
        at_least: false,
        measured: |rows| find(rows, "start: idle", "gateway")?.value,
    },
    Goal {
        what: "start to the first answer, ms",
        wanted: 50.0,
        at_least: false,
        measured: |rows| rows.iter().find(|row| row.case == "start" && row.target == "gateway")?.value,
    },
    Goal {
        what: "stored turns/s, 256 at once",
        wanted: 2500.0,
        at_least: true,
        measured: |rows| find(rows, "turns: 256 at once", "gateway (stored)")?.per_second,
    },
    Goal {
        what: "stored turns, 256 at once: added p99, × the p99 of a commit",
        wanted: 4.0,
        at_least: false,
        measured: |rows| added_to_commit(rows, "256 at once"),
    },
    Goal {
        what: "stored turns at 2,500/s: added p99, × the p99 of a commit",
        wanted: 4.0,
        at_least: false,
        measured: |rows| added_to_commit(rows, "2500 a second"),
    },
    Goal {
        what: "stored turns at half the peak: added p99, × the p99 of a commit",
        wanted: 4.0,
        at_least: false,
        measured: |rows| added_to_commit(rows, "half the peak"),
    },
    Goal {
        what: "many keys and tenants: CPU per request, × one",
        wanted: 1.2,
        at_least: false,
        measured: |rows| growth(rows, "grow: keys", |row| row.cpu_us),
    },
    Goal {
        what: "10,000 messages: CPU per turn, × with ten",
        wanted: 2.0,
        at_least: false,
        measured: |rows| growth(rows, "grow: messages", |row| row.cpu_us),
    },
    Goal {
        what: "a million conversations: CPU per list, × with ten",
        wanted: 2.0,
        at_least: false,
        measured: |rows| growth(rows, "grow: conversations", |row| row.cpu_us),
    },
    Goal {
        what: "overload: answers/s, × at the peak",
        wanted: 0.9,
        at_least: true,
        measured: |rows| growth(rows, "overload", |row| row.per_second),
    },
];

/// The goals, with what was measured; those that this run says nothing of are left out.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = "| goal | wanted | measured | |\n|---|---|---|---|\n".to_owned();
    for Goal { what, wanted, at_least, measured } in GOALS {
        let Some(measured) = measured(rows) else { continue };
        let reached = if *at_least { measured >= *wanted } else { measured <= *wanted };
        let (sign, verdict) =
            (if *at_least { "≥" } else { "≤" }, if reached { "reached" } else { "**not**" });
        // Writing into a string does not fail.
        let _ = writeln!(text, "| {what} | {sign} {wanted:.2} | {measured:.2} | {verdict} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_two_rows_of_one_case() {
        let row = |case: &str, target: &str, cpu_us: f64| Row {
            case: case.to_owned(),
            target: target.to_owned(),
            cpu_us: Some(cpu_us),
            ..Row::default()
        };
        let rows = [
            row("json: 64 connections", "nginx", 20.0),
            row("json: 64 connections", "gateway", 50.0),
            row("grow: messages", "ten", 10.0),
            row("grow: messages", "many", 30.0),
        ];
        let text = markdown(&rows);
        assert!(text.contains("× nginx | ≤ 3.00 | 2.50 | reached |"), "{text}");
        assert!(text.contains("× with ten | ≤ 2.00 | 3.00 | **not** |"), "{text}");
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn what_is_added_is_the_median_of_the_rounds() {
        let row = |case: &str, target: &str, added_p99: f64| Row {
            case: case.to_owned(),
            target: target.to_owned(),
            ms: Some(crate::report::Spread { p99: 100.0 * added_p99, ..Default::default() }),
            added_p99: Some(added_p99),
            added_to_commit: (target == "gateway (stored)").then_some(3.0),
            value: Some(2.0),
            ..Row::default()
        };
        let rows = [
            row("json: 2000 a second", "nginx", 0.25),
            row("json: 2000 a second", "gateway", 0.75),
            row("slow-2000: 200 streams", "gateway", 0.125),
            row("turns: 256 at once", "gateway (stored)", 7.0),
            row("turns: 2500 a second", "gateway (stored)", 7.0),
            row("turns: 900 a second, half the peak", "gateway (native)", 1.0),
            row("turns: 900 a second, half the peak", "gateway (stored)", 7.0),
        ];
        let text = markdown(&rows);
        assert!(text.contains("added p99, × nginx | ≤ 2.00 | 3.00 | **not** |"), "{text}");
        assert!(text.contains("added p99, ms | ≤ 0.20 | 0.12 | reached |"), "{text}");
        for load in [", 256 at once", " at 2,500/s", " at half the peak"] {
            let wanted = format!("turns{load}: added p99, × the p99 of a commit | ≤ 4.00 | 3.00 | reached |");
            assert!(text.contains(&wanted), "{text}");
        }
    }
}

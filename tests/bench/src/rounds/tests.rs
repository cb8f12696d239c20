//! Rounds in, a row out.

use super::*;

/// A hundred answers, all after so many milliseconds but the two slowest, of `slow` each: p50 is the one, p99 the other.
fn turn(usual: u64, slow: u64) -> Turn {
    let mut nanos = vec![usual * 1_000_000; 98];
    nanos.extend([slow * 1_000_000; 2]);
    Turn {
        outcome: Outcome { whole: 100, nanos, ..Outcome::default() },
        done: 100,
        took: Duration::from_secs(1),
        ..Turn::default()
    }
}

fn rows(rounds: Vec<(&str, Turn)>) -> Vec<Row> {
    let mut all = Rounds::new("a case".to_owned(), "direct");
    for (target, turn) in rounds {
        all.add(target, turn);
    }
    all.rows()
}

#[test]
fn a_row_has_the_medians_of_its_rounds_and_what_it_added_in_each() {
    // The machine as a whole is slow in the second round, the gateway alone in the third.
    let rows = rows(vec![
        ("direct", turn(1, 2)),
        ("gateway", turn(3, 5)),
        ("direct", turn(7, 30)),
        ("gateway", turn(8, 31)),
        ("direct", turn(1, 3)),
        ("gateway", turn(90, 90)),
    ]);
    let [direct, gateway] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((direct.case.as_str(), direct.target.as_str()), ("a case", "direct"));
    let ms = gateway.ms.unwrap();
    assert_eq!((ms.p50, ms.p99, ms.p999, ms.max), (8.0, 31.0, 31.0, 31.0));
    assert_eq!(direct.ms.unwrap().p99, 3.0);
    // 3, 1 and 87: not 31 - 3.
    assert_eq!(gateway.added_p99, Some(3.0));
    assert_eq!(direct.added_p99, None);
    assert_eq!(gateway.rounds.iter().map(|ms| ms.unwrap().p99).collect::<Vec<_>>(), [5.0, 31.0, 90.0]);
    // A third of all.
    assert_eq!(gateway.p99_together, Some(90.0));
    assert_eq!(gateway.note, "p99 of all 3 rounds together: 90.000 ms");
}

#[test]
fn counts_and_processor_time_are_those_of_all_rounds() {
    let spent = |millis, done, wrong| {
        let mut turn = Turn { cpu: Some(Duration::from_millis(millis)), done, ..turn(1, 1) };
        turn.outcome.wrong = wrong;
        turn.outcome.problem = (wrong > 0).then(|| format!("{wrong} of them"));
        turn
    };
    let rows =
        rows(vec![("nginx", spent(10, 100, 0)), ("nginx", spent(50, 200, 1)), ("nginx", spent(0, 300, 2))]);
    let row = rows.first().unwrap();
    assert_eq!((row.whole, row.wrong, row.problem.as_deref()), (300, 3, Some("1 of them")));
    assert_eq!((row.per_second, row.cpu_us), (Some(200.0), Some(100.0)));
    assert_eq!((row.added_p99, row.added_to_commit, row.value), (None, None, None));
}

#[test]
fn memory_is_a_median_and_streams_are_the_fewest() {
    let grown = |mib, kib: u64, open| Turn {
        mib: Some(mib),
        grown: Some(kib * 1024 * open),
        open: Some(open),
        ..Turn::default()
    };
    let rows = rows(vec![
        ("gateway", grown(90.0, 40, 200)),
        ("gateway", grown(52.0, 18, 199)),
        ("gateway", grown(50.0, 17, 200)),
    ]);
    let row = rows.first().unwrap();
    assert_eq!((row.mib, row.kib_per_stream, row.note.as_str()), (Some(52.0), Some(18.0), "199 open"));
    assert!(row.ms.is_none() && row.p99_together.is_none());
}

#[test]
fn what_the_store_adds_is_held_to_the_commits_of_its_round() {
    let commits = |most: &str, count: u32| {
        let bucket = |bound: &str, count: u32| {
            format!("switchboard_store_commit_seconds_bucket{{outcome=\"ok\",le=\"{bound}\"}} {count}\n")
        };
        Commits::parse(&[bucket("0.001", 0), bucket(most, count), bucket("+Inf", count)].concat()).unwrap()
    };
    let stored = |slow, most, count| Turn { commits: Some(commits(most, count)), ..turn(1, slow) };
    let mut all = Rounds::new("turns".to_owned(), "without");
    // p99 of commits: 1.99 and 10.9 ms; a round without commits has no ratio.
    for (slow, most, count) in [(5, "0.002", 100), (220, "0.011", 100), (500, "0.002", 0)] {
        all.add("without", turn(1, 1));
        all.add("stored", stored(slow, most, count));
    }
    let rows = all.rows();
    let row = rows.iter().find(|row| row.target == "stored").unwrap();
    let wanted = f64::midpoint(4.0 / 1.99, 219.0 / 10.9);
    assert!((row.added_to_commit.unwrap() - wanted).abs() < 1e-6, "{row:?}");
    assert_eq!(row.added_p99, Some(219.0));
    // Of all two hundred together: 198 lie below, half of them in each of the buckets.
    assert!(
        row.value.unwrap() > 10.0 && row.note.starts_with("200 commits: p50 2.00 ms, p99"),
        "{}",
        row.note
    );
    assert!(
        row.note.contains("; adds 11.05 × the p99 of a commit; p99 of all 3 rounds together: "),
        "{}",
        row.note
    );
}

#[test]
fn one_turn_is_a_row_by_itself_and_a_round_without_answers_is_left_out() {
    let row = turn(2, 4).row("a case", "nginx");
    assert_eq!((row.ms.unwrap().p99, row.p99_together, row.note.as_str()), (4.0, None, ""));
    assert!(row.rounds.is_empty());

    let rows = rows(vec![
        ("direct", turn(1, 1)),
        ("gateway", turn(2, 4)),
        ("direct", Turn::default()),
        ("gateway", turn(2, 9)),
        ("direct", turn(1, 2)),
        ("gateway", Turn::default()),
    ]);
    let gateway = rows.iter().find(|row| row.target == "gateway").unwrap();
    assert_eq!((gateway.added_p99, gateway.ms.unwrap().p99), (Some(3.0), 6.5));
    assert!(gateway.rounds.last().unwrap().is_none());
}

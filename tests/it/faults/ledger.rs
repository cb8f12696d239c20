//! The ledger against the simulator's books: every call that arrived there stands in it once, with what it cost (§4.5).

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{OnDisconnect, Settings};
use futures_util::StreamExt;
use serde_json::json;
use simulator::Outcome;

use super::stage::{Cast, Stage, Way};
use crate::kit::{ask, caller, read_until};

const KINDS: [&str; 5] = ["gptunnel", "mygptassistants", "unleash", "gigachat", "openai"];

/// Calls, tokens and money of one assistant.
#[derive(Debug, Default, Clone, PartialEq)]
struct Sums {
    calls: u64,
    input: u64,
    output: u64,
    /// In a hundred-thousandth of a rouble, in which the simulator counts.
    cost: u64,
}

fn hundred_thousandths(amount: f64) -> u64 {
    (amount * 100_000.0).round() as u64
}

/// The ledger's rows by upstream id: of all calls, and of those that were cut off because nobody wanted them any more.
fn ledger(stage: &Stage, cast: &[Cast]) -> (BTreeMap<String, Sums>, BTreeMap<String, u64>) {
    let connection = rusqlite::Connection::open(&stage.file).unwrap();
    let rows = "SELECT assistant, provider, outcome, input_tokens, output_tokens, total_tokens, amount, currency FROM ledger";
    let mut rows = connection.prepare(rows).unwrap();
    let mut rows = rows.query([]).unwrap();
    let (mut sums, mut dropped) = (BTreeMap::<String, Sums>::new(), BTreeMap::<String, u64>::new());
    while let Some(row) = rows.next().unwrap() {
        let assistant: String = row.get("assistant").unwrap();
        let one = cast.iter().find(|one| one.name == assistant).unwrap();
        assert_eq!(row.get::<_, String>("provider").unwrap(), one.kind);
        let outcome: String = row.get("outcome").unwrap();
        assert_ne!(outcome, "interrupted", "every call has ended");
        let sum = sums.entry(one.upstream_id.clone()).or_default();
        sum.calls += 1;
        let count =
            |name: &str| row.get::<_, Option<i64>>(name).unwrap().map(|count| u64::try_from(count).unwrap());
        sum.input += count("input_tokens").unwrap_or_default();
        sum.output += count("output_tokens").unwrap_or_default();
        let both = count("input_tokens").zip(count("output_tokens")).map(|(input, output)| input + output);
        assert_eq!(count("total_tokens"), both);
        if let Some(amount) = row.get::<_, Option<String>>("amount").unwrap() {
            assert_eq!(row.get::<_, String>("currency").unwrap(), "RUB");
            sum.cost += hundred_thousandths(amount.parse().unwrap());
        }
        if matches!(outcome.as_str(), "cancelled" | "hedged") {
            *dropped.entry(one.upstream_id.clone()).or_default() += 1;
        }
    }
    (sums, dropped)
}

/// The simulator's books: usage of the answers that were sent to their end, which is where it stands.
fn journal(stage: &Stage) -> BTreeMap<String, Sums> {
    let mut sums = BTreeMap::<String, Sums>::new();
    for call in stage.journal.calls() {
        let sum = sums.entry(call.upstream_id.unwrap()).or_default();
        sum.calls += 1;
        if let Some(usage) = call.usage.filter(|_| call.outcome == Outcome::Whole) {
            sum.input += usage.prompt_tokens;
            sum.output += usage.completion_tokens;
            sum.cost += hundred_thousandths(usage.total_cost);
        }
    }
    sums
}

/// A number below `below`, the same in each run.
fn draw(turn: u64, what: u64, below: u64) -> u64 {
    let mut mixed = (turn << 8 | what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)) % below
}

/// An id with faults in so many of a hundred calls.
fn faults(kind: &str, percent: u32, name: &str) -> String {
    match kind {
        // By the dice it would answer 429 as well, with the end of the minute, which its callers wait for.
        "mygptassistants" if percent > 50 => format!("fault-cut-after-2-times-25~{name}"),
        "mygptassistants" => format!("fault-500-times-15~{name}"),
        _ => format!("flaky-{percent}~{name}"),
    }
}

/// Each provider with faults by the dice, two of them behind each; `asked` are the names of those that are asked.
fn faulty() -> (Vec<Cast>, Vec<&'static str>) {
    let names = [["g", "g1"], ["m", "m1"], ["u", "u1"], ["c", "c1"], ["o", "o1"]];
    let cast = KINDS.iter().zip(names).enumerate().flat_map(|(place, (kind, [name, second]))| {
        // Who is asked second is a provider of another kind.
        let other = KINDS[(place + 2) % KINDS.len()];
        [
            Cast::new(name, kind, faults(kind, 60, name)).falls_back(&[second]),
            Cast::new(second, other, faults(other, 40, second)),
        ]
    });
    (cast.collect(), names.iter().map(|[name, _]| *name).collect())
}

/// How many turns: five times as many in the long run.
fn turns(usual: u64) -> u64 {
    if std::env::var_os("SWITCHBOARD_TEST_FULL").is_some() { usual * 5 } else { usual }
}

#[tokio::test]
async fn whatever_fails_each_call_is_in_the_ledger_once_with_what_it_cost() {
    let stage = Stage::with(Settings::default(), "").await;
    let (cast, asked) = faulty();
    stage.cast(&cast);
    let turns = futures_util::stream::iter(0..turns(200)).map(|turn| {
        let (stage, asked) = (&stage, &asked);
        async move {
            let assistant = asked[draw(turn, 0, 5) as usize];
            let stream = draw(turn, 1, 2) == 0;
            let told = stage
                .chat(json!({"assistant": assistant, "message": format!("Turn {turn}."), "stream": stream}));
            let told = told.await;
            // What the turn tells of its calls is what there was: those listed, and the one that answered.
            let answered = u64::from(told.status() == "completed");
            let made = told.attempts().iter().filter(|(_, outcome, _)| *outcome != "breaker_open").count();
            made as u64 + answered
        }
    });
    let told: Vec<u64> = turns.buffer_unordered(16).collect().await;
    stage.gateway.engine.finish(Duration::from_secs(60)).await;
    let (kept, dropped) = ledger(&stage, &cast);
    let played = journal(&stage);
    assert_eq!(kept, played);
    assert!(dropped.is_empty());
    assert_eq!(told.iter().sum::<u64>(), played.values().map(|sum| sum.calls).sum::<u64>());
    assert!(
        played.values().map(|sum| sum.calls).sum::<u64>() > 260,
        "the dice made something go wrong: {played:?}"
    );

    // And what a tenant is shown is the sum of it.
    let usage = stage.gateway.get("/v1/usage").await.json();
    let (mut tokens, mut cost) = (0, 0);
    for sum in usage["data"].as_array().unwrap() {
        tokens += sum["total_tokens"].as_u64().unwrap();
        let amounts = sum["cost"].as_array().unwrap().iter().map(|cost| cost["amount"].as_str().unwrap());
        cost += amounts.map(|amount| hundred_thousandths(amount.parse().unwrap())).sum::<u64>();
    }
    assert_eq!(tokens, kept.values().map(|sum| sum.input + sum.output).sum::<u64>());
    assert_eq!(cost, kept.values().map(|sum| sum.cost).sum::<u64>());
}

#[tokio::test]
async fn whoever_leaves_or_cancels_each_call_is_in_the_ledger_once() {
    let settings = Settings { on_disconnect: OnDisconnect::Cancel, ..Settings::default() };
    let stage = Stage::with(settings, "").await;
    let hedge = Way { hedge_after: Some(Duration::from_millis(5)), ..Way::default() };
    let mut cast = Vec::new();
    for (kind, [slow, stalls, hedged, second]) in KINDS.iter().zip([
        ["g0", "g1", "g2", "g3"],
        ["m0", "m1", "m2", "m3"],
        ["u0", "u1", "u2", "u3"],
        ["c0", "c1", "c2", "c3"],
        ["o0", "o1", "o2", "o3"],
    ]) {
        cast.push(Cast::new(slow, kind, format!("fault-slow-text-15~{slow}")));
        cast.push(Cast::new(stalls, kind, format!("fault-stall-after-2~{stalls}")));
        let slow = Cast::new(hedged, kind, format!("fault-slow-text-40~{hedged}"));
        cast.push(slow.over(hedge.clone()).falls_back(&[second]));
        cast.push(Cast::new(second, "openai", format!("sim-model~{second}")));
    }
    stage.cast(&cast);
    let turns = futures_util::stream::iter(0..turns(120)).map(|turn| {
        let (stage, cast) = (&stage, &cast);
        async move {
            let engine = &stage.gateway.engine;
            let one = &cast[draw(turn, 0, cast.len() as u64) as usize];
            let mut ask = ask(one.name, "Hello");
            ask.stream = draw(turn, 1, 2) == 0;
            let mut reader = engine.chat(&caller("t"), ask).await.unwrap();
            let id = reader.turn_id();
            // Waits for the beginning of the turn, or for its call to be at the provider.
            if draw(turn, 2, 3) == 0 {
                read_until(&mut reader, |events| !events.is_empty()).await;
            } else {
                stage.journal.wait_for(&one.upstream_id, |calls| !calls.is_empty()).await;
            }
            match draw(turn, 3, 3) {
                0 => drop(reader),
                1 => drop(engine.cancel(&caller("t"), id).await.unwrap()),
                _ if one.upstream_id.contains("stall") => drop(reader),
                _ => drop(reader.end().await),
            }
        }
    });
    turns.buffer_unordered(16).collect::<Vec<_>>().await;
    stage.gateway.engine.finish(Duration::from_secs(60)).await;
    let (kept, dropped) = ledger(&stage, &cast);
    for (id, played) in journal(&stage) {
        let sum = kept.get(&id).cloned().unwrap_or_default();
        let dropped = dropped.get(&id).copied().unwrap_or_default();
        // A call that was dropped while it was being sent may never have arrived, and is in the ledger all the same.
        assert!(sum.calls >= played.calls, "{id}: {sum:?} for {played:?}");
        assert!(sum.calls - dropped <= played.calls, "{id}: {sum:?}, {dropped} dropped, for {played:?}");
        assert!(sum.input <= played.input && sum.cost <= played.cost, "{id}: {sum:?} for {played:?}");
    }
    assert!(dropped.values().sum::<u64>() > 20, "{dropped:?}");
}

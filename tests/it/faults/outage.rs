//! What a provider that is down, or comes and goes, does to the turns, and what the turns do to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chat::{ErrorCode, Turn, TurnStatus};
use engine::Refused;
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::bed::{Bed, Does, Part, config};
use super::stage::{Cast, Stage, Way};
use tokio::time::Instant;

const TURNS: usize = 200;

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// All that a provider which is down answers: with a status that it may be sent again after, or without one.
const DOWN: [&str; 3] = ["fault-503", "fault-500", "fault-reset"];

#[tokio::test]
async fn an_outage_is_answered_with_no_more_calls_than_turns_and_their_budget() {
    let stage = Stage::open().await;
    // By the budget alone: the breaker does not open.
    let way = Way { budget_percent: 20, ..Way::default() };
    for fault in DOWN {
        let id = format!("{fault}~budget");
        stage.cast(&[Cast { new: true, ..Cast::new("a", "openai", &id).over(way.clone()) }]);
        let turns = (0..TURNS)
            .map(|number| stage.chat(json!({"assistant": "a", "message": "Hi", "stream": number % 2 == 0})));
        let told: Vec<_> = stream::iter(turns).buffer_unordered(64).collect().await;
        assert!(told.iter().all(|told| told.error() == Some("provider_error")));
        let calls = stage.calls(&id).len();
        // The share, and the ten that are always allowed.
        assert!(calls <= TURNS + TURNS / 5 + 10, "{fault}: {calls} calls for {TURNS} turns");
        assert!(
            calls >= TURNS + TURNS / 10,
            "{fault}: {calls} calls for {TURNS} turns: nothing is tried again"
        );
        let attempts: usize = told.iter().map(|told| told.attempts().len()).sum();
        assert_eq!(attempts, calls, "{fault}: each is listed");
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_not_asked_and_the_refusal_names_it() {
    let stage = Stage::open().await;
    for (number, fault) in (0..).zip(DOWN) {
        let id = format!("{fault}~breaker");
        // A provider of its own for each fault, which both assistants share.
        let cool_down = seconds(1_000 + number);
        let way = Way { budget_percent: 20, breaker_minimum: 10, cool_down, ..Way::default() };
        stage.cast(&[
            Cast::new("a", "openai", &id).over(way.clone()),
            Cast::new("f", "openai", &id).over(way).falls_back(&["b"]),
            Cast::new("b", "gptunnel", "ai08158128"),
        ]);
        let ask = |assistant, number: usize| json!({"assistant": assistant, "message": "Hi", "stream": number.is_multiple_of(2), "store": false});
        let mut refused = 0;
        for number in 0..100 {
            let answer = stage.gateway.post("/v1/chat", ask("a", number)).await;
            let streamed = answer.header("content-type") == Some("text/event-stream");
            if streamed || answer.status != 503 {
                assert_eq!(refused, 0, "{fault}: once open, it stays so");
                continue;
            }
            refused += 1;
            // Before acceptance, also for those who asked for a stream.
            let error = &answer.json()["error"];
            assert_eq!((&error["code"], &error["provider"]), (&json!("breaker_open"), &json!("openai")));
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!(wait > 900 && answer.header("x-turn-id").is_none(), "{fault}: {wait} s");
        }
        // Ten failures open it, and the attempts of the turn that made them are not let through again.
        assert_eq!(stage.calls(&id).len(), 10, "{fault}");
        assert!(refused >= 90, "{fault}: {refused} refused");
        for number in 0..4 {
            let told = stage.chat(ask("f", number)).await;
            assert_eq!((told.status(), &told.turn["assistant"]), ("completed", &json!("b")), "{fault}");
            assert_eq!(told.attempts(), [("f", "breaker_open", None)], "{fault}: a call that was not made");
        }
        assert_eq!(stage.calls(&id).len(), 10, "{fault}");
    }
}

/// What became of turns that should all have been answered: the assistants that did.
fn answered<'a>(
    turns: impl IntoIterator<Item = &'a (Duration, Result<Arc<Turn>, Refused>)>,
) -> BTreeSet<String> {
    let answered = turns.into_iter().map(|(at, turn)| {
        let turn = turn.as_ref().unwrap_or_else(|refused| panic!("refused at {at:?}: {refused}"));
        assert_eq!(turn.status, TurnStatus::Completed, "asked at {at:?}: {:?}", turn.error);
        assert_eq!(turn.message.as_ref().unwrap().content.text(), "ok", "asked at {at:?}");
        turn.assistant.to_string()
    });
    answered.collect()
}

#[tokio::test(start_paused = true)]
async fn within_the_cool_down_and_one_probe_a_provider_is_used_again() {
    let mut parts = Vec::new();
    let bed = Bed::new(|| {
        let down = |at: Duration, _| if at < seconds(40) { Does::Refuse(500, None) } else { Does::Answer };
        parts.push(Arc::new(Part::new(config("main"), &[], down)));
        parts.clone()
    });
    let bed = bed.await;
    let began = Instant::now();
    let turns = bed.turns("main", 600, Duration::from_millis(200)).await;
    let mut states = Vec::new();
    for (at, turn) in &turns {
        let state = match turn {
            Err(refused) => {
                assert_eq!(refused.error.code, ErrorCode::BreakerOpen, "at {at:?}");
                assert_eq!(refused.error.provider.as_ref().map(|name| name.as_str()), Some("main"));
                "refused"
            }
            Ok(turn) => turn.status.as_str(),
        };
        if states.last().is_none_or(|(last, _)| *last != state) {
            states.push((state, *at));
        }
    }
    // Down, open, a probe that fails, open, a probe that fails, open, and a probe that finds it well.
    let order: Vec<_> = states.iter().map(|(state, _)| *state).collect();
    assert_eq!(
        order,
        ["failed", "refused", "failed", "refused", "failed", "refused", "completed"],
        "{states:?}"
    );
    let (_, healthy) = states.last().unwrap();
    assert!(*healthy <= seconds(40 + 15) + Duration::from_millis(200), "{states:?}");
    assert_eq!(parts[0].breaker(), "closed");
    assert!(began.elapsed() < seconds(121), "nobody who was refused had to wait for it");
}

/// How a provider is when it is down: in every way there is.
fn down(number: usize) -> Does {
    let ways = [
        Does::Refuse(500, None),
        Does::Refuse(503, None),
        Does::Reset,
        Does::Unreachable,
        Does::BreakBeforeText,
        Does::BreakInText,
        Does::Confess,
        Does::Hang,
    ];
    ways[number % ways.len()]
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_comes_and_goes_costs_nobody_an_error() {
    let is_down = |at: Duration| (at.as_secs() / 60).is_multiple_of(2);
    let mut parts = Vec::new();
    let bed = Bed::new(|| {
        let script = move |at, number| if is_down(at) { down(number) } else { Does::Answer };
        parts.push(Arc::new(Part::new(config("main"), &["backup"], script)));
        parts.push(Arc::new(Part::new(config("backup"), &[], |_, _| Does::Answer)));
        parts.clone()
    });
    let bed = bed.await;
    let turns = bed.turns("main", 4 * 60 * 8, Duration::from_millis(250)).await;
    let both = ["backup".to_owned(), "main".to_owned()];
    assert_eq!(answered(&turns), BTreeSet::from(both));

    let calls = parts[0].calls.all();
    let between = |from: Duration, to: Duration| calls.iter().filter(move |(at, _)| (from..to).contains(at));
    for minute in 0..8 {
        let (start, end) = (seconds(60 * minute), seconds(60 * (minute + 1)));
        if is_down(start) {
            // Once the failures outweigh what went well in the half minute before, it is left alone but for probes, and the turns
            // of those that fail were answered as well.
            let probes = between(start + seconds(25), end).count();
            assert!((1..=5).contains(&probes), "minute {minute}: {probes} probes");
            continue;
        }
        let again = between(start, end).next().unwrap().0 - start;
        // The last probe of the bad minute may have run out of the clock to the headers.
        assert!(again <= seconds(15 + 5) + Duration::from_millis(250), "minute {minute}: after {again:?}");
        let late = turns.iter().filter(|(at, _)| (start + seconds(21)..end).contains(at));
        assert_eq!(answered(late), BTreeSet::from(["main".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_asks_for_a_pause_is_left_alone_for_it_and_then_probed() {
    // Short enough for a call to wait for it: nobody fails, nobody is early.
    let mut parts = Vec::new();
    let twenty = |_, number| if number == 0 { Does::Refuse(429, Some(20)) } else { Does::Answer };
    let bed = Bed::new(|| {
        parts.push(Arc::new(Part::new(config("main"), &[], twenty)));
        parts.clone()
    });
    let turns = bed.await.turns("main", 50, Duration::from_millis(10)).await;
    assert_eq!(answered(&turns).len(), 1);
    let calls = parts[0].calls.all();
    assert_eq!(calls.len(), 51);
    assert!(calls[1..].iter().all(|(at, _)| *at >= seconds(20)), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_too_long_to_wait_for_closes_no_last_way() {
    // Who has a fallback goes there at once. Who has none is told how long, and is not told that the provider is down; and an hour
    // is not taken for one.
    let mut parts = Vec::new();
    let hour = |_, number| if number == 0 { Does::Refuse(429, Some(3_600)) } else { Does::Answer };
    let bed = Bed::new(|| {
        parts.push(Arc::new(Part::new(config("main"), &[], hour)));
        parts.push(Arc::new(Part::new(config("other"), &["main", "backup"], hour)));
        parts.push(Arc::new(Part::new(config("backup"), &[], |_, _| Does::Answer)));
        parts.clone()
    });
    let bed = bed.await;
    let began = Instant::now();
    for wait in [3_600, 60, 60] {
        let turn = bed.turn("main").await.unwrap();
        let error = turn.error.as_ref().unwrap();
        assert_eq!((error.code, error.retry_after), (ErrorCode::ProviderRateLimit, Some(wait)));
    }
    for number in 0..3 {
        let turn = bed.turn("other").await.unwrap();
        let told: Vec<_> = turn.attempts.iter().map(|one| (one.outcome.as_str(), one.status)).collect();
        let first = (number == 0).then_some(429);
        assert_eq!(told, [("provider_rate_limit", first), ("provider_rate_limit", None)]);
        assert_eq!((turn.status, turn.assistant.as_str()), (TurnStatus::Completed, "backup"));
    }
    assert_eq!((parts[0].calls.count(), parts[1].calls.count(), began.elapsed()), (1, 1, seconds(0)));
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(bed.turn("main").await.unwrap().status, TurnStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_provider_holds_no_other_ones_turns_up() {
    let mut parts = Vec::new();
    let bed = Bed::new(|| {
        let mut narrow = config("slow");
        narrow.max_concurrency = 4;
        narrow.breaker.minimum = u32::MAX;
        parts.push(Arc::new(Part::new(narrow, &[], |_, _| Does::Hang)));
        parts.push(Arc::new(Part::new(config("quick"), &[], |_, _| Does::Answer)));
        parts.clone()
    });
    let bed = bed.await;
    let slow = bed.turns("slow", 500, Duration::ZERO);
    let quick = async {
        // All of the others are on their way by then.
        tokio::time::sleep(seconds(1)).await;
        let began = Instant::now();
        let turns = bed.turns("quick", 300, Duration::ZERO).await;
        (turns, began.elapsed(), parts[0].calls.count())
    };
    let (slow, (quick, elapsed, waiting)) = tokio::join!(slow, quick);
    assert_eq!((answered(&quick).len(), waiting), (1, 4));
    // A timer is true to a millisecond.
    assert!(elapsed <= Duration::from_millis(1), "{elapsed:?}");
    assert!(slow.iter().all(|(_, turn)| turn.as_ref().unwrap().status == TurnStatus::Failed));
    assert_eq!(parts[0].calls.count(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_failure_now_and_then_among_what_goes_well_opens_no_breaker() {
    let mut parts = Vec::new();
    let bed = Bed::new(|| {
        let now_and_then =
            |_, number: usize| if number.is_multiple_of(20) { Does::Reset } else { Does::Answer };
        let mut main = config("main");
        // Sent again before the next turn is, so that no turn meets every failure that comes by, which happens in one run of eight
        // with pauses drawn at random from half a second.
        main.retry.base = Duration::from_millis(1);
        parts.push(Arc::new(Part::new(main, &[], now_and_then)));
        parts.clone()
    });
    let turns = bed.await.turns("main", 1_000, Duration::from_millis(20)).await;
    assert_eq!(answered(&turns).len(), 1);
    assert_eq!(parts[0].breaker(), "closed");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_in_its_stream_that_it_fails_is_down_as_well() {
    let mut parts = Vec::new();
    let bed = Bed::new(|| {
        parts.push(Arc::new(Part::new(config("main"), &["backup"], |_, _| Does::Confess)));
        parts.push(Arc::new(Part::new(config("backup"), &[], |_, _| Does::Answer)));
        parts.clone()
    });
    let turns = bed.await.turns("main", 50, Duration::from_millis(20)).await;
    assert_eq!(answered(&turns), BTreeSet::from(["backup".to_owned()]));
    assert_eq!(parts[0].breaker(), "open");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_gives_no_text_in_time_is_down_and_one_that_is_left_is_not() {
    let mut parts = Vec::new();
    let bed = Bed::new(|| {
        parts.push(Arc::new(Part::new(config("main"), &["backup"], |_, _| Does::Silent)));
        parts.push(Arc::new(Part::new(config("backup"), &[], |_, _| Does::Answer)));
        parts.clone()
    });
    let bed = bed.await;
    // Readers who leave say nothing of the provider, however many they are.
    for _ in 0..20 {
        assert!(tokio::time::timeout(seconds(100), bed.turn("main")).await.is_err());
    }
    assert_eq!((parts[0].calls.count(), parts[0].breaker()), (20, "closed"));
    let turns = bed.turns("main", 20, Duration::ZERO).await;
    assert_eq!(answered(&turns), BTreeSet::from(["backup".to_owned()]));
    assert_eq!((parts[0].calls.count(), parts[0].breaker()), (40, "open"));
    // From then on nobody waits for it.
    let began = Instant::now();
    assert_eq!(bed.turn("main").await.unwrap().assistant.as_str(), "backup");
    assert_eq!(began.elapsed(), seconds(0));
}

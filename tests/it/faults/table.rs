//! Each fault × each provider × streamed or whole × with a fallback or without × `retry.ambiguous`, against [`expected`].
//!
//! [`expected`]: super::expected

use std::time::Duration;

use engine::Settings;
use serde_json::json;

use super::expected::{ALL, Calls, End, Row, rows};
use super::stage::{Cast, RETRY_BASE, Stage, Told, Way};

/// `max_reply`: far more than the simulator's usual answers, far less than its huge ones.
const REPLY_BYTES_MAX: usize = 16 * 1024;

/// The provider with this first letter.
fn kind(letter: char) -> &'static str {
    match letter {
        'O' => "openai",
        'U' => "unleash",
        'G' => "gptunnel",
        'M' => "mygptassistants",
        _ => "gigachat",
    }
}

/// One way to play a row.
#[derive(Debug, Clone, Copy)]
struct Play {
    letter: char,
    stream: bool,
    fallback: bool,
    ambiguous: bool,
    /// How many times the row's clocks it is given.
    patience: u32,
}

/// How often the provider is called, by §4.2.
fn calls(row: &Row, play: Play) -> usize {
    match row.calls {
        Calls::One => 1,
        Calls::Three | Calls::Unsent => 3,
        Calls::Ambiguous if play.ambiguous || "OU".contains(play.letter) => 3,
        Calls::Ambiguous => 1,
    }
}

async fn check(stage: &Stage, row: &Row, play: Play) -> Result<(), String> {
    let id = format!(
        "{}~{}{}{}{}",
        row.id,
        if play.stream { "s" } else { "w" },
        if play.fallback { "f" } else { "" },
        if play.ambiguous { "a" } else { "" },
        play.patience,
    );
    let second = format!("sim-model~{}-{id}", play.letter).replace('+', "-");
    let way = Way { ambiguous: play.ambiguous, ..row.way.clone() }.slower(play.patience);
    let mut asked = Cast::new("asked", kind(play.letter), &id).over(way);
    // A pause that a provider asked for is not to be met by another row.
    asked.new = id.contains("retry-after") || id.contains("-reset-");
    if play.fallback {
        asked = asked.falls_back(&["second"]);
    }
    // Always the usual OpenAI, also where the first is one.
    stage.cast(&[asked, Cast::new("second", "openai", &second)]);
    let told = stage.chat(json!({"assistant": "asked", "message": "Hello", "stream": play.stream})).await;
    compare(stage, row, play, &told, (&id, &second)).map_err(|what| {
        format!(
            "{} {id} {play:?}: {what}; {} {:?} {:?}",
            kind(play.letter),
            told.status(),
            told.error(),
            told.attempts()
        )
    })
}

fn compare(stage: &Stage, row: &Row, play: Play, told: &Told, ids: (&str, &str)) -> Result<(), String> {
    let is = |what: &str, right: bool| if right { Ok(()) } else { Err(what.to_owned()) };
    let expected = calls(row, play);
    let mut calls = stage.calls(ids.0);
    calls.retain(|call| call.provider == kind(play.letter));
    let made = calls.len();
    let arrived = if row.calls == Calls::Unsent { 0 } else { expected };
    is(&format!("{made} calls, not {arrived}"), made == arrived)?;
    let recovers = play.fallback && row.falls_back && !matches!(row.end, End::Fine);
    let seconds = stage.calls(ids.1).len();
    is(&format!("the fallback was asked {seconds} times"), seconds == usize::from(recovers))?;

    let (code, status) = row.outcome;
    let attempts = told.attempts();
    let listed = if code.is_empty() { 0 } else { expected };
    is(&format!("{} attempts, not {listed}", attempts.len()), attempts.len() == listed)?;
    for (assistant, outcome, seen) in &attempts {
        is("another assistant's attempt", *assistant == "asked")?;
        is("another outcome", *outcome == code)?;
        // gigachat.ai answers with 201 where the others do with 200.
        let created = play.letter == 'C' && status == Some(200) && *seen == Some(201);
        is(&format!("status {seen:?}"), *seen == status || created)?;
    }
    let waited: Vec<_> = calls.windows(2).map(|two| two[1].received_ms - two[0].received_ms).collect();
    pauses(&told.pauses, listed.saturating_sub(1), &waited)?;
    end(row, play, told, recovers)?;
    if !play.stream {
        return Ok(());
    }
    // The stream tells what happens: `retry` before each attempt but the first, `fallback` when it is asked.
    let retries = listed.saturating_sub(1);
    is(&format!("{} retries told", told.count("retry")), told.count("retry") == retries)?;
    is("the fallback is told", told.count("fallback") == usize::from(recovers))
}

/// The time between attempts, by the turn's word and by the provider's books: full jitter below a bound that doubles, and no less
/// than was said.
fn pauses(told: &[Duration], expected: usize, waited_ms: &[u64]) -> Result<(), String> {
    let bounds = (0..).map(|times| RETRY_BASE * 2_u32.pow(times));
    let bounded = told.iter().zip(bounds).all(|(pause, bound)| *pause <= bound);
    // Both books round down to a millisecond.
    let kept = told.iter().zip(waited_ms).all(|(pause, waited)| u128::from(waited + 1) >= pause.as_millis());
    if told.len() == expected && bounded && kept {
        Ok(())
    } else {
        Err(format!("{expected} pauses, said to be {told:?}, were {waited_ms:?} ms"))
    }
}

fn end(row: &Row, play: Play, told: &Told, recovers: bool) -> Result<(), String> {
    let (code, _) = row.outcome;
    let is = |what: &str, right: bool| if right { Ok(()) } else { Err(what.to_owned()) };
    let (status, error, http) = match row.end {
        _ if recovers => ("completed", None, 200),
        End::Fine => ("completed", None, 200),
        End::Short(_) => ("incomplete", None, 200),
        End::Broken => ("incomplete", Some(code), 200),
        End::Failed(_) if play.stream => ("failed", Some(code), 200),
        End::Failed(http) => ("failed", Some(code), http),
    };
    is(&format!("not {status}"), told.status() == status)?;
    is("another error", told.error() == error)?;
    is(&format!("HTTP {}, not {http}", told.http), told.http == http)?;
    is("the envelope has another code", told.refused.as_deref() == error.filter(|_| http != 200))?;
    let answers = if recovers { ("second", "openai") } else { ("asked", kind(play.letter)) };
    is("another one answers", (told.turn["assistant"] == answers.0) && (told.turn["provider"] == answers.1))?;
    is("text", told.text().is_empty() == (status == "failed") && told.text().len() <= REPLY_BYTES_MAX)?;
    is("text without its end is cut off", status != "completed" || !told.text().contains('\u{fffd}'))?;
    if let End::Short(reason) = row.end {
        is("another finish_reason", told.turn["finish_reason"] == reason)?;
    }
    if error.is_some() {
        let retryable = matches!(http, 429 | 503 | 504)
            || code == "provider_error"
            || code.ends_with("_timeout")
            || code == "provider_rate_limit";
        is("retryable", told.turn["error"]["retryable"] == retryable)?;
        is("another provider is named", told.turn["error"]["provider"] == kind(play.letter))?;
    }
    let wait = told.headers.get("retry-after").map(|wait| wait.to_str().unwrap().parse::<u64>().unwrap());
    let waits = row.retry_after > 0 && !recovers && !play.stream;
    is(&format!("retry-after {wait:?}"), !waits || wait.is_some_and(|wait| wait >= row.retry_after))
}

async fn every_fault(letter: char) {
    let settings = Settings { reply_bytes_max: REPLY_BYTES_MAX, ..Settings::default() };
    let stage = Stage::with(settings, "memory:").await;
    let mut wrong = Vec::new();
    for row in rows().iter().filter(|row| row.whom.contains(letter)) {
        for stream in [false, true].into_iter().filter(|stream| row.stream.is_none_or(|only| only == *stream))
        {
            // A silent provider is not waited for twice, whatever the operator says.
            let either = row.calls == Calls::Ambiguous || row.id.starts_with("fault-s");
            for ambiguous in [false, true].into_iter().filter(|ambiguous| !ambiguous || either) {
                for fallback in [false, true] {
                    let play = Play { letter, stream, fallback, ambiguous, patience: 1 };
                    if check(&stage, row, play).await.is_err() {
                        // A clock may have run out before a loaded machine had come to the fault. What is wrong is so again.
                        wrong.extend(check(&stage, row, Play { patience: 40, ..play }).await.err());
                    }
                }
            }
        }
    }
    // A redirect leads to a page that writes down who follows.
    assert!(!stage.journal.totals().contains_key("simulator"));
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a provider asks for, and how long that is at the least. A reset in whole seconds is up to one second nearer.
const WAITS: [(&str, u64); 4] = [
    ("fault-429-retry-after-1", 1_000),
    ("fault-503-retry-after-1", 1_000),
    ("fault-429-reset-2", 1_000),
    ("fault-429-reset-ms-2", 1_990),
];

#[tokio::test]
async fn what_any_provider_asks_for_is_waited_also_where_there_is_a_fallback() {
    let stage = Stage::open().await;
    let mut cast = vec![Cast::new("second", "openai", "sim-model")];
    let mut plays = Vec::new();
    for (letter, (fault, least)) in ALL.chars().flat_map(|letter| WAITS.map(|wait| (letter, wait))) {
        for fallback in [&[][..], &["second"]] {
            let id = format!("{fault}-times-1~{letter}{}", fallback.len());
            // Names stand as long as the program everywhere else.
            let name: &'static str = id.replace('~', "-").to_lowercase().leak();
            // One with a past might be in its pause already.
            let asked = Cast::new(name, kind(letter), &id).falls_back(fallback);
            cast.push(Cast { new: true, ..asked });
            plays.push((name, id, least));
        }
    }
    stage.cast(&cast);
    // All at once: it is time that passes.
    let stage = &stage;
    let turns = plays.iter().map(|(name, id, least)| async move {
        let told = stage.chat(json!({"assistant": name, "message": "Hello", "stream": true})).await;
        assert_eq!((told.status(), &told.turn["assistant"]), ("completed", &json!(name)), "{id}");
        let calls = stage.calls(id);
        assert_eq!((calls.len(), told.attempts().len()), (2, 1), "{id}");
        let waited = calls[1].received_ms - calls[0].received_ms;
        assert!(waited >= *least, "{id}: {waited} ms");
    });
    futures_util::future::join_all(turns).await;
}

#[test]
fn the_table_is_for_all() {
    let named: Vec<_> = ALL.chars().map(kind).collect();
    assert!(providers::KINDS.iter().all(|kind| named.contains(&kind.name)));
}

#[tokio::test]
async fn every_fault_of_gptunnel() {
    every_fault('G').await;
}

#[tokio::test]
async fn every_fault_of_mygptassistants() {
    every_fault('M').await;
}

#[tokio::test]
async fn every_fault_of_unleash() {
    every_fault('U').await;
}

#[tokio::test]
async fn every_fault_of_gigachat() {
    every_fault('C').await;
}

#[tokio::test]
async fn every_fault_of_openai() {
    every_fault('O').await;
}

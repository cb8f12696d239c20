//! Two programs on one database: one is killed, one is paused.

use std::collections::HashMap;

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::crash::bed::{Bed, Gateway};
use crate::crash::stream::{Event, Stream, joined, text_of, whole};
use crate::kit::redis::Redis;
use crate::store::bed::Bed as Database;

/// So many turns run at once where one of the programs ends.
const TURNS: usize = 30;

async fn two_programs(redis: Option<&Redis>) -> Option<(Bed, Database, Gateway, Gateway)> {
    let database = Database::postgres().await?;
    let assistants = [("slow", "openai", "fault-slow-pieces-60"), ("quick", "openai", "sim-model")];
    let bed = Bed::new(&assistants, "", "").await;
    bed.change(&format!("sqlite:{}", bed.store().display()), &database.config.url);
    if let Some(redis) = redis {
        bed.change("[defaults]", &format!("[cluster]\nredis = \"redis://{}\"\n[defaults]", redis.address()));
    }
    let (one, two) = tokio::join!(bed.start(), bed.start());
    Some((bed, database, one, two))
}

fn body(number: usize) -> Value {
    json!({"assistant": "slow", "message": format!("question {number}"), "stream": true})
}

async fn ask(gateway: &Gateway, number: usize) -> Stream {
    let request =
        gateway.posting("/v1/chat", &body(number)).header("idempotency-key", format!("key-{number}"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", gateway.log.text());
    Stream::new(answer)
}

/// Asks at a gateway and reads until there is text.
async fn begun(gateway: &Gateway, number: usize) -> (Stream, Vec<Event>) {
    let mut stream = ask(gateway, number).await;
    let mut events = Vec::new();
    while joined(&events).is_empty() {
        events.push(stream.next().await.expect("it goes on"));
    }
    (stream, events)
}

/// How many calls of each turn the ledger has.
async fn ledger(database: &Database) -> HashMap<String, usize> {
    let mut connection = sqlx::PgConnection::connect(&database.config.url).await.unwrap();
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT encode(turn_id, 'hex') FROM ledger").fetch_all(&mut connection).await.unwrap();
    let mut calls = HashMap::new();
    for (turn,) in rows {
        *calls.entry(format!("turn_{turn}")).or_default() += 1;
    }
    calls
}

/// What the other gateway tells of a turn whose own is gone. Gives the turn as it ended.
async fn settled(other: &Gateway, number: usize, seen: &[Event]) -> Value {
    let id = seen[0].turn()["id"].as_str().unwrap();
    let last = seen.last().unwrap();
    let rest = other.resume(id, last.id).await.expect("there is an end to come").rest().await;
    assert!(rest.iter().all(|event| event.id > last.id), "no number stands for two events");
    let turn = rest.last().unwrap().turn().clone();
    assert_eq!(joined(seen.iter().chain(&rest)), text_of(&turn));
    assert!(["incomplete", "failed"].contains(&turn["status"].as_str().unwrap()), "{turn:#}");
    assert!(joined(seen).starts_with(text_of(&turn)) || text_of(&turn).starts_with(&joined(seen)));
    // The same request is the same turn, and so is a look at it.
    let repeat = ask(other, number).await.rest().await;
    assert_eq!(whole(&repeat), &turn);
    assert_eq!(other.get(&format!("/v1/chat/{id}")).await, (200, turn.clone()));
    let next =
        json!({"conversation_id": turn["conversation_id"], "assistant": "quick", "message": "and now?"});
    let (status, next) = other.post("/v1/chat", &next).await;
    assert_eq!((status, &next["status"]), (200, &json!("completed")), "{next:#}");
    turn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_has_its_turns_settled_by_the_other() {
    killed(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_has_its_turns_settled_by_the_other_with_redis_too() {
    let Some(redis) = Redis::start().await else { return };
    killed(Some(&redis)).await;
}

async fn killed(redis: Option<&Redis>) {
    let Some((bed, database, mut one, mut two)) = two_programs(redis).await else { return };
    let running = join_all((0..TURNS).map(|number| begun(&one, number))).await;
    one.kill().await;
    // What had arrived before the kill still comes; then the stream breaks off.
    let seen = running.into_iter().map(|(stream, mut events)| async move {
        events.extend(stream.rest().await);
        events
    });
    let seen = join_all(seen).await;
    let checks = seen.iter().enumerate().map(|(number, events)| settled(&two, number, events));
    let turns = join_all(checks).await;
    assert_eq!(bed.journal.calls_for("fault-slow-pieces-60").len(), TURNS, "nobody was asked twice");
    let calls = ledger(&database).await;
    for turn in turns {
        assert_eq!(calls.get(turn["id"].as_str().unwrap()), Some(&1));
    }
    two.signal("TERM").await;
    assert!(two.ended().await.success());
    database.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_after_all_were_killed_settles_their_turns() {
    let Some((bed, database, mut one, mut two)) = two_programs(None).await else { return };
    let ((first, mut seen), (second, mut also)) = tokio::join!(begun(&one, 0), begun(&two, 1));
    one.kill().await;
    two.kill().await;
    seen.extend(first.rest().await);
    also.extend(second.rest().await);
    let mut after = bed.start().await;
    tokio::join!(settled(&after, 0, &seen), settled(&after, 1, &also));
    after.signal("TERM").await;
    assert!(after.ended().await.success());
    database.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_paused_goes_on_and_changes_nothing() {
    let Some((_bed, database, mut one, mut two)) = two_programs(None).await else { return };
    let (stream, mut events) = begun(&one, 0).await;
    one.signal("STOP").await;
    let turn = settled(&two, 0, &events).await;
    one.signal("CONT").await;
    // Its reader is told the end that stands, whatever came from the provider meanwhile.
    events.extend(stream.rest().await);
    assert_eq!(whole(&events), &turn);
    one.log.wait_for("others took this process for dead: its turns are theirs, it joins anew").await;
    let path = format!("/v1/chat/{}", turn["id"].as_str().unwrap());
    for gateway in [&one, &two] {
        assert_eq!(gateway.get(&path).await, (200, turn.clone()));
        let (status, next) = gateway.post("/v1/chat", &json!({"assistant": "quick", "message": "on"})).await;
        assert_eq!((status, &next["status"]), (200, &json!("completed")), "{next:#}");
    }
    for gateway in [&mut one, &mut two] {
        gateway.signal("TERM").await;
        assert!(gateway.ended().await.success());
    }
    database.finish().await;
}

/// One file, one gateway: a second one says so, and a command for keys does not mind.
#[tokio::test]
async fn a_file_has_one_gateway() {
    let bed = Bed::new(&[("quick", "openai", "sim-model")], "", "").await;
    let mut gateway = bed.start().await;
    let second =
        crate::smoke::program::command(&["serve", "--config"]).arg(bed.file()).output().await.unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another gateway runs on this database file"));
    let keys =
        crate::smoke::program::command(&["keys", "list", "--config"]).arg(bed.file()).output().await.unwrap();
    assert!(keys.status.success());
    gateway.kill().await;
    bed.start().await.kill().await;
}

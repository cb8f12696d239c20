//! Reloading under load: nobody notices, whatever is in the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use super::commands::{Folder, KEY};
use super::program::client;
use super::{Program, get};

const SECRET: &str = "a-key-of-the-file";

/// A provider in this process, and its stanza: another one for each number.
async fn provider() -> (impl Fn(usize) -> String, tokio_util::task::TaskTracker) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/openai/v1", listener.local_addr().unwrap());
    let options = simulator::Options { pace: simulator::Pace::Instant, ..simulator::Options::default() };
    let tracker = tokio_util::task::TaskTracker::new();
    tracker.spawn(simulator::serve(listener, options, std::future::pending::<()>()));
    let stanza = move |number: usize| {
        format!(
            "[providers.model]\nkind = \"openai\"\nbase_url = \"{base}\"\napi_key = \"{}\"\nidle_timeout = \"{}s\"\n\
             [assistants.support]\nprovider = \"model\"\nupstream_id = \"gpt-4o\"\ndescription = \"number {number}\"\n\
             {KEY}\n[[keys]]\nname = \"key {number}\"\nsecret = \"a-key-that-comes-and-goes\"\n",
            simulator::KEY,
            60 + number,
        )
    };
    (stanza, tracker)
}

/// One turn, whole or streamed; what is wrong with its answer.
async fn turn(client: &reqwest::Client, url: &str, stream: bool) -> Result<(), String> {
    let body = json!({"assistant": "support", "message": "Hello", "stream": stream});
    let request = client.post(format!("{url}/v1/chat")).bearer_auth(SECRET);
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    let done = if stream { "event: turn.completed\n" } else { "\"status\":\"completed\"" };
    if status == 200 && text.contains(done) { Ok(()) } else { Err(format!("{status} {text}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_half_of_them_broken() {
    let (stanza, _providers) = provider().await;
    let folder = Folder::with(&stanza(0));
    let gateway = Program::serve(&folder.file(), SECRET).await;
    let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for number in 0..8 {
        let (stop, turns, url) = (Arc::clone(&stop), Arc::clone(&turns), gateway.url.clone());
        load.spawn(async move {
            let client = client();
            while !stop.load(Ordering::Relaxed) {
                turn(&client, &url, number % 2 == 0).await?;
                turns.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, String>(())
        });
    }
    let client = client();
    for number in 1..=100 {
        let good = number % 2 == 0;
        let text = stanza(number);
        folder.write(&if good { text } else { text.replace("[assistants.support]", "[assistants.support") });
        let reload = client.post(format!("{}/admin/reload", gateway.admin)).bearer_auth(SECRET);
        let status = reload.send().await.unwrap().status().as_u16();
        assert_eq!(status, if good { 200 } else { 400 }, "{number}");
        // What is in force is the last good one.
        let (_, assistant) = get(&gateway, "/v1/assistants/support").await;
        assert_eq!(assistant["description"], format!("number {}", number / 2 * 2));
        // Each meets turns that run.
        let before = turns.load(Ordering::Relaxed);
        while turns.load(Ordering::Relaxed) < before + 4 && load.try_join_next().is_none() {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(outcome) = load.join_next().await {
        assert_eq!(outcome.unwrap(), Ok(()));
    }
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns >= 400, "{turns} turns: as many as there were reloads, several times");
    let metrics =
        client.get(format!("{}/metrics", gateway.admin)).send().await.unwrap().text().await.unwrap();
    for outcome in ["ok", "failed"] {
        let name = format!("switchboard_config_reloads_total{{outcome=\"{outcome}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect(outcome);
        // More, where the change was seen before the admin asked.
        assert!(count.parse::<u32>().unwrap() >= 50, "{outcome}: {count}");
    }
}

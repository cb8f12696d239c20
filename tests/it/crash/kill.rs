//! kill -9 in the middle of many streams.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::bed::answered;
use super::stream::{text_of, whole};
use super::{Bed, Event, Gateway, Stream, joined};

/// Providers with and without a memory of their own, at three speeds: when the kill comes some turns have ended, some are in the
/// middle and some have said nothing yet.
const ASSISTANTS: [(&str, &str, &str); 6] = [
    ("brisk", "openai", "fault-slow-pieces-40"),
    ("calm", "openai", "fault-slow-pieces-300"),
    ("late", "openai", "fault-slow-text-60000"),
    ("tunnel", "gptunnel", "fault-slow-pieces-120"),
    ("bot", "mygptassistants", "fault-slow-pieces-120"),
    ("quick", "openai", "sim-model"),
];

/// The one that says nothing before it is killed.
const SILENT: &str = "late";
/// How many events a turn has on the average, those that say nothing included.
const EVENTS: usize = 20;
/// Into so many parts the time of a round is divided, for a kill in each.
const PARTS: usize = 4;

/// How old text may be that is lost: the second that is promised, as much again for a slow machine, and what a write took.
const LOST_MAX: Duration = Duration::from_secs(2);

/// What a client knows of its turn.
struct Seen {
    message: String,
    assistant: &'static str,
    events: Vec<Event>,
}

impl Seen {
    fn id(&self) -> &str {
        self.events[0].turn()["id"].as_str().unwrap()
    }

    fn conversation(&self) -> &str {
        self.events[0].turn()["conversation_id"].as_str().unwrap()
    }

    fn body(&self) -> Value {
        json!({"assistant": self.assistant, "message": self.message, "stream": true})
    }
}

/// Whom the turn with this number asks.
fn assistant(number: usize) -> &'static str {
    ASSISTANTS[number % (ASSISTANTS.len() - 1)].0
}

/// Kills and turns at once: the whole of it where the environment asks for it, a sample else.
fn size() -> (usize, usize) {
    let whole = std::env::var_os("SWITCHBOARD_TEST_FULL").is_some();
    if whole { (20, 200) } else { (4, 60) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_keeps_what_it_promised() {
    let (kills, turns) = size();
    let bed = Bed::new(&ASSISTANTS, "", "").await;
    let mut gateway = bed.start().await;
    for kill in 0..kills {
        bed.journal.clear();
        // From before most have begun to when most have ended, and each part of it in turn.
        let (part, most) = (kill % PARTS, turns * EVENTS / PARTS);
        let after = rand::rng().random_range(part * most + 1..=(part + 1) * most);
        let (seen, killed_at, slowest) = kill_after(&mut gateway, kill, turns, after).await;
        gateway = bed.start().await;
        let started = seen.iter().filter(|seen| !seen.events.is_empty()).count();
        eprintln!(
            "kill {kill}: after {after} events, {started} of {turns} accepted, slowest write {slowest:?}"
        );
        let round = Round { bed: &bed, gateway: &gateway, sure: killed_at - LOST_MAX - slowest };
        let checks = seen.iter().map(|seen| round.check(seen));
        stream::iter(checks).buffer_unordered(16).collect::<Vec<()>>().await;
        round.check_calls(&seen);
    }
}

/// Asks `turns` times at once and kills the gateway once its clients have seen so many events. Gives what they saw, when it was
/// killed, and how long the slowest durable write took meanwhile.
async fn kill_after(
    gateway: &mut Gateway,
    kill: usize,
    turns: usize,
    after: usize,
) -> (Vec<Seen>, Instant, Duration) {
    let (count, ended, enough) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
    let silent = (0..turns).filter(|number| assistant(*number) == SILENT).count();
    let told = |event: &Event| {
        let all_ended = event.is_end() && ended.fetch_add(1, Ordering::SeqCst) + 1 == turns - silent;
        if count.fetch_add(1, Ordering::SeqCst) + 1 == after || all_ended {
            enough.notify_one();
        }
    };
    let ask = async |number: usize| {
        let (message, assistant) = (format!("question {kill}-{number}"), assistant(number));
        let mut seen = Seen { message, assistant, events: Vec::new() };
        let request = gateway.posting("/v1/chat", &seen.body()).header("idempotency-key", &seen.message);
        // An error is the kill: the client knows nothing of its turn.
        if let Ok(answer) = request.send().await {
            assert_eq!(answer.status(), 200);
            let mut stream = Stream::new(answer);
            while let Some(event) = stream.next().await {
                told(&event);
                seen.events.push(event);
            }
        }
        seen
    };
    let pulse = Mutex::new((Duration::ZERO, Instant::now()));
    let kill = async {
        tokio::select! {
            () = enough.notified() => {}
            () = write_on_and_on(gateway, &pulse) => {}
        }
        let at = Instant::now();
        gateway.signal("KILL").await;
        let (slowest, began) = *pulse.lock().unwrap();
        (at, slowest.max(at - began))
    };
    let (seen, (at, slowest)) = tokio::join!(join_all((0..turns).map(ask)), kill);
    gateway.kill().await;
    (seen, at, slowest)
}

/// Writes again and again, each time once the last write is durable, and notes the slowest and when the last began.
async fn write_on_and_on(gateway: &Gateway, pulse: &Mutex<(Duration, Instant)>) {
    let (status, made) = gateway.post("/v1/conversations", &json!({"assistant": "quick"})).await;
    assert_eq!(status, 201);
    let path = format!("/v1/conversations/{}", made["id"].as_str().unwrap());
    loop {
        let began = Instant::now();
        pulse.lock().unwrap().1 = began;
        let request = gateway.request(http::Method::PATCH, &path).header("content-type", "application/json");
        // Broken off by the kill: then nobody looks any more.
        if request.body("{\"title\": \"again\"}").send().await.is_err() {
            return;
        }
        let mut pulse = pulse.lock().unwrap();
        pulse.0 = pulse.0.max(began.elapsed());
    }
}

/// The gateway after the kill.
struct Round<'a> {
    bed: &'a Bed,
    gateway: &'a Gateway,
    /// What a client had before this moment is kept.
    sure: Instant,
}

impl Round<'_> {
    async fn check(&self, seen: &Seen) {
        if seen.events.is_empty() {
            return self.check_unknown(seen).await;
        }
        let (status, turn) = self.gateway.get(&format!("/v1/chat/{}", seen.id())).await;
        assert_eq!(status, 200, "accepted, so it is kept: {turn:#}");
        self.check_text(seen, &turn).await;
        let after = self.check_streams(seen, &turn).await;
        let messages = self.gateway.messages(seen.conversation()).await;
        let (role, text, _) = &messages[0];
        assert_eq!((role.as_str(), text.as_str()), ("user", seen.message.as_str()));
        assert_eq!(messages.get(1).map(|(_, text, _)| text.as_str()).unwrap_or_default(), text_of(&turn));
        assert_eq!(messages.len(), if text_of(&turn).is_empty() { 1 } else { 2 });
        // The same request once more is the same turn.
        let repeat = self.gateway.posting("/v1/chat", &seen.body()).header("idempotency-key", &seen.message);
        let repeat = Stream::new(repeat.send().await.unwrap()).rest().await;
        assert_eq!(repeat.iter().map(|event| event.id).collect::<Vec<_>>(), after);
        assert_eq!(repeat[0].turn()["id"], seen.id());
        let next =
            json!({"conversation_id": seen.conversation(), "assistant": "quick", "message": "and now?"});
        let (status, next) = self.gateway.post("/v1/chat", &next).await;
        assert_eq!((status, &next["status"]), (200, &json!("completed")), "{next:#}");
    }

    /// What is kept begins what was sent, or goes on where it stopped, and nothing old is missing.
    async fn check_text(&self, seen: &Seen, turn: &Value) {
        let last = seen.events.last().unwrap();
        if last.is_end() {
            assert_eq!(turn, last.turn(), "an end that was told stands");
            return;
        }
        let ended = ["completed", "incomplete", "failed"].contains(&turn["status"].as_str().unwrap());
        assert!(ended, "{turn:#}");
        let (kept, shown) = (text_of(turn), joined(&seen.events));
        assert_eq!(turn["status"] == "failed", kept.is_empty());
        let old = joined(seen.events.iter().filter(|event| event.at < self.sure));
        assert!(
            kept.starts_with(&old),
            "told long before the kill and lost: {old:?} of which is left {kept:?}"
        );
        assert!(shown.starts_with(kept) || kept.starts_with(&shown), "{shown:?} is not {kept:?}");
        // The others remember, and answer otherwise when they are asked again.
        if kept.len() > shown.len() && ["brisk", "calm"].contains(&seen.assistant) {
            assert!(self.sent(seen).await.starts_with(kept), "never said: {kept:?}");
        }
    }

    /// All that the simulator says to this question: asked the same again, in one piece.
    async fn sent(&self, seen: &Seen) -> String {
        let asked = |call: &simulator::Call| question(call).as_ref() == Some(&seen.message);
        let call = self.bed.journal.calls().into_iter().find(asked).expect("it was asked");
        let mut body = call.body.as_ref().clone();
        body["stream"] = json!(false);
        body["stream_options"] = Value::Null;
        let request = self.gateway.client.post(format!("{}{}", self.bed.simulator, call.path));
        let request = request.bearer_auth(simulator::KEY).header("content-type", "application/json");
        let (status, answer) = answered(request.body(body.to_string())).await;
        assert_eq!(status, 200, "{answer:#}");
        answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// The stream of a settled turn goes on after what the client has, and can be read from the start. Gives all its numbers.
    async fn check_streams(&self, seen: &Seen, turn: &Value) -> Vec<u64> {
        let whole_stream = self.gateway.resume(seen.id(), 0).await.unwrap().rest().await;
        assert_eq!(whole(&whole_stream), turn);
        let last = seen.events.last().unwrap();
        let rest = match self.gateway.resume(seen.id(), last.id).await {
            Some(stream) => stream.rest().await,
            None => Vec::new(),
        };
        assert_eq!(rest.is_empty(), last.is_end());
        assert!(rest.iter().all(|event| event.id > last.id), "no number stands for two events");
        assert_eq!(joined(seen.events.iter().chain(&rest)), text_of(turn));
        if turn["error"]["code"] == "internal" {
            let kinds: Vec<_> = rest.iter().map(|event| event.kind.as_str()).collect();
            let end = format!("turn.{}", turn["status"].as_str().unwrap());
            assert_eq!(kinds, ["message.replaced", end.as_str()], "what was kept, then the end");
        }
        whole_stream.iter().map(|event| event.id).collect()
    }

    /// A client that was told nothing asks again: its turn was accepted, or is now.
    async fn check_unknown(&self, seen: &Seen) {
        let request = self.gateway.posting("/v1/chat", &seen.body()).header("idempotency-key", &seen.message);
        let mut stream = Stream::new(request.send().await.unwrap());
        assert_eq!(stream.next().await.unwrap().kind, "turn.started");
    }

    /// No turn was asked twice, and each call that was made is in the ledger once.
    fn check_calls(&self, seen: &[Seen]) {
        let mut asked = HashMap::<String, usize>::new();
        for question in self.bed.journal.calls().iter().filter_map(question) {
            *asked.entry(question).or_default() += 1;
        }
        let ledger = self.bed.ledger();
        for seen in seen {
            let calls = asked.get(&seen.message).copied().unwrap_or(0);
            assert!(calls <= 1, "{} was asked {calls} times", seen.message);
            if !seen.events.is_empty() {
                let rows = ledger.get(seen.id()).map_or(0, Vec::len);
                // A turn that was killed before its call began has the note that there may have been one.
                assert_eq!(rows, 1, "{}: {calls} calls, {:?}", seen.message, ledger.get(seen.id()));
            }
        }
    }
}

/// The question that the gateway passed on with a call, unless it is the one after the kill.
fn question(call: &simulator::Call) -> Option<String> {
    let agent = call.headers.get("user-agent").map(String::as_str).unwrap_or_default();
    if !agent.starts_with("switchboard/") || call.upstream_id.as_deref() == Some("sim-model") {
        return None;
    }
    let body = call.body.to_string();
    let (_, rest) = body.rsplit_once("question ")?;
    Some(format!("question {}", rest.split('"').next()?))
}

//! Clients that lose their connections and come back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::bed::ASSISTANTS;
use crate::crash::bed::SECRET;
use crate::crash::stream::{Event, Stream, joined, text_of};

/// What a client was told of a turn.
pub struct Told {
    pub message: String,
    pub body: Value,
    pub events: Vec<Event>,
}

impl Told {
    pub fn id(&self) -> &str {
        self.events[0].turn()["id"].as_str().unwrap()
    }

    /// The turn in its last event.
    pub fn turn(&self) -> &Value {
        self.events.last().unwrap().turn()
    }

    /// Its events are all there, each once, and together they are the reply.
    pub fn check_whole(&self) {
        let ids: Vec<_> = self.events.iter().map(|event| event.id).collect();
        assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "no gap and no repeat");
        assert_eq!(self.turn()["status"], "completed", "{:#}", self.turn());
        assert_eq!(joined(&self.events), text_of(self.turn()));
        assert!(!text_of(self.turn()).is_empty());
    }
}

/// What was asked of a provider.
pub fn question(call: &simulator::Call) -> Option<String> {
    let body = call.body.to_string();
    // The newest message is the last: before it stand those of earlier turns.
    let (_, rest) = body.rsplit_once("question ")?;
    Some(format!("question {}", rest.split('"').next()?))
}

/// Many clients of one address.
pub struct Clients {
    client: reqwest::Client,
    /// One event in so many is the last before a client loses its connection; 0: it never does.
    drops: u32,
    /// Clients that have seen text by now.
    pub begun: watch::Sender<usize>,
    /// No further turns.
    pub enough: AtomicBool,
    /// Requests that were refused as `draining`.
    pub refused: AtomicUsize,
    /// Answers of nginx itself: a gateway closed the connection that it was asked over.
    pub unanswered: AtomicUsize,
    /// Connections that clients gave up.
    pub dropped: AtomicUsize,
    /// Streams that broke off.
    pub broken: AtomicUsize,
}

impl Clients {
    pub fn new(client: reqwest::Client, drops: u32) -> Self {
        Self {
            client,
            drops,
            begun: watch::Sender::new(0),
            enough: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
        }
    }

    /// Asks until it is enough, each time once the turn before has ended; every other client goes on in its conversation.
    pub async fn ask_on_and_on(&self, number: usize) -> Vec<Told> {
        let mut all: Vec<Told> = Vec::new();
        loop {
            let message = format!("question {number}-{}", all.len());
            let mut body = json!({"message": message, "stream": true});
            match all.last() {
                Some(last) if number % 2 == 1 => {
                    body["conversation_id"] = last.turn()["conversation_id"].clone();
                }
                _ => body["assistant"] = json!(ASSISTANTS[number % ASSISTANTS.len()]),
            }
            all.push(self.ask(message, body).await);
            if self.enough.load(Ordering::SeqCst) {
                return all;
            }
        }
    }

    /// A turn to its end, whatever becomes of connections.
    async fn ask(&self, message: String, body: Value) -> Told {
        let mut told = Told { message, body, events: Vec::new() };
        let mut stream = self.begin(&told).await;
        let mut begun = false;
        loop {
            match stream.next().await {
                Some(event) => {
                    if !begun && event.kind == "message.delta" {
                        begun = true;
                        self.begun.send_modify(|count| *count += 1);
                    }
                    let ended = event.is_end();
                    told.events.push(event);
                    if ended {
                        return told;
                    }
                    if self.drops == 0 || !rand::rng().random_ratio(1, self.drops) {
                        continue;
                    }
                    self.dropped.fetch_add(1, Ordering::SeqCst);
                }
                None => {
                    self.broken.fetch_add(1, Ordering::SeqCst);
                }
            }
            drop(stream);
            stream = if told.events.is_empty() { self.begin(&told).await } else { self.go_on(&told).await };
        }
    }

    /// The request of a turn, or a repeat of it.
    pub async fn begin(&self, told: &Told) -> Stream {
        let request = self.client.post("http://switchboard/v1/chat").header("idempotency-key", &told.message);
        self.answered(request.header("content-type", "application/json").body(told.body.to_string())).await
    }

    async fn go_on(&self, told: &Told) -> Stream {
        self.read(told.id(), told.events.last().unwrap().id).await
    }

    /// A turn's events after this one.
    pub async fn read(&self, id: &str, after: u64) -> Stream {
        let request = self.client.get(format!("http://switchboard/v1/chat/{id}/events"));
        self.answered(request.header("last-event-id", after.to_string())).await
    }

    /// Asks until it is answered: what may be repeated is, as clients are told to.
    async fn answered(&self, request: reqwest::RequestBuilder) -> Stream {
        let request = request.bearer_auth(SECRET);
        // What a client waits before it asks again.
        let mut again = tokio::time::interval(Duration::from_millis(250));
        loop {
            again.tick().await;
            let answer = request.try_clone().unwrap().send().await.expect("nginx answers");
            let status = answer.status().as_u16();
            if status == 200 {
                return Stream::new(answer);
            }
            let text = answer.text().await.unwrap();
            let code = serde_json::from_str::<Value>(&text).unwrap_or_default()["error"]["code"].clone();
            match (status, code.as_str()) {
                (503, Some("draining")) => self.refused.fetch_add(1, Ordering::SeqCst),
                (502, None) => self.unanswered.fetch_add(1, Ordering::SeqCst),
                _ => panic!("{status} {text}"),
            };
        }
    }
}

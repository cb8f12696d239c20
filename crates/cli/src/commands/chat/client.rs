//! Calls of the gateway, and the reader of a turn's events.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use upstream::sse;

use super::{reason, wire};

/// To a connection: a gateway is near.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The gateway writes a comment line much more often than this.
const SILENCE_MAX: Duration = Duration::from_secs(330);
/// A turn that was asked for without an answer is asked for again so often, under the same idempotency key.
const ASKS_MAX: u32 = 3;

/// A gateway.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
}

/// Why a call came to nothing, as a sentence for people.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection: the same may go well in a moment.
    Broken(String),
    /// The gateway's own no.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}

impl Client {
    pub(super) fn new(url: String, key: &str) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        if !key.is_empty() {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .context("the key has characters that no header takes")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let mut http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_MAX)
            .read_timeout(SILENCE_MAX);
        if !url.starts_with("https:") {
            // Plain text needs no authorities, and is for the neighbourhood: no proxy of the environment either.
            http = http.tls_certs_only([]).no_proxy();
        }
        Ok(Self { http: http.build()?, url })
    }

    /// The names of the assistants that the key may use.
    pub(super) async fn assistants(&self) -> Result<Vec<String>, Failure> {
        let answer = accepted(self.http.get(self.route("/v1/assistants"))).await?;
        let list: wire::Assistants = json(answer).await?;
        Ok(list.data.into_iter().map(|assistant| assistant.name).collect())
    }

    /// Asks for a turn. Where no answer comes the same request is sent again: its idempotency key makes one turn of it.
    pub(super) async fn ask(&self, ask: &wire::Ask<'_>) -> Result<Streaming, Failure> {
        let body = serde_json::to_vec(ask).map_err(|error| Failure::Refused(error.to_string()))?;
        let key = format!("chat-{:032x}", rand::random::<u128>());
        let mut asks = 1;
        loop {
            let request = self
                .http
                .post(self.route("/v1/chat"))
                .header(header::CONTENT_TYPE, "application/json")
                .header("idempotency-key", &key)
                .body(body.clone());
            match accepted(request).await {
                Ok(answer) => return Ok(Streaming::new(answer, None)),
                Err(Failure::Broken(_)) if asks < ASKS_MAX => asks += 1,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Goes on with a turn's events after the last one that was read.
    pub(super) async fn resume(&self, broken: &Streaming) -> Result<Streaming, Failure> {
        let Some(turn) = broken.turn_id() else {
            return Err(Failure::Refused("the gateway named no turn to go on with".to_owned()));
        };
        let request = self
            .http
            .get(self.route(&format!("/v1/chat/{turn}/events")))
            .header("last-event-id", broken.last_seq.to_string());
        let answer = accepted(request).await?;
        Ok(Streaming::new(answer, Some(broken)))
    }

    /// Stops a turn. Its end comes in its events.
    pub(super) async fn cancel(&self, turn: &str) -> Result<(), Failure> {
        accepted(self.http.post(self.route(&format!("/v1/chat/{turn}/cancel")))).await?;
        Ok(())
    }

    fn route(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// Sends a request; an answer that is no success is a failure in the gateway's words.
async fn accepted(request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
    let answer = request.send().await.map_err(|error| Failure::Broken(reason(&error)))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let refusal: Result<wire::Refusal, Failure> = json(answer).await;
    let words = refusal.map(|refusal| sentence(&refusal.error)).unwrap_or_else(|_| {
        format!("the gateway answers {status}, and not in its own words: is this its address?")
    });
    let gateway = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
    Err(if gateway { Failure::Broken(words) } else { Failure::Refused(words) })
}

async fn json<T: serde::de::DeserializeOwned>(answer: reqwest::Response) -> Result<T, Failure> {
    let body = answer.bytes().await.map_err(|error| Failure::Broken(reason(&error)))?;
    serde_json::from_slice(&body)
        .map_err(|_| Failure::Refused("this is not a gateway's answer: is this its address?".to_owned()))
}

/// An error as a sentence, its code behind it.
pub(super) fn sentence(error: &wire::Error) -> String {
    format!("{} ({})", error.message, error.code)
}

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// A turn's events, as they come.
pub(super) struct Streaming {
    chunks: Chunks,
    frames: sse::Reader,
    waiting: VecDeque<wire::Event>,
    turn: Option<String>,
    /// The number of the last event that was given out.
    last_seq: u64,
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming")
            .field("turn", &self.turn)
            .field("last_seq", &self.last_seq)
            .finish_non_exhaustive()
    }
}

impl Streaming {
    fn new(answer: reqwest::Response, before: Option<&Self>) -> Self {
        let turn = answer.headers().get("x-turn-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Self {
            turn: turn.or_else(|| before.and_then(|before| before.turn.clone())),
            last_seq: before.map_or(0, |before| before.last_seq),
            chunks: Box::pin(answer.bytes_stream()),
            frames: sse::Reader::new(sse::Limits::default()),
            waiting: VecDeque::new(),
        }
    }

    /// The turn that is read.
    pub(super) fn turn_id(&self) -> Option<&str> {
        self.turn.as_deref()
    }

    /// The next event; nothing at the end of the connection. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> Result<Option<wire::Event>, Failure> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                // What was read before the connection broke is not shown twice.
                if event.seq <= self.last_seq {
                    continue;
                }
                self.last_seq = event.seq;
                if let Some(turn) = &event.turn {
                    self.turn = Some(turn.id.clone());
                }
                return Ok(Some(event));
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.frames.push(&chunk),
                Some(Err(error)) => return Err(Failure::Broken(reason(&error))),
                None => return Ok(None),
            }
            self.take_frames()?;
        }
    }

    fn take_frames(&mut self) -> Result<(), Failure> {
        loop {
            match self.frames.next_frame() {
                Ok(Some(frame)) => {
                    let event = serde_json::from_str(&frame.data)
                        .map_err(|_| Failure::Refused("the gateway's stream cannot be read".to_owned()))?;
                    self.waiting.push_back(event);
                }
                Ok(None) => return Ok(()),
                Err(_) => return Err(Failure::Refused("the gateway's stream cannot be read".to_owned())),
            }
        }
    }
}

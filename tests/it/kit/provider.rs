//! A provider that plays what it is told, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chat::{
    AttemptReport, Capabilities, Failure, Injection, Memory, Offer, Piece, PieceStream, Provider,
    ProviderError, ProviderStatus, Request, Timestamp, UpstreamConversation, UpstreamMessage, UpstreamPage,
};
use futures_util::StreamExt;
use tokio::sync::Semaphore;

/// Something that a test opens when it wants the provider to go on.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub fn open(&self) {
        self.0.close();
    }

    async fn pass(&self) {
        let _ = self.0.acquire().await;
    }
}

/// One thing that the provider does.
#[derive(Debug, Clone)]
pub enum Act {
    Give(Piece),
    Fail(ProviderError),
    /// Fails before the first piece.
    Refuse(ProviderError),
    Wait(Gate),
    Hang,
    /// The provider's code has a mistake.
    Panic,
    /// Reports an attempt that failed, and follows it by another once it is noted: before the first piece, or among them.
    Retried(Failure),
    /// The head of the answer comes, with this status.
    Answered(u16),
}

pub type Play = Vec<Act>;

/// A play that says this and ends well.
pub fn text(pieces: &[&str]) -> Play {
    let mut play: Play = pieces.iter().map(|piece| Act::Give(Piece::Text((*piece).to_owned()))).collect();
    play.push(Act::Give(Piece::End(None)));
    play
}

#[derive(Debug)]
pub struct Scripted {
    pub memory: Memory,
    pub capabilities: Capabilities,
    pub client_made_threads: bool,
    /// What a client of the OpenAI dialect sends is passed through.
    pub passes_through: bool,
    plays: Mutex<VecDeque<Play>>,
    pub asked: Mutex<Vec<Request>>,
    /// The turns that attempts were sent for: further ones of a call included.
    pub sent: Arc<Mutex<Vec<chat::TurnId>>>,
    pub injected: Mutex<Vec<Injection>>,
    pub history: Mutex<Vec<UpstreamMessage>>,
    pub listed: Mutex<Vec<UpstreamConversation>>,
    pub closed_for: Mutex<Option<Duration>>,
    /// Answers that are being given.
    pub open: Arc<AtomicUsize>,
}

/// Where the attempts of one call are reported.
struct Line {
    observer: Arc<dyn chat::AttemptObserver>,
    turn: chat::TurnId,
    sent: Arc<Mutex<Vec<chat::TurnId>>>,
}

impl Line {
    fn send(&self) {
        self.sent.lock().unwrap().push(self.turn);
        self.observer.began();
    }

    async fn send_again(&self, failure: Failure) {
        let (duration, retry_in) = (Duration::from_millis(1), Duration::ZERO);
        self.observer.failed(AttemptReport { failure, status: None, duration, retry_in, unsent: false });
        self.observer.noted().await;
        self.send();
    }
}

struct Opened(Arc<AtomicUsize>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    /// One that is given the history with every call.
    pub fn replay() -> Self {
        Self {
            memory: Memory::Replay,
            capabilities: Capabilities {
                stream: Offer::Native,
                history: Offer::Native,
                system: Offer::Native,
                images: Offer::Unsupported,
                search_filters: Offer::Unsupported,
                citations: Offer::Native,
                usage: Offer::Native,
                inject: Offer::Unsupported,
                upstream_history: Offer::Unsupported,
            },
            client_made_threads: false,
            passes_through: false,
            plays: Mutex::default(),
            asked: Mutex::default(),
            sent: Arc::default(),
            injected: Mutex::default(),
            history: Mutex::default(),
            listed: Mutex::default(),
            closed_for: Mutex::default(),
            open: Arc::default(),
        }
    }

    /// One that keeps threads under ids that the gateway makes, remembers as it is told to, and takes injected messages.
    pub fn threads() -> Self {
        let mut provider = Self::replay();
        provider.memory = Memory::Thread { windowed: true };
        provider.client_made_threads = true;
        provider.capabilities.inject = Offer::Native;
        provider.capabilities.upstream_history = Offer::Native;
        provider
    }

    /// One that keeps threads under ids of its own ([`Piece::Thread`]).
    pub fn own_threads() -> Self {
        let mut provider = Self::threads();
        provider.memory = Memory::Thread { windowed: false };
        provider.client_made_threads = false;
        provider
    }

    /// The same, with nothing asked yet.
    pub fn again(&self) -> Self {
        let (memory, capabilities) = (self.memory, self.capabilities);
        Self { memory, capabilities, client_made_threads: self.client_made_threads, ..Self::replay() }
    }

    /// The next call plays this.
    pub fn plays(&self, play: Play) {
        self.plays.lock().unwrap().push_back(play);
    }

    /// Forgets what is yet to be played.
    pub fn reset(&self) {
        self.plays.lock().unwrap().clear();
    }

    pub fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub fn last(&self) -> Request {
        self.asked.lock().unwrap().last().cloned().unwrap()
    }

    /// The texts of the history that the last call was given.
    pub fn last_history(&self) -> Vec<String> {
        self.last().history.iter().map(|message| message.content.text().into_owned()).collect()
    }
}

#[async_trait]
impl Provider for Scripted {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn memory(&self) -> Memory {
        self.memory
    }

    fn passes_through(&self) -> bool {
        self.passes_through
    }

    fn new_thread(&self) -> Option<String> {
        self.client_made_threads.then(|| uuid::Uuid::new_v4().to_string())
    }

    fn closed_for(&self) -> Option<Duration> {
        *self.closed_for.lock().unwrap()
    }

    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError> {
        let line = Line {
            observer: Arc::clone(&request.observer),
            turn: request.turn_id,
            sent: Arc::clone(&self.sent),
        };
        self.asked.lock().unwrap().push(request);
        let play = self.plays.lock().unwrap().pop_front().unwrap_or_else(|| text(&["ok"]));
        line.send();
        let mut rest = VecDeque::from(play);
        while let Some(act) = rest.pop_front() {
            match act {
                Act::Retried(failure) => line.send_again(failure).await,
                Act::Answered(status) => line.observer.answered(status),
                Act::Refuse(error) => return Err(error),
                act => {
                    rest.push_front(act);
                    break;
                }
            }
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        let opened = Opened(Arc::clone(&self.open));
        let stream =
            futures_util::stream::unfold((rest, opened, line), |(mut rest, opened, line)| async move {
                loop {
                    return match rest.pop_front()? {
                        Act::Give(piece) => Some((Ok(piece), (rest, opened, line))),
                        Act::Fail(error) | Act::Refuse(error) => {
                            Some((Err(error), (VecDeque::new(), opened, line)))
                        }
                        Act::Wait(gate) => {
                            gate.pass().await;
                            continue;
                        }
                        Act::Hang => std::future::pending().await,
                        Act::Panic => panic!("a mistake, as the test wants it"),
                        Act::Retried(failure) => {
                            line.send_again(failure).await;
                            continue;
                        }
                        Act::Answered(status) => {
                            line.observer.answered(status);
                            continue;
                        }
                    };
                }
            });
        Ok(stream.boxed())
    }

    async fn inject(&self, injection: Injection) -> Result<(), ProviderError> {
        self.injected.lock().unwrap().push(injection);
        Ok(())
    }

    async fn history(&self, _: &str, conversation: &str) -> Result<Vec<UpstreamMessage>, ProviderError> {
        if conversation == "gone" {
            return Err(Failure::NotFound.into());
        }
        Ok(self.history.lock().unwrap().clone())
    }

    async fn conversations(
        &self,
        _: &str,
        _: Option<Timestamp>,
        _: u32,
        _: u32,
    ) -> Result<UpstreamPage, ProviderError> {
        Ok(UpstreamPage { items: self.listed.lock().unwrap().clone(), has_more: false })
    }

    fn status(&self) -> ProviderStatus {
        ProviderStatus {
            breaker: "closed",
            in_flight: self.open.load(Ordering::SeqCst),
            last_error: None,
            last_error_at: None,
        }
    }
}

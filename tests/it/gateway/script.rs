//! A provider that says what a test wants.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chat::{
    Capabilities, Memory, Offer, Piece, PieceStream, Provider, ProviderError, ProviderStatus, Request,
};
use futures_util::stream;
use tokio::sync::mpsc;

/// Answers `you said: …` at once, or hands each call to the test.
#[derive(Debug, Default)]
pub struct Script {
    calls: Mutex<Option<mpsc::UnboundedSender<Call>>>,
    failure: Mutex<Option<ProviderError>>,
    /// What it can do is asked of it within a request: then it panics.
    pub panics: AtomicBool,
    /// The next calls do.
    pub panics_when_asked: AtomicBool,
    /// It reports no usage.
    pub silent: AtomicBool,
    /// It reports no money.
    pub tokens_alone: AtomicBool,
}

/// A call that a test answers.
#[derive(Debug)]
pub struct Call {
    pub request: Request,
    pub pieces: mpsc::UnboundedSender<Result<Piece, ProviderError>>,
}

impl Call {
    pub fn say(&self, text: &str) {
        self.pieces.send(Ok(Piece::Text(text.to_owned()))).unwrap();
    }

    pub fn end(self) {
        self.pieces.send(Ok(Piece::End(Some(chat::FinishReason::Stop)))).unwrap();
    }
}

impl Script {
    /// From now on calls wait for the test.
    pub fn by_hand(&self) -> mpsc::UnboundedReceiver<Call> {
        let (sender, calls) = mpsc::unbounded_channel();
        *self.calls.lock().unwrap() = Some(sender);
        calls
    }

    /// From now on calls fail so.
    pub fn fail(&self, error: impl Into<ProviderError>) {
        *self.failure.lock().unwrap() = Some(error.into());
    }
}

#[async_trait]
impl Provider for Script {
    fn capabilities(&self) -> Capabilities {
        assert!(!self.panics.load(Ordering::SeqCst), "secret words of a panic");
        Capabilities {
            stream: Offer::Native,
            history: Offer::Native,
            system: Offer::Native,
            images: Offer::Unsupported,
            search_filters: Offer::Unsupported,
            citations: Offer::Unsupported,
            usage: if self.silent.load(Ordering::SeqCst) { Offer::Unsupported } else { Offer::Native },
            inject: Offer::Unsupported,
            upstream_history: Offer::Unsupported,
        }
    }

    fn reports_cost(&self) -> bool {
        !self.tokens_alone.load(Ordering::SeqCst)
    }

    fn memory(&self) -> Memory {
        Memory::Replay
    }

    async fn answer(&self, request: Request) -> Result<PieceStream, ProviderError> {
        assert!(!self.panics_when_asked.load(Ordering::SeqCst), "secret words of a panic");
        if let Some(error) = self.failure.lock().unwrap().clone() {
            return Err(error);
        }
        request.observer.began();
        let calls = self.calls.lock().unwrap().clone();
        let (pieces, mut stream) = mpsc::unbounded_channel();
        match calls {
            Some(calls) => calls.send(Call { request, pieces }).unwrap(),
            None => {
                let call = Call { request, pieces };
                let usage = chat::Usage { total_tokens: Some(50), ..chat::Usage::default() };
                call.say("you said: ");
                call.say(&call.request.message.text());
                call.pieces.send(Ok(Piece::Usage(usage))).unwrap();
                call.end();
            }
        }
        Ok(Box::pin(stream::poll_fn(move |context| stream.poll_recv(context))))
    }

    fn status(&self) -> ProviderStatus {
        ProviderStatus { breaker: "closed", in_flight: 0, last_error: None, last_error_at: None }
    }
}

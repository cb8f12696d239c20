//! What a provider's decoder is, and the driver that makes a stream of pieces from an answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chat::{Emulated, Failure, FinishReason, Part, Piece, PieceStream, ProviderError, Source, Usage};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use tokio::time::Sleep;
use upstream::{Body, Response, Verdict};

use crate::again::Again;
use crate::failure::Judge;
use crate::health::Health;
use crate::redaction::Redaction;
use crate::shape::{Item, Shape};

/// How far a reply has come. The decoder's last word counts: a reply that was [`Step::Whole`] and goes on can be open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing says that it is whole.
    Open,
    /// The sign that it is whole was seen; more that belongs to it (usage) may follow.
    Whole,
    /// It is whole, and nothing that belongs to it follows: no more is read.
    Last,
}

/// Turns one answer's items into pieces: pure. What the provider's protocol counts as a whole reply is written beside each
/// implementation.
///
/// A decoder never gives [`Piece::End`] nor [`Emulated::Stream`]: the driver does.
pub(crate) trait Decoder: Send + 'static {
    /// Takes in the next item.
    ///
    /// # Errors
    /// The provider says that it failed, or the item cannot be read. Not heeded once the reply was whole.
    fn item(&mut self, item: Item, pieces: &mut Vec<Piece>) -> Result<Step, ProviderError>;

    /// The body has ended cleanly, and no step was [`Step::Last`]. [`Step::Open`] says that the reply is not whole: the driver
    /// makes the error of it.
    ///
    /// # Errors
    /// As for an item.
    fn end(&mut self, pieces: &mut Vec<Piece>) -> Result<Step, ProviderError>;

    /// Why the provider stopped, as far as it said.
    fn finish_reason(&self) -> Option<FinishReason> {
        None
    }
}

/// How long what may follow a whole reply (usage) is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// What the driver needs to know beside the answer and its decoder.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) judge: Judge,
    pub(crate) health: Arc<Health>,
    /// The client reads piece by piece: an answer in one piece is streamed in the provider's place.
    pub(crate) stream: bool,
    /// Bounds a whole body, a frame, a line.
    pub(crate) bytes_max: usize,
    /// The provider's id of the call, where its headers had one: named in errors.
    pub(crate) request_id: Option<String>,
    /// How the call is made again while nothing of its answer counts.
    pub(crate) again: Option<Again>,
}

impl Driver {
    /// Makes pieces from an answer. `first` come before all others.
    pub(crate) fn run(self, response: Response, first: Vec<Piece>, decoder: Box<dyn Decoder>) -> PieceStream {
        let run = Run {
            shape: Shape::new(&response.headers, self.bytes_max),
            status: response.status.as_u16(),
            body: Some(response.body),
            decoder,
            seen: Seen::default(),
            redaction: self.judge.redaction(),
            queue: first.into_iter().map(Ok).collect(),
            pieces: Vec::new(),
            step: Step::Open,
            losing: None,
            grace: None,
            driver: self,
        };
        Box::pin(run)
    }
}

/// What has come so far, as far as the end depends on it.
#[derive(Debug, Default)]
struct Seen {
    words: bool,
    tool_call: bool,
    emulated_stream: bool,
    sources: Vec<Source>,
    usage: Usage,
    /// The provider's id of the call, where its answer names it.
    request_id: Option<String>,
}

impl Seen {
    fn piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Text(text) => self.words |= !text.is_empty(),
            Piece::Replace(text) => self.words = !text.is_empty(),
            Piece::ToolCall(Part::ToolCall { .. }) => self.tool_call = true,
            Piece::Sources(sources) => self.sources.clone_from(sources),
            Piece::Usage(usage) => self.usage.merge(usage.clone()),
            Piece::Upstream(ids) => self.request_id = ids.request_id.clone().or(self.request_id.take()),
            _ => {}
        }
    }
}

struct Run {
    driver: Driver,
    status: u16,
    /// None once nothing more is read.
    body: Option<Body>,
    shape: Shape,
    decoder: Box<dyn Decoder>,
    seen: Seen,
    redaction: Redaction,
    queue: VecDeque<Result<Piece, ProviderError>>,
    /// Empty: what an item becomes, kept so that not every item makes room for it, as long as they come without a pause.
    pieces: Vec<Piece>,
    step: Step,
    /// The answer came to nothing: whether the call is made again is being found out.
    losing: Option<BoxFuture<'static, Lost>>,
    /// How long what may follow a whole reply is still waited for.
    grace: Option<Pin<Box<Sleep>>>,
}

impl Stream for Run {
    type Item = Result<Piece, ProviderError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(piece) = this.queue.pop_front() {
                return Poll::Ready(Some(piece));
            }
            if let Some(losing) = &mut this.losing {
                let lost = ready!(losing.as_mut().poll(context));
                this.losing = None;
                this.lost(lost);
                continue;
            }
            let Some(body) = &mut this.body else { return Poll::Ready(None) };
            let next = match body.poll_next_unpin(context) {
                Poll::Ready(next) => {
                    this.grace = None;
                    next
                }
                Poll::Pending if this.step == Step::Whole => {
                    // A provider that has said all may forget to hang up: its reply does not become a failure for it.
                    let grace = this.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(GRACE)));
                    ready!(grace.as_mut().poll(context));
                    this.end(Ok(()));
                    continue;
                }
                Poll::Pending => {
                    this.rest();
                    return Poll::Pending;
                }
            };
            match next {
                Some(Ok(bytes)) => {
                    this.shape.push(&bytes);
                    this.items();
                }
                None => {
                    this.shape.finish();
                    this.items();
                    this.clean_end();
                }
                Some(Err(failure)) => this.end(Err(this.driver.judge.transport(failure))),
            }
        }
    }
}

/// A call that came to nothing, why, and what came of making it again; none where it was not made again.
struct Lost {
    again: Again,
    error: ProviderError,
    asked: Option<Result<Response, ProviderError>>,
}

impl Run {
    /// Gives back the room that is not needed before more comes: for most of a stream's time nothing does, and it is half of what is
    /// held here.
    fn rest(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        self.pieces = Vec::new();
    }

    /// The answer came to nothing: the call is made again, or that is the end.
    fn lose(&mut self, error: ProviderError) {
        self.driver.health.failed(&error);
        match self.driver.again.take() {
            None => self.queue.push_back(Err(error)),
            Some(mut again) => {
                self.losing = Some(Box::pin(async move {
                    let asked = again.ask(&error).await;
                    Lost { again, error, asked }
                }));
            }
        }
    }

    fn lost(&mut self, lost: Lost) {
        let Lost { again, error, asked } = lost;
        match asked {
            None => self.queue.push_back(Err(error)),
            Some(Err(error)) => self.queue.push_back(Err(error)),
            Some(Ok(response)) => {
                self.shape = Shape::new(&response.headers, self.driver.bytes_max);
                self.status = response.status.as_u16();
                self.decoder = again.decoder(&response.headers);
                self.seen = Seen::default();
                self.step = Step::Open;
                let (request_id, first) = again.first(&response.headers);
                self.driver.request_id = request_id;
                self.queue.extend(first.into_iter().map(Ok));
                self.body = Some(response.body);
                self.driver.again = Some(again);
            }
        }
    }

    /// Takes in all items that are complete.
    fn items(&mut self) {
        while self.body.is_some() {
            let item = match self.shape.next_item() {
                Ok(Some(item)) => item,
                Ok(None) => return,
                Err(_) => return self.end(Err(self.driver.judge.unreadable())),
            };
            if matches!(item, Item::Json(_)) && self.driver.stream && !self.seen.emulated_stream {
                self.seen.emulated_stream = true;
                self.queue.push_back(Ok(Piece::Emulated(Emulated::Stream)));
            }
            let mut pieces = std::mem::take(&mut self.pieces);
            let step = self.decoder.item(item, &mut pieces);
            self.take(&mut pieces, step);
            self.pieces = pieces;
        }
    }

    fn clean_end(&mut self) {
        if self.body.is_none() {
            return;
        }
        let mut pieces = Vec::new();
        let step = self.decoder.end(&mut pieces);
        self.take(&mut pieces, step);
        if self.body.is_some() {
            // Nothing at all is an answer without a word; words without the sign of their end are an answer that is cut.
            let failure =
                if self.seen.words || self.seen.tool_call { Failure::Protocol } else { Failure::Empty };
            self.end(Err(failure.into()));
        }
    }

    fn take(&mut self, pieces: &mut Vec<Piece>, step: Result<Step, ProviderError>) {
        pieces.iter().for_each(|piece| self.seen.piece(piece));
        self.redaction.take(pieces);
        self.give(pieces.drain(..));
        if !matches!(step, Ok(Step::Open)) {
            self.give_rest();
        }
        match step {
            Ok(step) => {
                self.step = step;
                if step == Step::Last {
                    self.end(Ok(()));
                }
            }
            Err(error) => self.end(Err(error)),
        }
    }

    /// Gives what was held back: it is not the beginning of anything.
    fn give_rest(&mut self) {
        let rest = self.redaction.flush();
        self.give(rest.into_iter());
    }

    fn give(&mut self, pieces: impl Iterator<Item = Piece>) {
        let before = self.queue.len();
        self.queue.extend(pieces.map(Ok));
        if self.driver.again.is_none() {
            return;
        }
        let given = self.queue.range(before..).filter_map(|piece| piece.as_ref().ok());
        // A frame has to be read for it: not before what is known at once, as the text that comes with a frame is.
        let frames = given.clone().filter(|piece| matches!(piece, Piece::Extension(_)));
        let others = given.filter(|piece| !matches!(piece, Piece::Extension(_)));
        if others.chain(frames).any(counts) {
            // What was given so cannot be taken back, and the call is as good as answered.
            self.driver.again = None;
        }
    }

    /// Ends the stream: once. What goes wrong after a whole reply takes nothing from it.
    fn end(&mut self, outcome: Result<(), ProviderError>) {
        let Some(body) = self.body.take() else { return };
        self.give_rest();
        let outcome = match outcome {
            Err(error) if self.step == Step::Open => Err(error),
            _ if self.seen.words || self.seen.tool_call => Ok(Piece::End(self.decoder.finish_reason())),
            // The provider says why there is no word.
            _ => Err(match self.decoder.finish_reason() {
                Some(FinishReason::ContentFilter) => Failure::Filtered.into(),
                _ => Failure::Empty.into(),
            }),
        };
        // The breaker cannot know otherwise: a reply is often whole before its body has ended, and a failure in it is its words.
        body.found(outcome.as_ref().err().map_or(Verdict::Fine, Judge::verdict));
        let outcome = outcome.map_err(|mut error: ProviderError| {
            error.status = error.status.or(Some(self.status));
            error.request_id = error
                .request_id
                .or_else(|| self.driver.request_id.take())
                .or_else(|| self.seen.request_id.take());
            error.usage =
                error.usage.or_else(|| (!self.seen.usage.is_empty()).then(|| self.seen.usage.clone()));
            if error.sources.is_empty() {
                error.sources = std::mem::take(&mut self.seen.sources);
            }
            self.redaction.sources(&mut error.sources);
            error
        });
        match outcome {
            Ok(end) => {
                self.driver.health.well();
                self.queue.push_back(Ok(end));
            }
            Err(error) => self.lose(error),
        }
    }
}

/// Whether readers have something of the answer itself with this piece.
fn counts(piece: &Piece) -> bool {
    match piece {
        Piece::Text(text) => !text.is_empty(),
        Piece::Extension(json) => chat::Frame::says_something(json),
        Piece::Replace(_) | Piece::Citation(_) | Piece::ToolCall(_) | Piece::End(_) => true,
        Piece::Sources(_)
        | Piece::Progress(_)
        | Piece::Emulated(_)
        | Piece::Model(_)
        | Piece::Upstream(_)
        | Piece::Thread(_)
        | Piece::Usage(_) => false,
    }
}

#[cfg(test)]
mod tests;

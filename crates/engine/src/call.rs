//! One call of one assistant's provider: its pieces, its clocks, what it told of itself.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use chat::{
    AttemptObserver, AttemptReport, Clock, Emulated, Failure, FinishReason, Piece, PieceStream,
    ProviderError, Request, Timestamp, UpstreamIds, Usage,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep};
use tracing::Span;

use crate::catalog::Assistant;
use crate::observe::{CallWatch, TurnWatch};

/// How long a further call waits for the note of it: a store that hangs holds no fallback up.
const NOTE_MAX: Duration = Duration::from_secs(1);

/// What happens next in a call.
#[derive(Debug)]
pub(crate) enum Step {
    /// An attempt failed, with what it used as far as it said, and another follows.
    Retry(AttemptReport, Option<Usage>),
    /// A piece of the answer, other than an end or a fact.
    Piece(Piece),
    /// The answer is whole, or the provider said why it is not.
    End(Option<FinishReason>),
    /// It failed for good.
    Failed(ProviderError),
}

impl Step {
    /// What a stream's next item is.
    fn of(item: Option<Result<Piece, ProviderError>>) -> Self {
        match item {
            Some(Ok(Piece::End(finish))) => Self::End(finish),
            Some(Ok(piece)) => Self::Piece(piece),
            Some(Err(error)) => Self::Failed(error),
            // A stream without an end has broken off, whatever the provider's code thinks of it.
            None => Self::Failed(Failure::Protocol.into()),
        }
    }
}

/// What a call told of itself, beside text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) model: Option<String>,
    pub(crate) upstream: UpstreamIds,
    pub(crate) usage: Option<Usage>,
    pub(crate) emulated: Vec<Emulated>,
    /// The provider's id of its thread, where it made one.
    pub(crate) thread: Option<String>,
}

/// Attempts as the provider reports them, until the turn's task looks.
#[derive(Debug)]
struct Reports {
    state: Mutex<ReportState>,
    news: Notify,
    /// There is something in the state that was not looked at: pieces come far more often than reports.
    fresh: AtomicBool,
    /// Tells how many notes are made, once somebody waits for one.
    noted: OnceLock<watch::Sender<u32>>,
    watch: CallWatch,
}

#[derive(Debug, Default)]
struct ReportState {
    /// When the attempt under way was sent; none while nothing is under way.
    began: Option<Instant>,
    /// An attempt was sent since the last look.
    restarted: bool,
    /// The last thing that was told is a failed attempt, and none was sent after it.
    told: bool,
    failed: Vec<AttemptReport>,
    /// How many attempts were sent.
    sent: u32,
    /// The 2xx status of the one under way, once its head has come.
    status: Option<u16>,
    /// The one under way gave no text in time.
    gave_up: bool,
    /// How many notes were asked for: one before each sending, but none before the turn's first.
    notes: u32,
    /// How many of them are made.
    noted: u32,
    /// The span of the one under way.
    span: Option<Span>,
}

impl Reports {
    /// Of a call that follows another of its turn, or of the first.
    fn new(follows: bool, watch: CallWatch) -> Self {
        let state = ReportState { notes: u32::from(follows), ..ReportState::default() };
        Self {
            state: Mutex::new(state),
            news: Notify::new(),
            fresh: AtomicBool::new(false),
            noted: OnceLock::new(),
            watch,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut ReportState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The turn's task is to look.
    fn tell(&self) {
        self.fresh.store(true, Ordering::Release);
        self.news.notify_one();
    }
}

impl AttemptObserver for Reports {
    fn began(&self) {
        self.with(|state| {
            state.began = Some(Instant::now());
            state.restarted = true;
            state.told = false;
            state.status = None;
            state.gave_up = false;
            state.sent = state.sent.saturating_add(1);
            state.span = Some(self.watch.attempt(state.sent));
        });
        self.tell();
    }

    fn answered(&self, status: u16) {
        self.with(|state| state.status = Some(status));
    }

    fn failed(&self, mut report: AttemptReport) {
        let span = self.with(|state| {
            state.began = None;
            state.told = true;
            state.notes = state.notes.saturating_add(1);
            // Where the failure has none of its own, the head may have come all the same.
            report.status = report.status.or(state.status.take());
            state.status = None;
            state.span.take()
        });
        let span = span.unwrap_or_else(Span::none);
        self.watch.ended(span, report.failure.code().as_str(), report.status, None);
        self.with(|state| state.failed.push(report));
        self.tell();
    }

    fn gave_up(&self) -> bool {
        self.with(|state| state.gave_up)
    }

    fn noted(&self) -> BoxFuture<'static, ()> {
        let waits = self.with(|state| {
            let waits = state.noted < state.notes;
            waits.then(|| {
                (state.notes, self.noted.get_or_init(|| watch::Sender::new(state.noted)).subscribe())
            })
        });
        let Some((notes, mut noted)) = waits else { return std::future::ready(()).boxed() };
        async move {
            let _ = tokio::time::timeout(NOTE_MAX, noted.wait_for(|noted| *noted >= notes)).await;
        }
        .boxed()
    }

    fn trace_headers(&self) -> Vec<(&'static str, String)> {
        let span = self.with(|state| state.span.clone());
        span.map(|span| self.watch.headers(&span)).unwrap_or_default()
    }
}

enum State {
    Starting(BoxFuture<'static, Result<PieceStream, ProviderError>>),
    Streaming(PieceStream),
    Over,
}

/// A call under way. Dropping it abandons it.
pub(crate) struct Call {
    pub(crate) assistant: Arc<Assistant>,
    /// Whether it is the assistant that the turn asked, whose thread is the conversation's.
    pub(crate) is_asked: bool,
    pub(crate) facts: Facts,
    /// When it was made.
    pub(crate) at: Timestamp,
    /// Whether text (or a tool call) has come from it.
    pub(crate) has_text: bool,
    /// The thread whose owner is known: the one that the call was given, or that it named.
    named_thread: Option<String>,
    made: Instant,
    /// When its last piece of text came.
    text_at: Option<Instant>,
    reports: Arc<Reports>,
    state: State,
    /// The end, until all reports before it are told.
    last: Option<Step>,
    /// The clock to the first text; none once there is text or while nothing is under way.
    first_text: Option<Pin<Box<Sleep>>>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("assistant", &self.assistant.name).finish_non_exhaustive()
    }
}

impl Call {
    /// Makes the call that `request` describes, once the observer is in it. All but the turn's first, which is the one that was asked,
    /// are sent when they are noted ([`Self::noted`]).
    pub(crate) fn new(
        assistant: Arc<Assistant>,
        is_asked: bool,
        turn: &TurnWatch,
        request: impl FnOnce(Arc<dyn AttemptObserver>) -> Request,
    ) -> Self {
        let watch = CallWatch::new(Arc::clone(&assistant), turn);
        let reports = Arc::new(Reports::new(!is_asked, watch));
        let request = request(Arc::clone(&reports) as Arc<dyn AttemptObserver>);
        let named_thread = request.thread.as_ref().map(|thread| thread.id.clone());
        let provider = Arc::clone(&assistant.provider.provider);
        let noted = (!is_asked).then(|| reports.noted());
        let starting = async move {
            if let Some(noted) = noted {
                noted.await;
            }
            provider.answer(request).await
        };
        Self {
            assistant,
            is_asked,
            facts: Facts::default(),
            at: Timestamp::now(),
            has_text: false,
            named_thread,
            made: Instant::now(),
            text_at: None,
            reports,
            state: State::Starting(starting.boxed()),
            last: None,
            first_text: None,
        }
    }

    /// The attempt under way has ended so; one that was never sent (its breaker is open) is seen as well.
    pub(crate) fn ended(&self, outcome: &str, status: Option<u16>) {
        let span = self.reports.with(|state| state.span.take());
        let span = span.unwrap_or_else(|| self.reports.watch.attempt(0));
        self.reports.watch.ended(span, outcome, status, Some(&self.facts));
    }

    /// How long the attempt under way has taken, or the whole call where no attempt was reported.
    pub(crate) fn duration(&self) -> Duration {
        self.reports.with(|state| state.began).unwrap_or(self.made).elapsed()
    }

    /// Whether an attempt has been sent and not been reported as failed: then it belongs in the ledger, whatever becomes of it.
    pub(crate) fn is_under_way(&self) -> bool {
        let (began, told) = self.reports.with(|state| (state.began.is_some(), state.told));
        began || (!told && matches!(self.state, State::Streaming(_)))
    }

    /// The 2xx status of the attempt under way, if its head has come.
    pub(crate) fn status(&self) -> Option<u16> {
        self.reports.with(|state| state.status)
    }

    /// The store knows of the call, and of its attempts so far as they were told of: the next may be sent.
    pub(crate) fn noted(&self) {
        let notes = self.reports.with(|state| {
            let untold = u32::try_from(state.failed.len()).unwrap_or(u32::MAX);
            state.noted = state.notes.saturating_sub(untold);
            state.noted
        });
        if let Some(noted) = self.reports.noted.get() {
            noted.send_replace(notes);
        }
    }

    /// The failed attempts that nobody has been told of: of a call that is dropped.
    pub(crate) fn untold(&mut self) -> Vec<(AttemptReport, Option<Usage>)> {
        let failed = self.reports.with(|state| std::mem::take(&mut state.failed));
        failed.into_iter().map(|report| (report, std::mem::take(&mut self.facts).usage)).collect()
    }

    /// Whether its failure is one that was told as a failed attempt already: the next attempt found no place, or the breaker open.
    pub(crate) fn is_told(&self) -> bool {
        self.reports.with(|state| state.told)
    }

    /// The id of a thread that the provider has just named, where the provider lists its threads: once.
    pub(crate) fn new_thread(&mut self) -> Option<String> {
        if self.named_thread == self.facts.thread
            || self.assistant.provider.provider.capabilities().upstream_history != chat::Offer::Native
        {
            return None;
        }
        self.named_thread.clone_from(&self.facts.thread);
        self.facts.thread.clone()
    }

    /// What happens next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Step {
        loop {
            // Reports come first: one that arrived with the end is not to be lost behind it.
            if let Some(step) = self.reported().or_else(|| self.last.take()) {
                return step;
            }
            let Some(step) = self.advance().await else { continue };
            if let Some(step) = self.take(step) {
                return step;
            }
        }
    }

    /// The same where it is there already: a look at the stream alone. Reports are told of first, as ever; clocks are looked at by
    /// whoever waits.
    pub(crate) fn next_now(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.reported().or_else(|| self.last.take()) {
                return Some(step);
            }
            let State::Streaming(stream) = &mut self.state else { return None };
            let step = Step::of(stream.next().now_or_never()?);
            if let Some(step) = self.take(step) {
                return Some(step);
            }
        }
    }

    /// Takes in a step; gives back what is to be told at once.
    fn take(&mut self, step: Step) -> Option<Step> {
        match step {
            Step::Piece(piece) => self.note(piece).map(Step::Piece),
            Step::End(_) | Step::Failed(_) => {
                self.state = State::Over;
                self.last = Some(step);
                None
            }
            Step::Retry(..) => Some(step),
        }
    }

    /// The next report of a failed attempt; sets the clock to the first text by the attempt under way.
    fn reported(&mut self) -> Option<Step> {
        if !self.reports.fresh.swap(false, Ordering::AcqRel) {
            return None;
        }
        let (failed, restarted, began) = self.reports.with(|state| {
            let failed = if state.failed.is_empty() { None } else { Some(state.failed.remove(0)) };
            // The others are told one by one.
            self.reports.fresh.store(!state.failed.is_empty(), Ordering::Release);
            (failed, std::mem::take(&mut state.restarted), state.began)
        });
        if self.has_text || began.is_none() {
            self.first_text = None;
        } else if let Some(began) = began.filter(|_| restarted) {
            let limit = self.assistant.provider.clocks.first_text;
            self.first_text = began.checked_add(limit).map(|at| Box::pin(tokio::time::sleep_until(at)));
        }
        // What an attempt told of itself that came to nothing is not true of the next.
        failed.map(|report| Step::Retry(report, std::mem::take(&mut self.facts).usage))
    }

    /// Waits for the provider, a report or the clock; none when only a report came.
    async fn advance(&mut self) -> Option<Step> {
        let first_text = async {
            match self.first_text.as_mut() {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
            self.reports.with(|state| state.gave_up = true);
            Step::Failed(Failure::TimedOut(Clock::FirstText).into())
        };
        match &mut self.state {
            State::Starting(starting) => tokio::select! {
                biased;
                answer = starting => match answer {
                    Ok(stream) => {
                        self.state = State::Streaming(stream);
                        None
                    }
                    Err(error) => Some(Step::Failed(error)),
                },
                () = self.reports.news.notified() => None,
                step = first_text => Some(step),
            },
            State::Streaming(stream) => tokio::select! {
                biased;
                piece = stream.next() => Some(Step::of(piece)),
                () = self.reports.news.notified() => None,
                step = first_text => Some(step),
            },
            State::Over => Some(Step::Failed(Failure::Protocol.into())),
        }
    }

    /// Keeps facts; gives back what is not one.
    fn note(&mut self, piece: Piece) -> Option<Piece> {
        match piece {
            Piece::Model(model) => self.facts.model = Some(model),
            Piece::Upstream(ids) => self.facts.upstream.merge(ids),
            Piece::Usage(usage) => self.facts.usage.get_or_insert_default().merge(usage),
            Piece::Thread(id) => self.facts.thread = Some(id),
            Piece::Emulated(what) => {
                if let Err(place) = self.facts.emulated.binary_search(&what) {
                    self.facts.emulated.insert(place, what);
                }
            }
            Piece::Text(text) if text.is_empty() => {}
            Piece::Text(_) | Piece::Replace(_) | Piece::ToolCall(_) => {
                let now = Instant::now();
                if let Some(before) = self.text_at.replace(now) {
                    self.reports.watch.gap(now.duration_since(before));
                }
                self.has_text = true;
                self.first_text = None;
                return Some(piece);
            }
            Piece::Sources(_)
            | Piece::Citation(_)
            | Piece::Progress(_)
            | Piece::Extension(_)
            | Piece::End(_) => {
                return Some(piece);
            }
        }
        None
    }
}

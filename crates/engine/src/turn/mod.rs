//! The whole life of a turn: ask, follow, recover, end.

mod account;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use chat::{
    Attempt, AttemptOutcome, Caller, Clock, Effect, ErrorCode, Failure, FinishReason, Frame, Lease, Piece,
    Progress, ProviderError, Timestamp, Turn, TurnError, TurnStatus,
};
use futures_util::FutureExt;
use tokio::time::{Instant, Sleep};

use crate::call::{Call, Facts, Step};
use crate::catalog::Assistant;
use crate::describe::{describe, worse};
use crate::observe::{TurnWatch, log_content};
use crate::question::Question;
use crate::record::Recorder;
use crate::recover::Writing;
use crate::running::{Running, Stop};
use crate::thread::AskedThread;
use account::Ledger;

/// A frame of OpenAI's stream carries a word or two in about two hundred bytes; replies are far shorter than `max_reply`.
const FRAME_BYTES_PER_TEXT_BYTE: usize = 8;

/// How many steps are taken without looking at clocks and at whether the turn is to stop.
const STEPS_AT_ONCE_MAX: usize = 128;

/// A turn that is accepted and runs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) running: Arc<Running>,
    pub(crate) caller: Caller,
    /// The assistant asked and, behind it, its fallbacks that can do what is asked.
    pub(crate) candidates: Vec<Arc<Assistant>>,
    pub(crate) question: Question,
    pub(crate) thread: AskedThread,
    pub(crate) reply_bytes_max: usize,
    pub(crate) deadline: Instant,
    pub(crate) recorder: Recorder,
    pub(crate) lease: Option<Box<dyn Lease>>,
    pub(crate) watch: TurnWatch,
}

/// A call under way and how its pieces are written.
#[derive(Debug)]
struct Active {
    /// Its place among the turn's calls.
    number: u32,
    call: Call,
    writing: Writing,
    /// The note of it that the store should have before it is sent; none where there is none to wait for.
    note: Option<u64>,
}

/// How the turn comes to its end.
enum Ending {
    /// A call is whole, or stopped short by its own word.
    Whole(Option<FinishReason>),
    /// No call gave a whole answer.
    Broken(TurnError),
    /// It was stopped.
    Stopped(Stop),
}

/// What one round of waiting brought.
enum Next {
    Stopped,
    Deadline,
    Kept,
    Hedge,
    Step(usize, Step),
}

/// The turn while it runs.
struct Life {
    job: Job,
    active: Vec<Active>,
    next_candidate: usize,
    /// Calls that followed another: told as `retry` or `fallback`.
    told: u32,
    attempts: Vec<Attempt>,
    /// The worst failure so far that a client should know of.
    error: Option<(TurnError, bool)>,
    /// Who wrote the text that stands.
    author: Option<(Arc<Assistant>, Facts)>,
    hedge: Option<Pin<Box<Sleep>>>,
    ledger: Ledger,
    /// Bytes of all frames for the OpenAI dialect.
    frame_bytes: usize,
    /// Some call may have done something at its provider.
    effect: Effect,
}

impl Job {
    /// Runs the turn to its end.
    ///
    /// Not an `async fn`: it would keep the job twice for as long as the turn runs, as it was given and as part of its life.
    pub(crate) fn run(self) -> impl Future<Output = ()> + Send {
        let mut life = Life {
            job: self,
            active: Vec::with_capacity(1),
            next_candidate: 0,
            told: 0,
            attempts: Vec::new(),
            error: None,
            author: None,
            hedge: None,
            ledger: Ledger::default(),
            frame_bytes: 0,
            effect: Effect::None,
        };
        async move {
            // What panics is a mistake of ours or of a provider's code: whoever reads the turn is told of its end all the same.
            let ending = match AssertUnwindSafe(life.live()).catch_unwind().await {
                Ok(ending) => ending,
                Err(_) => life.panicked().await,
            };
            // Boxed: thousands of turns run, few end at the same time, and room for that would be most of their size.
            Box::pin(life.end(ending)).await;
        }
    }
}

impl Life {
    async fn live(&mut self) -> Ending {
        let deadline = tokio::time::sleep_until(self.job.deadline);
        let stop = self.job.running.stop.clone();
        let stopped = stop.cancelled();
        tokio::pin!(deadline, stopped);
        self.ask_next();
        loop {
            let next = tokio::select! {
                biased;
                () = &mut stopped => Next::Stopped,
                () = &mut deadline => Next::Deadline,
                () = self.job.recorder.keep(&self.job.running) => Next::Kept,
                () = due(&mut self.hedge) => Next::Hedge,
                (index, step) = step_of(&mut self.active), if self.job.recorder.has_room(&self.job.running) => {
                    Next::Step(index, step)
                }
            };
            let ending = match next {
                Next::Kept => {
                    self.release();
                    None
                }
                Next::Stopped => Some(Ending::Stopped(self.job.running.stop_reason())),
                Next::Deadline => Some(self.out_of_time()),
                Next::Hedge => {
                    self.hedge = None;
                    self.ask_next();
                    None
                }
                Next::Step(index, step) => self.take_all(index, step),
            };
            if let Some(ending) = ending {
                return ending;
            }
            if self.active.is_empty() && !self.ask_next() {
                return Ending::Broken(self.final_error());
            }
        }
    }

    /// Asks the next candidate, if there is one left.
    fn ask_next(&mut self) -> bool {
        let Some(assistant) = self.job.candidates.get(self.next_candidate).cloned() else { return false };
        let is_asked = self.next_candidate == 0;
        self.next_candidate += 1;
        if !is_asked {
            self.told += 1;
            let step = Progress::step("fallback").with("assistant", assistant.name.as_str());
            self.job.running.write(|log| log.progress(step));
        }
        let hedge_after = assistant.provider.clocks.hedge_after;
        let more = self.next_candidate < self.job.candidates.len();
        // What is passed through cannot be spliced: one call at a time.
        let spliced = self.job.question.extension.is_none();
        let question = &mut self.job.question;
        // Nobody is asked after the last: what was said is that call's alone, and gone once it has an answer.
        let question = if more { question.clone() } else { std::mem::take(question) };
        let call = Call::new(Arc::clone(&assistant), is_asked, &self.job.watch, |observer| {
            self.job.request(question, &assistant, is_asked, observer)
        });
        let log_is_empty = self.job.running.read(|log| log.current_text().is_empty());
        let (number, writing, at) = (self.told, Writing::new(is_asked), call.at);
        self.active.push(Active { number, call, writing, note: None });
        self.ledger.made.push((assistant, at));
        self.hedge = hedge_after
            .filter(|_| spliced && more && log_is_empty && self.active.len() == 1)
            .map(|after| Box::pin(tokio::time::sleep(after)));
        self.note_in_flight();
        true
    }

    /// Takes a step and all that have come with it: they are written to the log together, and readers are told once.
    fn take_all(&mut self, index: usize, step: Step) -> Option<Ending> {
        let _held = self.job.running.hold();
        let mut ending = self.take(index, step);
        for _ in 1..STEPS_AT_ONCE_MAX {
            if ending.is_some() || self.active.len() != 1 || !self.job.recorder.has_room(&self.job.running) {
                break;
            }
            let next = self.active.first_mut().and_then(|only| only.call.next_now());
            let Some(step) = next else { break };
            ending = self.take(0, step);
        }
        ending
    }

    fn take(&mut self, index: usize, step: Step) -> Option<Ending> {
        if let Some(thread) = self.active.get_mut(index).and_then(|active| active.call.new_thread()) {
            let assistant = self.active.get(index).map(|active| Arc::clone(&active.call.assistant));
            assistant.iter().for_each(|assistant| self.job.recorder.own_thread(assistant, thread.clone()));
        }
        match step {
            Step::Retry(report, usage) => {
                self.note_retry(index, &report, usage);
                None
            }
            Step::Piece(piece) => self.take_piece(index, piece),
            Step::End(finish) => {
                let mut active = self.active.swap_remove(index);
                if !active.call.has_text {
                    // A provider's code lets no empty answer pass; this is the last line of defence.
                    return self.failed(active, &Failure::Empty.into());
                }
                self.job.running.write(|log| {
                    let behind = (log.last_seq(), log.frame_count());
                    active.writing.end(log);
                    if log.last_seq() > behind.0 {
                        let (call, running) = (&active.call, &self.job.running);
                        running.written_by(&call.assistant, call.facts.model.clone(), behind);
                    }
                });
                self.drop_all();
                let outcome = match finish {
                    Some(FinishReason::Length | FinishReason::ContentFilter) => "incomplete",
                    _ => "completed",
                };
                active.call.ended(outcome, None);
                self.enter(&active.call, outcome.to_owned(), active.call.facts.usage.clone(), true);
                if active.call.is_asked {
                    self.job.thread.answered(&active.call.facts);
                }
                self.author = Some((active.call.assistant, active.call.facts));
                Some(Ending::Whole(finish))
            }
            Step::Failed(error) => {
                let active = self.active.swap_remove(index);
                self.failed(active, &error)
            }
        }
    }

    fn take_piece(&mut self, mut index: usize, piece: Piece) -> Option<Ending> {
        let piece = match piece {
            Piece::Extension(json) => return self.take_frame(index, json),
            piece => piece,
        };
        let is_text = matches!(piece, Piece::Text(_) | Piece::Replace(_) | Piece::ToolCall(_));
        if is_text {
            self.hedge = None;
            if self.active.len() > 1 {
                self.drop_others_than(index);
                index = 0;
            }
        }
        let active = self.active.get_mut(index)?;
        let bytes_max = self.job.reply_bytes_max;
        let is_cut = self.job.running.write(|log| {
            let behind = (log.last_seq(), log.frame_count());
            let (piece, is_cut) =
                fit(piece, bytes_max.saturating_sub(active.writing.written(log)), bytes_max);
            active.writing.take(log, piece);
            let wrote = is_text && active.writing.is_live();
            let known =
                self.author.as_ref().is_some_and(|(author, _)| Arc::ptr_eq(author, &active.call.assistant));
            if wrote && !known {
                self.job.recorder.facts(&active.call.facts);
                self.author = Some((Arc::clone(&active.call.assistant), active.call.facts.clone()));
                // Within the log's lock: who reads the text knows whose it is.
                self.job.running.written_by(&active.call.assistant, active.call.facts.model.clone(), behind);
            }
            is_cut
        });
        self.job.recorder.news();
        if is_text && active.writing.is_live() {
            self.job.watch.text(&active.call.assistant);
        }
        if is_cut { self.cut(index) } else { None }
    }

    /// Keeps a frame for the OpenAI dialect. Frames are bounded as text is, with room for what stands around it.
    fn take_frame(&mut self, index: usize, json: Arc<str>) -> Option<Ending> {
        self.frame_bytes = self.frame_bytes.saturating_add(json.len());
        if self.frame_bytes > self.job.reply_bytes_max.saturating_mul(FRAME_BYTES_PER_TEXT_BYTE) {
            return self.cut(index);
        }
        let (active, running) = (self.active.get(index)?, &self.job.running);
        running.write(|log| {
            if log.frame_call() != Some(active.number) {
                running.written_by(&active.call.assistant, None, (log.last_seq(), log.frame_count()));
            }
            log.frame(Frame { call: active.number, json });
        });
        None
    }

    /// Ends the turn with a call that says more than it may.
    fn cut(&mut self, index: usize) -> Option<Ending> {
        let mut active = self.active.swap_remove(index);
        self.author = Some((Arc::clone(&active.call.assistant), active.call.facts.clone()));
        let error = ProviderError::new(Failure::Protocol).saying("the reply is longer than `max_reply`");
        self.note_failure(&mut active, &error);
        Some(Ending::Broken(describe(&error, &active.call.assistant)))
    }

    /// A call failed for good: the end of the turn, or nothing when another call runs or may be made.
    fn failed(&mut self, mut active: Active, error: &ProviderError) -> Option<Ending> {
        if active.writing.is_live() && active.call.has_text {
            self.author = Some((Arc::clone(&active.call.assistant), active.call.facts.clone()));
        }
        if !error.sources.is_empty() && self.active.is_empty() {
            let sources = error.sources.clone();
            self.job.running.write(|log| active.writing.take(log, Piece::Sources(sources)));
        }
        self.note_failure(&mut active, error);
        let told = describe(error, &active.call.assistant);
        if error.failure == Failure::Filtered {
            self.drop_all();
            return Some(Ending::Broken(told));
        }
        self.error = Some(worse(self.error.take(), told, error.was_sent()));
        None
    }

    /// Drops every call but the one at `index`. Those dropped are on record.
    fn drop_others_than(&mut self, index: usize) {
        if self.active.len() > 1 {
            let winner = self.active.swap_remove(index);
            self.drop_all();
            self.active.push(winner);
        }
    }

    /// Drops the calls that another one was quicker than.
    fn drop_all(&mut self) {
        for mut loser in std::mem::take(&mut self.active) {
            self.note_loser(&mut loser);
        }
    }

    fn out_of_time(&mut self) -> Ending {
        let error = ProviderError::new(Failure::TimedOut(Clock::Total));
        let mut told = None;
        for mut active in std::mem::take(&mut self.active) {
            if active.writing.is_live() && active.call.has_text {
                self.author = Some((Arc::clone(&active.call.assistant), active.call.facts.clone()));
            }
            self.note_failure(&mut active, &error);
            told.get_or_insert_with(|| describe(&error, &active.call.assistant));
        }
        let total = || TurnError::new(ErrorCode::TotalTimeout, "the turn took longer than `total_timeout`");
        Ending::Broken(told.unwrap_or_else(total))
    }

    fn final_error(&mut self) -> TurnError {
        let nobody = || TurnError::new(ErrorCode::ProviderError, "no assistant could be asked");
        self.error.take().map_or_else(nobody, |(error, _)| error)
    }

    /// Records the end, and tells the readers.
    async fn end(mut self, ending: Ending) {
        self.stop_calls(&ending);
        let content = self.job.running.read(chat::EventLog::content);
        let has_text = !content.is_empty();
        let now = Timestamp::now();
        let mut turn = self.turn_so_far();
        (turn.status, turn.error) = match ending {
            Ending::Whole(finish) => {
                turn.finish_reason = finish;
                match finish {
                    Some(FinishReason::Length | FinishReason::ContentFilter) => {
                        (TurnStatus::Incomplete, None)
                    }
                    _ => (TurnStatus::Completed, None),
                }
            }
            Ending::Broken(error) if has_text => (TurnStatus::Incomplete, Some(error)),
            Ending::Broken(error) => (TurnStatus::Failed, Some(error)),
            Ending::Stopped(Stop::Drain | Stop::Fenced) => {
                let error =
                    TurnError::new(ErrorCode::Draining, "the gateway was shut down while the turn ran");
                (if has_text { TurnStatus::Incomplete } else { TurnStatus::Failed }, Some(error))
            }
            Ending::Stopped(Stop::Cancel) => (TurnStatus::Cancelled, None),
        };
        turn.completed_at = Some(now);
        let has_message = has_text || turn.status == TurnStatus::Completed;
        turn.message = has_message.then(|| self.job.recorder.message(content, now));
        turn.sources = self.job.running.read(|log| log.sources().to_vec());
        let free = turn.status == TurnStatus::Failed && self.effect == Effect::None;
        if let Some(lease) = &self.job.lease {
            lease.settle(&self.ledger.all);
        }
        self.job.watch.ended(&turn, &self.ledger.all, &self.job.candidates);
        if let Some(message) = &turn.message {
            log_content(turn.id, "assistant", &message.content);
        }
        let thread = self.job.thread.update(turn.status);
        self.job.recorder.end(&self.job.running, turn, thread, self.ledger.all, free).await;
        drop(self.job.lease);
    }

    /// A piece of code panicked: the turn goes no further. What was said of it is in the process's own output.
    async fn panicked(&mut self) -> Ending {
        tracing::error!(turn.id = %self.job.running.id, "a turn panicked: it ends here");
        self.job.recorder.finish_writing(&self.job.running).await;
        self.job.thread.in_doubt();
        self.effect = Effect::Possible;
        self.enter_lost();
        Ending::Broken(panicked())
    }

    /// Drops the calls that still run, and puts them on record.
    fn stop_calls(&mut self, ending: &Ending) {
        for mut active in std::mem::take(&mut self.active) {
            self.note_untold(&mut active);
            if active.writing.is_live() && active.call.has_text {
                self.author = Some((Arc::clone(&active.call.assistant), active.call.facts.clone()));
            }
            if active.call.is_asked {
                self.job.thread.in_doubt();
            }
            if active.call.is_under_way() {
                self.may_have_acted(Effect::Possible);
                let outcome = match ending {
                    Ending::Stopped(Stop::Drain | Stop::Fenced) => "draining",
                    Ending::Broken(error) => error.code.as_str(),
                    Ending::Stopped(Stop::Cancel) | Ending::Whole(_) => "cancelled",
                };
                active.call.ended(outcome, active.call.status());
                self.enter(
                    &active.call,
                    outcome.to_owned(),
                    active.call.facts.usage.clone(),
                    active.call.has_text,
                );
                if let Ending::Broken(error) = ending {
                    self.attempt(
                        &active.call,
                        AttemptOutcome::Failed(error.code),
                        active.call.status(),
                        active.call.duration(),
                        active.call.facts.usage.clone(),
                    );
                }
            }
        }
    }

    fn turn_so_far(&mut self) -> Turn {
        let mut turn = self.job.running.snapshot().as_ref().clone();
        turn.attempts = std::mem::take(&mut self.attempts);
        if let Some((assistant, facts)) = self.author.take() {
            turn.assistant = assistant.name.clone();
            turn.provider = assistant.provider.name.clone();
            turn.model = facts.model;
            turn.upstream = facts.upstream;
            turn.usage = facts.usage.filter(|usage| !usage.is_empty());
            turn.emulated = facts.emulated;
        } else if let Some(asked) = self.job.candidates.first() {
            // Frames for the OpenAI dialect name who sends them before there is text.
            (turn.assistant, turn.provider) = (asked.name.clone(), asked.provider.name.clone());
        }
        turn
    }
}

/// The error of a turn whose code has panicked.
pub(crate) fn panicked() -> TurnError {
    TurnError::new(ErrorCode::Internal, "something went wrong inside; what had come is kept")
}

/// The next step of any call; never resolves when there is none.
async fn step_of(active: &mut [Active]) -> (usize, Step) {
    match active {
        [] => std::future::pending().await,
        [only] => (0, only.call.next().await),
        [first, second, ..] => tokio::select! {
            biased;
            step = first.call.next() => (0, step),
            step = second.call.next() => (1, step),
        },
    }
}

/// Cuts a piece that would make the reply longer than it may be.
fn fit(piece: Piece, room: usize, bytes_max: usize) -> (Piece, bool) {
    let cut = |mut text: String, room: usize| {
        let is_cut = text.len() > room;
        if is_cut {
            text.truncate(text.floor_char_boundary(room));
        }
        (text, is_cut)
    };
    match piece {
        Piece::Text(text) => {
            let (text, is_cut) = cut(text, room);
            (Piece::Text(text), is_cut)
        }
        Piece::Replace(text) => {
            let (text, is_cut) = cut(text, bytes_max);
            (Piece::Replace(text), is_cut)
        }
        other => (other, false),
    }
}

async fn due(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

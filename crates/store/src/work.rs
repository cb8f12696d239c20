//! A piece of work for a database: what to do, and who waits for the answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use chat::StoreError;

use crate::conn::Conn;
use crate::error;

/// What is done with a connection and an input. It may be done again after a transaction was lost, so it takes the input by
/// reference and keeps nothing elsewhere.
pub(crate) type Run<I, T> = for<'a> fn(&'a mut Conn<'_>, &'a I) -> BoxFuture<'a, Result<T, StoreError>>;

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const ABANDONED: u8 = 2;

/// Whether work has begun: agreed on between who waits for it and who does it, so that work whose caller was told that nothing
/// was written is never done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    /// Begins the work; false when its caller has given it up.
    fn take(&self) -> bool {
        self.0.compare_exchange(WAITING, TAKEN, Ordering::AcqRel, Ordering::Acquire) != Err(ABANDONED)
    }

    /// Gives the work up; false when it has begun.
    pub(crate) fn abandon(&self) -> bool {
        self.0.compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Work with its input, its result and its caller.
pub(crate) struct Job<I, T> {
    input: I,
    run: Run<I, T>,
    ticket: Ticket,
    result: Option<Result<T, StoreError>>,
    caller: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<I, T> Job<I, T> {
    pub(crate) fn new(input: I, run: Run<I, T>) -> (Self, Ticket, oneshot::Receiver<Result<T, StoreError>>) {
        let (caller, answer) = oneshot::channel();
        let ticket = Ticket::default();
        (Self { input, run, ticket: ticket.clone(), result: None, caller: Some(caller) }, ticket, answer)
    }
}

impl<I, T> fmt::Debug for Job<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// Work as the writer sees it.
#[async_trait]
pub(crate) trait Work: Send + fmt::Debug {
    /// Begins the work; false when nobody waits for it any more.
    fn take(&self) -> bool;

    /// Does the work inside of the transaction that is open; whether what it wrote shall stay.
    async fn run(&mut self, conn: &mut Conn<'_>) -> bool;

    /// Tells the caller the result: what it wrote is durable.
    fn acknowledge(&mut self);

    /// Tells the caller that nothing was written.
    fn fail(&mut self, error: StoreError);
}

#[async_trait]
impl<I: Send + Sync, T: Send> Work for Job<I, T> {
    fn take(&self) -> bool {
        self.ticket.take()
    }

    async fn run(&mut self, conn: &mut Conn<'_>) -> bool {
        let result = (self.run)(conn, &self.input).await;
        let stays = result.is_ok();
        self.result = Some(result);
        stays
    }

    fn acknowledge(&mut self) {
        let result = self.result.take().unwrap_or_else(|| Err(error::unavailable("the write was not done")));
        self.answer(result);
    }

    fn fail(&mut self, error: StoreError) {
        self.answer(Err(error));
    }
}

impl<I, T> Job<I, T> {
    fn answer(&mut self, result: Result<T, StoreError>) {
        if let Some(caller) = self.caller.take() {
            // A caller that has left needs no answer.
            drop(caller.send(result));
        }
    }
}

//! The body of an answer, read from its socket as it is read here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::Stream;

use super::chunked::{Chunked, Malformed};
use super::exchange::Exchange;
use super::head::Framing;
use super::pool::Pool;
use super::{failure, short};
use crate::Failure;

/// A body. All that has arrived is one piece.
#[derive(Debug)]
pub(super) struct Body {
    /// None once nothing more is read.
    exchange: Option<Exchange>,
    coding: Coding,
    pool: Arc<Pool>,
    keep_alive: bool,
}

#[derive(Debug)]
enum Coding {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunked),
    Close,
    /// What came last was not coded as it says.
    Broken,
}

/// What reading came to.
enum Come {
    /// Bytes were taken off the coding, or the end was.
    More(Bytes),
    /// The connection has ended.
    End,
    /// What came is not coded as it says.
    Malformed,
}

impl Body {
    pub(super) fn new(exchange: Exchange, framing: Framing, pool: Arc<Pool>, keep_alive: bool) -> Self {
        let coding = match framing {
            Framing::None => Coding::Length(0),
            Framing::Length(length) => Coding::Length(length),
            Framing::Chunked => Coding::Chunked(Chunked::new()),
            Framing::Close => Coding::Close,
        };
        let mut body = Self { exchange: Some(exchange), coding, pool, keep_alive };
        body.end_if_done();
        body
    }

    /// Gives the connection back once the body has ended where it should.
    fn end_if_done(&mut self) {
        let done = match &self.coding {
            Coding::Length(left) => *left == 0,
            Coding::Chunked(chunked) => chunked.is_done(),
            Coding::Close | Coding::Broken => false,
        };
        if done
            && let Some(connection) =
                self.exchange.take().filter(|_| self.keep_alive).and_then(Exchange::finish)
        {
            self.pool.put(connection);
        }
    }

    fn come(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Come>> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(Ok(Come::End)) };
        let coding = &mut self.coding;
        if matches!(coding, Coding::Broken) {
            return Poll::Ready(Ok(Come::Malformed));
        }
        if !exchange.pending.is_empty() {
            // It came with the head.
            let mut pending = std::mem::take(&mut exchange.pending);
            let come = coding.share(&mut pending);
            exchange.surplus |= !pending.is_empty();
            return Poll::Ready(Ok(come));
        }
        exchange.send(context);
        let (mut data, mut taken, mut is_coded) = (Vec::new(), 0, true);
        let count = ready!(exchange.read(context, |bytes| {
            match coding.take(bytes, &mut data) {
                Ok(count) => taken += count,
                Err(Malformed) => is_coded = false,
            }
        }))?;
        exchange.surplus |= taken < count;
        Poll::Ready(Ok(match count {
            0 => Come::End,
            _ if !is_coded => coding.break_off(data),
            _ => Come::More(data.into()),
        }))
    }

    /// The body ends here, and should not.
    fn broken(&mut self, cause: &dyn std::fmt::Display, failure: Failure) -> Failure {
        self.exchange = None;
        tracing::debug!(%failure, %cause, "the body broke");
        failure
    }
}

impl Coding {
    /// Takes the coding off what came with the head, which need not be copied where it is whole. What is left stands behind the end.
    fn share(&mut self, bytes: &mut Bytes) -> Come {
        match self {
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                Come::More(bytes.split_to(count))
            }
            Self::Close => Come::More(std::mem::take(bytes)),
            Self::Broken => Come::Malformed,
            Self::Chunked(_) => {
                let mut data = Vec::new();
                let Ok(taken) = self.take(bytes, &mut data) else { return self.break_off(data) };
                bytes.advance(taken);
                Come::More(data.into())
            }
        }
    }

    /// What was in the coding before it broke is given first, as if it had come alone.
    fn break_off(&mut self, data: Vec<u8>) -> Come {
        *self = Self::Broken;
        if data.is_empty() { Come::Malformed } else { Come::More(data.into()) }
    }

    /// Takes the coding off, and appends what was in it to `data`. How many bytes were taken: all, but for those behind the end.
    fn take(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                data.extend_from_slice(bytes.get(..count).unwrap_or_default());
                *left -= count as u64;
                Ok(count)
            }
            Self::Chunked(chunked) => chunked.read(bytes, data),
            Self::Broken => Err(Malformed),
            Self::Close => {
                data.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.exchange.is_none() {
                return Poll::Ready(None);
            }
            let broken = match ready!(self.come(context)) {
                Ok(Come::More(data)) => {
                    self.end_if_done();
                    if data.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Come::End) if matches!(self.coding, Coding::Close) => {
                    self.exchange = None;
                    return Poll::Ready(None);
                }
                Ok(Come::End) => self.broken(&short(), Failure::Broken),
                Ok(Come::Malformed) => self.broken(&"no chunk", Failure::Unreadable),
                Err(error) => self.broken(&error, failure(&error)),
            };
            return Poll::Ready(Some(Err(broken)));
        }
    }
}

//! A turn watched in the dialect: the status is held back until there is something to send, then it is streamed to its end.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use chat::{ErrorCode, TurnError};
use engine::{Read, Reader, Seen};
use futures_util::stream::unfold;

use crate::app::App;
use crate::error::ApiError;
use crate::live::{Beat, Pulse};
use crate::metrics::Gauge;
use crate::middleware::auth::Who;
use crate::sse;

/// What a turn is written as.
pub(super) trait Script: Send + 'static {
    /// Takes in what a read gave.
    fn take(&mut self, seen: Seen<'_>);
    /// Whether something is to be sent, so that the status is decided.
    fn has_begun(&self) -> bool;
    /// Whether all is said, and the error that it ended with.
    fn ended(&self) -> Option<Option<&TurnError>>;
    /// What is to be sent now.
    fn take_out(&mut self) -> Bytes;
    /// Ends the stream with an error, if it has not ended.
    fn break_off(&mut self, error: TurnError);
}

/// A turn that is read, by somebody whose key may end.
pub(super) struct Watch<S> {
    reader: Reader,
    /// What it is written as.
    pub(super) script: S,
    pulse: Pulse,
    over: bool,
    _open: Gauge,
}

impl<S: Script> Watch<S> {
    pub(super) fn new(app: &App, who: &Who, reader: Reader, script: S) -> Self {
        let pulse = Pulse::new(app.keys.lives.of(who.identity()), app.front.config.heartbeat);
        Self { reader, script, pulse, over: false, _open: Gauge::streams() }
    }

    /// Waits until there is something to send.
    ///
    /// # Errors
    /// The turn ended before there was.
    pub(super) async fn begun(&mut self) -> Result<(), ApiError> {
        let Self { reader, script, pulse, .. } = self;
        while !script.has_begun() {
            if let Some(Some(error)) = script.ended() {
                return Err(ApiError::of_turn(error.clone(), reader.turn_id(), reader.is_repeat()));
            }
            tokio::select! {
                _ = reader.follow(|seen| script.take(seen)) => {}
                beat = pulse.beat() => if beat == Beat::Ended {
                    return Err(ApiError::of_turn(key_ended(), reader.turn_id(), reader.is_repeat()));
                }
            }
        }
        Ok(())
    }

    /// The answer that streams what is left.
    pub(super) fn answer(self) -> Response {
        let turn = self.reader.turn_id();
        let body = unfold(self, |mut watch| async move {
            let chunk = watch.next().await?;
            Some((Ok::<_, Infallible>(chunk), watch))
        });
        sse::answer(Body::from_stream(body), turn)
    }

    /// What is to be sent next; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let ready = self.script.take_out();
            if !ready.is_empty() {
                self.pulse.sent();
                return Some(ready);
            }
            if self.over || self.script.ended().is_some() {
                return None;
            }
            let Self { reader, script, pulse, .. } = self;
            tokio::select! {
                biased;
                beat = pulse.beat() => match beat {
                    Beat::Ended => script.break_off(key_ended()),
                    Beat::Quiet => return Some(Bytes::from_static(sse::HEARTBEAT)),
                },
                read = reader.follow(|seen| script.take(seen)) => self.over = read == Read::Ended,
            }
        }
    }
}

/// The error of a reader whose key is no longer good.
pub(super) fn key_ended() -> TurnError {
    TurnError::new(ErrorCode::InvalidKey, "the key has ended while its turn ran")
}

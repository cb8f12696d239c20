//! A response body that plays a [`Script`] at a pace and then ends as it was told to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::Pace;
use crate::chance::mix;
use crate::connection::{Dropped, Wire};
use crate::holds::Hold;
use crate::journal::{Entry, Outcome};
use crate::script::{Kind, Media, Piece, Script};

/// What comes after the last piece.
#[derive(Clone, Debug, Default)]
pub(crate) enum Ending {
    /// The proper end of the body.
    #[default]
    Clean,
    /// The connection closes without one.
    Cut,
    /// The connection is reset.
    Reset,
    /// Nothing, for ever.
    Stall,
    /// The same bytes again and again, with a pause or without, at most so many times; then a cut.
    Repeat { bytes: Bytes, every: Option<Duration>, times: u64 },
}

/// When pieces are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    /// Between pieces of text.
    pub(crate) pace: Pace,
    /// In front of the first piece of text, on top.
    pub(crate) before_text: Duration,
    /// Picks the pauses of [`Pace::Human`].
    pub(crate) seed: u64,
}

/// The body. Played out it says so in the journal; dropped before, it says that the client left.
pub(crate) struct Played {
    bytes: Bytes,
    pieces: Vec<Piece>,
    next: usize,
    start: usize,
    length: Option<u64>,
    rhythm: Rhythm,
    /// Each piece waits until the one before is in the kernel, so that no two share a segment's write.
    singly: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    waited: bool,
    texts: u64,
    /// What is waited for in front of the piece that follows so many pieces of text.
    hold: Option<(u64, Hold)>,
    flushes_seen: Option<u64>,
    ending: Ending,
    wire: Arc<Wire>,
    entry: Entry,
}

impl Played {
    /// `script`, from its first piece.
    pub(crate) fn new(script: Script, rhythm: Rhythm, ending: Ending, wire: Arc<Wire>, entry: Entry) -> Self {
        let singly = script.wants_single_pieces();
        Self {
            length: None,
            bytes: Bytes::from(script.bytes),
            pieces: script.pieces,
            next: 0,
            start: 0,
            rhythm,
            singly,
            sleep: None,
            waited: false,
            texts: 0,
            hold: None,
            flushes_seen: None,
            ending,
            wire,
            entry,
        }
    }

    /// Announces `length` bytes in `Content-Length`, sent or not. Only for a body that is not a stream.
    pub(crate) fn announce(mut self, media: Media, length: usize) -> Self {
        self.length = (media == Media::Json).then_some(length as u64);
        self
    }

    /// Waits for `hold` once so many pieces of text have been sent.
    pub(crate) fn hold_after(mut self, texts: usize, hold: Hold) -> Self {
        self.hold = Some((texts as u64, hold));
        self
    }

    /// The pause in front of the next piece.
    fn pause(&self, kind: Kind) -> Duration {
        if kind != Kind::Text {
            return Duration::ZERO;
        }
        let extra = if self.texts == 0 { self.rhythm.before_text } else { Duration::ZERO };
        let pace = match self.rhythm.pace {
            Pace::Instant => Duration::ZERO,
            Pace::Every(pause) => pause,
            Pace::Human => Duration::from_millis(30 + mix(self.rhythm.seed ^ self.texts) % 31),
        };
        extra + pace
    }

    fn sleep(&mut self, pause: Duration) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + pause),
            None => self.sleep = Some(Box::pin(tokio::time::sleep(pause))),
        }
    }

    /// Waits until everything handed over so far is in the kernel.
    fn poll_flushed(&mut self, context: &Context<'_>) -> Poll<()> {
        let seen = *self.flushes_seen.get_or_insert_with(|| self.wire.flushes());
        if !self.wire.flushed_since(seen, context) {
            return Poll::Pending;
        }
        self.flushes_seen = None;
        Poll::Ready(())
    }

    fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        match self.ending {
            Ending::Clean => {
                self.entry.end(Outcome::Whole);
                Poll::Ready(None)
            }
            Ending::Stall => Poll::Pending,
            Ending::Repeat { .. } => self.poll_repeat(context),
            Ending::Cut | Ending::Reset => {
                // hyper drops what it still holds when a body fails, and this fault promises what came before it.
                ready!(self.poll_flushed(context));
                if matches!(self.ending, Ending::Reset) {
                    self.wire.reset_on_close();
                }
                self.entry.end(Outcome::Cut);
                Poll::Ready(Some(Err(Dropped)))
            }
        }
    }
}

impl Played {
    fn poll_repeat(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        let Ending::Repeat { every, times, .. } = self.ending else { return Poll::Pending };
        if times == 0 {
            self.ending = Ending::Cut;
            return self.poll_ending(context);
        }
        if let Some(every) = every {
            if !self.waited {
                self.sleep(every);
                self.waited = true;
            }
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(context));
            }
            self.waited = false;
        }
        let Ending::Repeat { bytes, times, .. } = &mut self.ending else { return Poll::Pending };
        *times -= 1;
        Poll::Ready(Some(Ok(Frame::data(bytes.clone()))))
    }
}

impl Body for Played {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        let this = self.get_mut();
        let Some(piece) = this.pieces.get(this.next).copied() else { return this.poll_ending(context) };
        if let Some((texts, hold)) = &mut this.hold
            && this.texts >= *texts
        {
            ready!(hold.poll(context));
            this.hold = None;
        }
        if !this.waited {
            let pause = this.pause(piece.kind);
            if !pause.is_zero() {
                this.sleep(pause);
                this.waited = true;
            }
        }
        if this.waited
            && let Some(sleep) = &mut this.sleep
        {
            ready!(sleep.as_mut().poll(context));
        }
        if this.singly && this.next > 0 {
            ready!(this.poll_flushed(context));
        }
        this.waited = false;
        this.texts += u64::from(piece.kind == Kind::Text);
        this.next += 1;
        let bytes = this.bytes.slice(this.start..piece.end);
        this.start = piece.end;
        if this.next == this.pieces.len() && matches!(this.ending, Ending::Clean) {
            // With a known length hyper does not ask again, so the end is told with the last piece.
            this.entry.end(Outcome::Whole);
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |length| {
            SizeHint::with_exact(length.saturating_sub(self.start as u64))
        })
    }
}

impl fmt::Debug for Played {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Played").field("next", &self.next).field("ending", &self.ending).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::script::Framing;

    #[test]
    fn a_held_body_waits_for_its_release() {
        let holds = crate::holds::Holds::default();
        let mut script = Script::new(Media::Text, Framing::Plain, 0);
        for text in ["a", "b"] {
            script.push_text(Kind::Text, None, text);
        }
        script.finish();
        let rhythm = Rhythm { pace: Pace::Instant, before_text: Duration::ZERO, seed: 0 };
        let entry = crate::Journal::default().open_for_test();
        let body = Played::new(script, rhythm, Ending::Clean, Arc::default(), entry);
        let mut body = body.hold_after(1, holds.wait("x"));
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || Pin::new(&mut body).poll_frame(&mut context);
        assert!(poll().is_ready(), "the first piece is sent");
        assert!(poll().is_pending());
        holds.release("y");
        assert!(poll().is_pending(), "another id was released");
        holds.release("x");
        assert!(poll().is_ready());
    }

    #[test]
    fn single_pieces_wait_for_the_one_before() {
        let wire = Arc::new(Wire::default());
        let mut script = Script::new(Media::Text, Framing::OneByte, 0);
        script.push_text(Kind::Text, None, "ab");
        script.finish();
        let rhythm = Rhythm { pace: Pace::Instant, before_text: Duration::ZERO, seed: 0 };
        let entry = crate::Journal::default().open_for_test();
        let mut body = Played::new(script, rhythm, Ending::Clean, Arc::clone(&wire), entry);
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || match Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Ready(frame) => frame.map(|frame| frame.unwrap().into_data().unwrap()),
            Poll::Pending => Some(Bytes::from_static(b"pending")),
        };
        assert_eq!(poll().unwrap(), "a");
        assert_eq!(poll().unwrap(), "pending", "the first byte is not in the kernel yet");
        wire.flushed();
        assert_eq!(poll().unwrap(), "b");
        assert!(poll().is_none());
    }
}

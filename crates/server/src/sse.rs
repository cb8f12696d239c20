//! A turn's event log → an event stream.
//!
//! Frames are written straight from the log into one buffer per wake-up: no task, no channel, no copy of an event. What a slow
//! client has not taken stays in the turn's log, where it stands once for all readers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use chat::{EventRef, Turn, TurnId};
use engine::{Read, Reader};
use futures_util::stream::unfold;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::error::{TURN_ID, insert};
use crate::live::{Beat, Life, Pulse};
use crate::metrics::Gauge;

/// A comment line, which readers skip.
pub(crate) const HEARTBEAT: &[u8] = b": heartbeat\n\n";

/// One client reading one turn.
struct Watch {
    reader: Reader,
    pulse: Pulse,
    ended: bool,
    /// The request repeats one that was made before: it is not to be repeated again.
    repeat: bool,
    _open: Gauge,
}

/// The answer that streams a turn to its end, or until the reader's key ends.
pub(crate) fn stream(reader: Reader, life: Arc<Life>, heartbeat: Duration) -> Response {
    let turn = reader.turn_id();
    let repeat = reader.is_repeat();
    let pulse = Pulse::new(life, heartbeat);
    let watch = Watch { reader, pulse, ended: false, repeat, _open: Gauge::streams() };
    let chunks = unfold(watch, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((Ok::<_, Infallible>(chunk), watch))
    });
    answer(Body::from_stream(chunks), turn)
}

/// An event stream about this turn, with what keeps those on the way from holding it back.
pub(crate) fn answer(body: Body, turn: TurnId) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    insert(headers, TURN_ID, &turn.to_string());
    response
}

impl Watch {
    /// What is to be sent next; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut buffer = BytesMut::new();
        let repeat = self.repeat;
        let abandoned = self.reader.abandoned();
        let read = tokio::select! {
            biased;
            beat = self.pulse.beat() => match beat {
                Beat::Ended => return None,
                Beat::Quiet => None,
            },
            read = self.reader.read(|seq, event| frame(&mut buffer, seq, event, repeat)) => Some(read),
            // Without an end: whoever reads comes back, and another gateway reads on.
            () = abandoned => return None,
        };
        match read {
            None => return Some(Bytes::from_static(HEARTBEAT)),
            Some(Read::More) => {}
            Some(Read::Ended) => self.ended = true,
        }
        self.pulse.sent();
        // Nothing was left to read: the end had been read before.
        (!buffer.is_empty()).then(|| buffer.freeze())
    }
}

/// Appends an event.
fn frame(buffer: &mut BytesMut, seq: u64, event: EventRef<'_>, repeat: bool) {
    if let EventRef::Ended(turn) = event
        && let Some(turn) = as_repeated(turn, repeat)
    {
        return put(buffer, seq, EventRef::Ended(&turn));
    }
    put(buffer, seq, event);
}

/// The turn as a repeat shows it, where that differs.
pub(crate) fn as_repeated(turn: &Turn, repeat: bool) -> Option<Turn> {
    let retryable = turn.error.as_ref().is_some_and(|error| error.retryable);
    (repeat && retryable).then(|| {
        let mut turn = turn.clone();
        if let Some(error) = &mut turn.error {
            error.retryable = false;
            error.retry_after = None;
        }
        turn
    })
}

fn put(buffer: &mut BytesMut, seq: u64, event: EventRef<'_>) {
    let begin = buffer.len();
    let (mut number, kind) = (itoa::Buffer::new(), event.kind());
    let number = number.format(seq);
    for part in ["id: ", number, "\nevent: ", kind, "\ndata: "] {
        buffer.put_slice(part.as_bytes());
    }
    // JSON has no line break but within strings, where it is escaped: one `data:` line is enough.
    let written = match event {
        // Nearly all are these: written as [`chat::EventRef::data`] would.
        EventRef::Delta(text) => {
            for part in ["{\"type\":\"", kind, "\",\"seq\":", number, ",\"text\":"] {
                buffer.put_slice(part.as_bytes());
            }
            serde_json::to_writer(buffer.writer(), text).inspect(|()| buffer.put_slice(b"}"))
        }
        event => serde_json::to_writer(buffer.writer(), &event.data(seq)),
    };
    match written {
        Ok(()) => buffer.put_slice(b"\n\n"),
        Err(error) => {
            tracing::error!(%error, seq, "an event cannot be written");
            buffer.truncate(begin);
        }
    }
}

#[cfg(test)]
mod tests {
    use chat::{ErrorCode, Progress, TurnError, TurnStatus};

    use super::*;

    fn written(seq: u64, event: EventRef<'_>) -> String {
        let mut buffer = BytesMut::new();
        frame(&mut buffer, seq, event, false);
        String::from_utf8(buffer.to_vec()).unwrap()
    }

    #[test]
    fn an_event_is_three_lines_and_an_empty_one() {
        assert_eq!(
            written(2, EventRef::Delta("a\nb\r\n\u{2028}\"")),
            "id: 2\nevent: message.delta\ndata: {\"type\":\"message.delta\",\"seq\":2,\"text\":\"a\\nb\\r\\n\u{2028}\\\"\"}\n\n"
        );
        let progress = Progress::step("fallback").with("assistant", "docs");
        assert_eq!(
            written(3, EventRef::Progress(&progress)),
            "id: 3\nevent: turn.progress\ndata: {\"type\":\"turn.progress\",\"seq\":3,\"step\":\"fallback\",\"assistant\":\"docs\"}\n\n"
        );
    }

    #[test]
    fn a_repeat_says_that_it_is_not_to_be_repeated() {
        let asked = ("a".parse().unwrap(), "p".parse().unwrap());
        let now = chat::Timestamp::now();
        let mut turn = Turn::accepted(TurnId::new(), TurnStatus::Failed, now, None, asked);
        turn.error = Some(TurnError::new(ErrorCode::ProviderError, "down"));
        let mut buffer = BytesMut::new();
        frame(&mut buffer, 9, EventRef::Ended(&turn), true);
        let text = String::from_utf8(buffer.to_vec()).unwrap();
        assert!(text.starts_with("id: 9\nevent: turn.failed\n"), "{text}");
        assert!(text.contains("\"retryable\":false"), "{text}");
        assert!(written(9, EventRef::Ended(&turn)).contains("\"retryable\":true"));
    }
}

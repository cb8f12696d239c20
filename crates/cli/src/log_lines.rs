//! The log as lines of JSON, each written as it is read off the event.
//!
//! The library's own layer asks for the span at every step of a request, makes a tree of a span's fields, of which it makes text, and
//! writes through three more layers of its own: most of what a line costs, and there is one for every request. Here a span's fields
//! are written once, when it begins, and a line is put together in a buffer that its thread keeps.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use chat::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// A line that was longer leaves no more room than this behind, in bytes.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Room for the fields of a request, in bytes.
const FIELDS_BYTES: usize = 128;

/// Writes lines of JSON: time, level, the event's fields, target, the span that it happened in.
#[derive(Debug)]
pub(crate) struct LogLines<W>(W);

impl<W> LogLines<W> {
    /// To this writer, which gets whole lines.
    pub(crate) fn new(writer: W) -> Self
    where
        W: for<'writer> MakeWriter<'writer> + 'static,
    {
        Self(writer)
    }
}

/// A span's fields, each with a comma behind it.
struct SpanFields(String);

/// What a thread keeps from line to line.
struct Desk {
    line: String,
    clock: Clock,
}

thread_local! {
    static DESK: RefCell<Desk> = const { RefCell::new(Desk { line: String::new(), clock: Clock::new() }) };
}

impl<S, W> Layer<S> for LogLines<W>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = String::with_capacity(FIELDS_BYTES);
        attributes.record(&mut Fields(&mut fields));
        span.extensions_mut().insert(SpanFields(fields));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut() {
            values.record(&mut Fields(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        DESK.with(|desk| match desk.try_borrow_mut() {
            Ok(mut desk) => {
                let Desk { line, clock } = &mut *desk;
                self.log(event, &context, line, clock);
                line.clear();
                line.shrink_to(BUFFER_BYTES_MAX);
            }
            // A value that logs while it is written.
            Err(_) => self.log(event, &context, &mut String::new(), &mut Clock::new()),
        });
    }
}

impl<W: for<'writer> MakeWriter<'writer>> LogLines<W> {
    fn log<S>(&self, event: &Event<'_>, context: &Context<'_, S>, line: &mut String, clock: &mut Clock)
    where
        S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    {
        let metadata = event.metadata();
        line.push_str("{\"timestamp\":\"");
        clock.put_now(line);
        line.push_str("\",\"level\":\"");
        line.push_str(metadata.level().as_str());
        line.push_str("\",");
        event.record(&mut Fields(line));
        line.push_str("\"target\":");
        put_string(line, metadata.target());
        if let Some(span) = context.event_span(event) {
            line.push_str(",\"span\":{");
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.push_str(fields);
            }
            line.push_str("\"name\":");
            put_string(line, span.name());
            line.push('}');
        }
        line.push_str("}\n");
        // Where the log cannot be written there is nobody to tell.
        drop(self.0.make_writer_for(metadata).write_all(line.as_bytes()));
    }
}

/// The time as the log has it, of whose text only the end differs from line to line.
struct Clock {
    /// Seconds since 1970.
    second: Option<u64>,
    /// `YYYY-MM-DDTHH:MM:SS`.
    text: String,
}

impl Clock {
    const fn new() -> Self {
        Self { second: None, text: String::new() }
    }

    /// RFC 3339 in UTC with microseconds.
    fn put_now(&mut self, out: &mut String) {
        // A clock that stands before 1970 is told as 1970.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(now.as_secs()) {
            let millis = i64::try_from(now.as_secs().saturating_mul(1000)).unwrap_or(i64::MAX);
            self.text.clear();
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{}", Timestamp::from_millis(millis));
            self.text.truncate("YYYY-MM-DDTHH:MM:SS".len());
            self.second = Some(now.as_secs());
        }
        out.push_str(&self.text);
        out.push('.');
        let micros = now.subsec_micros();
        for place in [100_000, 10_000, 1_000, 100, 10, 1] {
            out.push(char::from_digit(micros / place % 10, 10).unwrap_or('0'));
        }
        out.push('Z');
    }
}

/// Writes fields, each with a comma behind it.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut String)) {
        put_string(self.0, field.name());
        self.0.push(':');
        value(self.0);
        self.0.push(',');
    }

    /// Something that is written as JSON has it.
    fn put_plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.put(field, |out| {
            // Writing to a string cannot fail.
            let _ = write!(out, "{value}");
        });
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.put_plain(field, format_args!("{value:?}")),
            false => self.put_plain(field, "null"),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_plain(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |out| put_string(out, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |out| {
            out.push('"');
            // What cannot be written is left out of the line, which is JSON all the same.
            let _ = write!(Escaped(out), "{value:?}");
            out.push('"');
        });
    }
}

fn put_string(out: &mut String, text: &str) {
    out.push('"');
    put_escaped(out, text);
    out.push('"');
}

/// Writes what stands between the quotation marks of a string.
fn put_escaped(out: &mut String, text: &str) {
    // Nearly none has any: all bytes are compared at once, without a way out in between.
    if !text.bytes().fold(false, |found, byte| found | is_escaped(byte)) {
        return out.push_str(text);
    }
    let mut rest = text;
    // All that is escaped is ASCII: what stands before and behind is whole characters.
    while let Some(place) = rest.bytes().position(is_escaped) {
        let (plain, after) = rest.split_at(place);
        out.push_str(plain);
        let mut characters = after.chars();
        match characters.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}

/// Not `||`, so that many bytes can be compared at once.
fn is_escaped(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

/// Takes what is formatted.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        put_escaped(self.0, text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::field::Empty;
    use tracing_subscriber::Registry;
    use tracing_subscriber::fmt::writer::BoxMakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

    /// What a layer writes of what is said.
    fn written(layer: impl Fn(BoxMakeWriter) -> Boxed, say: fn()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = layer(BoxMakeWriter::new(move || writer.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let read = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line["timestamp"] = line["timestamp"].as_str().unwrap().len().into();
            line
        };
        text.lines().map(read).collect()
    }

    #[test]
    fn a_line_says_what_the_librarys_says() {
        let say = || {
            tracing::warn!(
                status = 200_u64,
                less = -1,
                share = 0.5,
                yes = true,
                "answered \"{}\"",
                "a\n\u{1}\\é"
            );
            let none: Option<&str> = None;
            let span = tracing::info_span!("request", request.id = %"r-1", route = "/v1/chat", late = Empty);
            span.in_scope(
                || tracing::info!(target: "audit", { none, some = Some("x"), why = ?[1, 2] }, "done"),
            );
            span.record("late", 5);
            span.in_scope(|| tracing::error!(error = %std::io::Error::other("x\ty"), "failed"));
            tracing::info_span!("bare").in_scope(|| tracing::info!("in it"));
            tracing::info!(parent: &span, "named as its parent");
        };
        let ours = |writer: BoxMakeWriter| LogLines::new(writer).boxed();
        let theirs = |writer| {
            let layer = tracing_subscriber::fmt::layer().with_writer(writer).json();
            layer.flatten_event(true).with_span_list(false).boxed()
        };
        let (ours, theirs) = (written(ours, say), written(theirs, say));
        assert_eq!(ours.len(), 5);
        assert_eq!(ours, theirs);
    }
}

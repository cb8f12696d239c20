//! A line of the log as JSON, written as it is read off the event.
//!
//! The library's own way to the same line makes a tree of the span's fields, of which it makes text, for each line anew: half of what
//! a line costs, and there is one for every request.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes lines of JSON: time, level, the event's fields, target, the span that it happened in. Spans' fields are JSON objects already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLine;

impl<S, N> FormatEvent<S, N> for LogLine
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        let metadata = event.metadata();
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(metadata.level().as_str())?;
        writer.write_char('"')?;
        let mut fields = Fields { writer: writer.by_ref(), result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writer.write_str(",\"target\":")?;
        string(&mut writer, metadata.target())?;
        if let Some(span) = context.lookup_current() {
            writer.write_str(",\"span\":{")?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && let Some(inner) = fields.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
                && !inner.is_empty()
            {
                writer.write_str(inner)?;
                writer.write_char(',')?;
            }
            writer.write_str("\"name\":")?;
            string(&mut writer, span.name())?;
            writer.write_char('}')?;
        }
        writer.write_str("}\n")
    }
}

/// An event's fields, each behind a comma.
struct Fields<'a> {
    writer: Writer<'a>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.try_put(field, value);
        }
    }

    fn try_put(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) -> fmt::Result {
        self.writer.write_char(',')?;
        string(&mut self.writer, field.name())?;
        self.writer.write_char(':')?;
        value(&mut self.writer)
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, |writer| match value.is_finite() {
            true => write!(writer, "{value:?}"),
            false => writer.write_str("null"),
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |writer| string(writer, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |writer| {
            writer.write_char('"')?;
            write!(Escaped(writer), "{value:?}")?;
            writer.write_char('"')
        });
    }
}

fn string(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    writer.write_char('"')?;
    Escaped(writer).write_str(text)?;
    writer.write_char('"')
}

/// Writes what stands between the quotation marks of a string.
struct Escaped<'a, 'b>(&'a mut Writer<'b>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(place) = rest.find(|c: char| matches!(c, '"' | '\\' | '\0'..='\u{1f}')) {
            let (plain, after) = rest.split_at(place);
            self.0.write_str(plain)?;
            let mut characters = after.chars();
            match characters.next() {
                Some('"') => self.0.write_str("\\\"")?,
                Some('\\') => self.0.write_str("\\\\")?,
                Some('\n') => self.0.write_str("\\n")?,
                Some('\r') => self.0.write_str("\\r")?,
                Some('\t') => self.0.write_str("\\t")?,
                Some(control) => write!(self.0, "\\u{:04x}", u32::from(control))?,
                None => {}
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::field::Empty;
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::fmt::writer::BoxMakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer, Registry};

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
        };
        let ours = |writer| {
            let layer = tracing_subscriber::fmt::layer().with_writer(writer);
            layer.fmt_fields(JsonFields::new()).event_format(LogLine).boxed()
        };
        let theirs = |writer| {
            let layer = tracing_subscriber::fmt::layer().with_writer(writer).json();
            layer.flatten_event(true).with_span_list(false).boxed()
        };
        let (ours, theirs) = (written(ours, say), written(theirs, say));
        assert_eq!(ours.len(), 4);
        assert_eq!(ours, theirs);
    }
}

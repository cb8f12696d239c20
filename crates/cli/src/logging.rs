//! The log, on standard error, as JSON or text; and where spans go.

use std::panic;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogFormat, Observability};
use crate::log_line::LogLine;
use crate::log_writer::LogWriter;
use crate::traces::Traces;

/// What is logged where `RUST_LOG` says nothing.
const FILTER: &str = "info";

/// Begins to log and to send spans, once in the life of the process. A second call changes nothing.
///
/// # Errors
/// Spans cannot be sent to where the configuration says.
pub(crate) fn start(observability: &Observability) -> anyhow::Result<Option<Traces>> {
    let traces = observability.otlp_endpoint.as_ref().map(Traces::open).transpose()?;
    start_log(observability, traces.as_ref());
    Ok(traces)
}

/// Begins to log, without spans for commands that do little.
pub(crate) fn start_log(observability: &Observability, traces: Option<&Traces>) {
    start_with(observability.log_format, FILTER, observability.log_content, traces);
}

/// The same for commands that no configuration is read for.
pub(crate) fn start_with(format: LogFormat, filter: &str, content: bool, traces: Option<&Traces>) {
    let mut layers = vec![log(format, filter, content)];
    if let Some(traces) = traces {
        layers.push(traces.layer().boxed());
    }
    if tracing_subscriber::registry().with(layers).try_init().is_ok() {
        log_panics(content);
    }
}

fn log(format: LogFormat, filter: &str, content: bool) -> Box<dyn Layer<Registry> + Send + Sync> {
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    // Whatever the environment asks for: spans for tracing systems are none of the log's, and content is the operator's to allow.
    for target in [Some(engine::SPANS), (!content).then_some(engine::CONTENT)].into_iter().flatten() {
        if let Ok(directive) = format!("{target}=off").parse() {
            filter = filter.add_directive(directive);
        }
    }
    let log = tracing_subscriber::fmt::layer().with_writer(writer()).with_timer(SystemTime).with_target(true);
    match format {
        LogFormat::Json => {
            log.fmt_fields(JsonFields::new()).event_format(LogLine).with_filter(filter).boxed()
        }
        LogFormat::Text => {
            log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_filter(filter).boxed()
        }
    }
}

fn writer() -> BoxMakeWriter {
    match LogWriter::of_process() {
        Some(writer) => BoxMakeWriter::new(move || writer.clone()),
        None => BoxMakeWriter::new(std::io::stderr),
    }
}

/// Panics are logged like all else. What they say may hold somebody's text (a slice of a message that is out of range says the
/// message), so it is logged only where messages may be.
fn log_panics(content: bool) {
    panic::set_hook(Box::new(move |panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().filter(|_| content);
        tracing::error!(location, message, "a task panicked");
    }));
}

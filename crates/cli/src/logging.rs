//! The log, on standard error, as JSON or text; and where spans go.

use std::panic;

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, Observability};
use crate::log_lines::LogLines;
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
    let filter = log_filter(filter, content);
    let begun = match traces {
        // One filter for all: one for each layer is asked again at every step of a request.
        None => tracing_subscriber::registry().with(filter).with(log(format)).try_init(),
        Some(traces) => {
            let layers = vec![log(format).with_filter(filter).boxed(), traces.layer().boxed()];
            tracing_subscriber::registry().with(layers).try_init()
        }
    };
    if begun.is_ok() {
        log_panics(content);
    }
}

fn log_filter(filter: &str, content: bool) -> EnvFilter {
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    // Whatever the environment asks for: spans for tracing systems are none of the log's, and content is the operator's to allow.
    for target in [Some(engine::SPANS), (!content).then_some(engine::CONTENT)].into_iter().flatten() {
        if let Ok(directive) = format!("{target}=off").parse() {
            filter = filter.add_directive(directive);
        }
    }
    filter
}

fn log<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    let writer = LogWriter::of_process();
    match format {
        LogFormat::Json => LogLines::new(move || writer).boxed(),
        LogFormat::Text => {
            let log = tracing_subscriber::fmt::layer().with_writer(move || writer).with_timer(SystemTime);
            log.with_target(true).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed()
        }
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

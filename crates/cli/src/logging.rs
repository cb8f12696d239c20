//! The log: on standard error, as JSON or text.

use std::panic;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::{LogFormat, Observability};

/// What is logged where `RUST_LOG` says nothing.
const FILTER: &str = "info";

/// Begins to log, once in the life of the process. A second call changes nothing.
pub(crate) fn start(observability: &Observability) {
    start_with(observability.log_format, FILTER, observability.log_content);
}

/// The same for commands that no configuration is read for.
pub(crate) fn start_with(format: LogFormat, filter: &str, content: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(SystemTime)
        .with_target(true);
    let started = match format {
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).try_init(),
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
    if started.is_ok() {
        log_panics(content);
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

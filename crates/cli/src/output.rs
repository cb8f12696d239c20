//! Results to standard output, everything else to standard error.
//!
//! A reader that has gone away (`switchboard … | head`) is no failure: what can't be written is dropped.

use std::io::Write as _;

/// A line of the result.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A piece of the result, shown at once.
pub(crate) fn piece(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line for whoever sits at the terminal: no part of the result.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Why the work failed.
pub(crate) fn problem(text: &str) {
    note(&format!("switchboard: {text}"));
}

//! What came of a call, as text for people to read and for files to keep.

use std::fmt::Write as _;

use chat::{Piece, ProviderError};

/// What came of a call, a line for each piece.
pub(super) fn outcome(outcome: &[Result<Piece, ProviderError>]) -> String {
    let mut shown = String::new();
    for piece in outcome {
        let line = match piece {
            Ok(Piece::Text(text)) if text.contains('\n') && text.len() > 80 => format!("text:\n{text}"),
            Ok(Piece::Text(text)) => format!("text {text:?}"),
            Ok(Piece::Replace(text)) => format!("replace {text:?}"),
            Ok(Piece::End(reason)) => format!("end {reason:?}"),
            Ok(Piece::Usage(usage)) => format!("usage {}", serde_json::to_string(usage).unwrap()),
            Ok(Piece::Extension(frame)) => format!("extension {frame}"),
            Ok(Piece::Sources(sources)) => {
                format!("sources {}", serde_json::to_string_pretty(sources).unwrap())
            }
            Ok(piece) => format!("{piece:?}"),
            Err(error) => show_error(error),
        };
        shown.push_str(&line);
        shown.push('\n');
    }
    shown
}

/// An error, without what it does not say.
fn show_error(error: &ProviderError) -> String {
    let mut shown = format!("error {:?}", error.failure);
    if let Some(status) = error.status {
        write!(shown, ", status {status}").unwrap();
    }
    if error.unsent {
        shown.push_str(", unsent");
    }
    if let Some(message) = &error.message {
        write!(shown, ", message {message:?}").unwrap();
    }
    if let Some(id) = &error.request_id {
        write!(shown, ", request id {id:?}").unwrap();
    }
    if let Some(usage) = &error.usage {
        write!(shown, ", usage {}", serde_json::to_string(usage).unwrap()).unwrap();
    }
    if !error.sources.is_empty() {
        write!(shown, ", sources {}", serde_json::to_string_pretty(&error.sources).unwrap()).unwrap();
    }
    shown
}

/// Ids that were drawn, and so are not in what was asked, as `[uuid]`.
pub(super) fn without_random_ids(shown: &str, asked: &str) -> String {
    let mut clean = shown.to_owned();
    for start in 0..shown.len().saturating_sub(35) {
        let Some(window) = shown.get(start..start + 36) else { continue };
        if !asked.contains(window) && uuid::Uuid::try_parse(window).is_ok() {
            clean = clean.replace(window, "[uuid]");
        }
    }
    clean
}

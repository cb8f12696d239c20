//! What is passed through to clients of the OpenAI dialect.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a provider sent for the OpenAI dialect, as it came.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Which of the turn's calls gave it: 0, 1, 2 … in the order in which they were begun, those counted that are made again
    /// ("retry") and those of other assistants ("fallback").
    pub call: u32,
    /// It: JSON, as it came.
    pub json: Arc<str>,
}

impl Frame {
    /// Whether a frame says anything beyond who speaks: text, a piece of a tool's call, or what we do not know. What does not can
    /// be held back until something does, and dropped when nothing does.
    #[must_use]
    pub fn says_something(frame: &str) -> bool {
        #[derive(Deserialize)]
        struct Chunk {
            #[serde(default)]
            choices: Vec<Choice>,
        }
        #[derive(Deserialize)]
        struct Choice {
            #[serde(default)]
            delta: IndexMap<String, Box<RawValue>>,
        }
        let Ok(Chunk { choices }) = serde_json::from_str(frame) else { return false };
        let nothing = |value: &RawValue| matches!(value.get(), "null" | "\"\"" | "[]" | "{}");
        let mut said = choices.iter().flat_map(|choice| &choice.delta);
        said.any(|(name, value)| name != "role" && !nothing(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_is_not_yet_an_answer() {
        for silent in [
            r#"{"choices":[{"delta":{"role":"assistant","content":"","refusal":null}}]}"#,
            r#"{"choices":[],"usage":{"total_tokens":1}}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        ] {
            assert!(!Frame::says_something(silent), "{silent}");
        }
        for said in [
            r#"{"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
        ] {
            assert!(Frame::says_something(said), "{said}");
        }
    }
}

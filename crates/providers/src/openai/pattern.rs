//! Chunks that are like the one before but for their text, as nearly all are: their text is had without reading them.
//!
//! What stands before and after the text of a chunk that was read is kept. A chunk which begins and ends with the same bytes, and has
//! between them what is plainly the inside of a string, is the same JSON with another text: that is certain, not a guess.

use super::wire;

/// How many chunks in a row may be unlike the one before: a server that writes something new into each is not looked at further.
const UNLIKE_MAX: u8 = 8;

/// What stands around the text of the last chunk that had nothing else to say.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    before: String,
    after: String,
    unlike: u8,
}

impl Pattern {
    /// The text of a chunk that is like the last one.
    pub(super) fn text<'a>(&mut self, chunk: &'a str) -> Option<&'a str> {
        if self.before.is_empty() {
            return None;
        }
        let text = chunk.strip_prefix(&*self.before).and_then(|rest| rest.strip_suffix(&*self.after));
        let text = text.filter(|text| is_plain(text));
        self.unlike = if text.is_some() { 0 } else { self.unlike.saturating_add(1) };
        text
    }

    /// Learns from a chunk that was read.
    pub(super) fn learn(&mut self, chunk: &str, read: &wire::Completion<'_>) {
        if self.unlike >= UNLIKE_MAX {
            self.before.clear();
            return;
        }
        let place = text_of(read).and_then(|text| {
            // It stands in the chunk: it was not copied.
            let begin = text.as_ptr().addr().checked_sub(chunk.as_ptr().addr())?;
            let end = begin.checked_add(text.len())?;
            Some((chunk.get(..begin)?, chunk.get(end..)?))
        });
        let (before, after) = place.unwrap_or_default();
        before.clone_into(&mut self.before);
        after.clone_into(&mut self.after);
    }
}

/// Whether each byte stands for itself within a string of JSON. Without an early end, so that many are looked at at once.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

/// The text of a chunk that says nothing beside, with who says it: what it says of itself was taken in with the chunk that was read.
fn text_of<'a>(chunk: &wire::Completion<'a>) -> Option<&'a str> {
    let choice = chunk.choices.as_ref()?.iter().find(|choice| choice.index.unwrap_or(0) == 0)?;
    let said = choice.delta.as_ref()?;
    let alone = chunk.usage.is_none()
        && choice.message.is_none()
        && choice.finish_reason.is_none()
        && said.refusal.is_none()
        && said.tool_calls.is_none()
        && said.function_call.is_none();
    let text = said.content?.get().strip_prefix('"')?.strip_suffix('"')?;
    (alone && is_plain(text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(delta: &str) -> String {
        format!(
            r#"{{"id":"1","model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"usage":null}}"#
        )
    }

    fn learnt(json: &str) -> Pattern {
        let mut pattern = Pattern::default();
        pattern.learn(json, &serde_json::from_str(json).unwrap());
        pattern
    }

    #[test]
    fn a_chunk_like_the_last_one_is_its_text() {
        let mut pattern = learnt(&chunk(r#"{"content":"Hello"}"#));
        for text in ["", " ", "ы, 1 < 2", "a much longer text than that before"] {
            assert_eq!(pattern.text(&chunk(&format!(r#"{{"content":"{text}"}}"#))), Some(text));
        }
        for other in [
            r#"{"content":"a\nb"}"#,
            r#"{"content":"a","refusal":"b"}"#,
            r#"{"content":null}"#,
            r#"{"role":"assistant","content":"a"}"#,
            "{\"content\":\"a\nb\"}",
        ] {
            assert_eq!(pattern.text(&chunk(other)), None, "{other}");
        }
        let ended = chunk(r#"{"content":"a"}"#).replace("null}]", "\"stop\"}]");
        assert_eq!(pattern.text(&ended), None);
        assert_eq!(pattern.text(&chunk(r#"{"content":"a"}"#).replace("\"m\"", "\"n\"")), None);
    }

    #[test]
    fn chunks_that_say_more_are_no_pattern() {
        for more in [
            chunk(r#"{"content":"a","tool_calls":[]}"#),
            chunk(r#"{"content":"a","refusal":"b"}"#),
            chunk(r#"{"content":"a\n"}"#),
            chunk(r#"{"role":"assistant"}"#),
            chunk(r#"{"content":"a"}"#).replace(r#""finish_reason":null"#, r#""finish_reason":"stop""#),
            chunk(r#"{"content":"a"}"#).replace(r#""usage":null"#, r#""usage":{"total_tokens":1}"#),
            chunk(r#"{"content":"a"}"#).replace(r#""index":0"#, r#""index":1"#),
        ] {
            assert_eq!(learnt(&more).text(&more), None, "{more}");
        }
    }

    #[test]
    fn a_server_whose_chunks_differ_is_left_alone() {
        let mut pattern = Pattern::default();
        for number in 0..2 * UNLIKE_MAX {
            let json = chunk(r#"{"content":"a"}"#).replace("\"1\"", &format!("\"{number}\""));
            assert_eq!(pattern.text(&json), None);
            pattern.learn(&json, &serde_json::from_str(&json).unwrap());
        }
        assert!(pattern.before.is_empty());
    }
}

//! What a provider of the same dialect sent: passed on with every field as it came but the names of the turn and the assistant.

use std::borrow::Cow;
use std::fmt;

use chat::{AssistantName, TurnId};
use memchr::{memchr2, memmem};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::openai::shape;

/// Rewrites the frames of one turn.
#[derive(Debug)]
pub(super) struct Frames {
    /// Fields that are ours to say, and what we say, as JSON.
    own: [(&'static str, String); 2],
}

impl Frames {
    /// For frames of this turn, given by this assistant.
    pub(super) fn new(turn: TurnId, assistant: &AssistantName) -> Self {
        // Writing a string as JSON cannot fail.
        let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let id = quoted(&shape::id(super::PREFIX, turn));
        Self { own: [("id", id), ("model", quoted(assistant.as_str()))] }
    }

    /// Appends the frame as the client gets it, on one line; nothing when it is no object.
    pub(super) fn write(&self, frame: &str, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let written = match chat::fields(frame) {
            Some(fields) => self.copy(frame, &fields, out).is_some(),
            None => {
                out.push(b'{');
                let mut rewriting = Rewriting { begin: out.len(), own: &self.own, said: [false; 2], out };
                let read = rewriting.deserialize(&mut serde_json::Deserializer::from_str(frame));
                rewriting.end();
                read.is_ok()
            }
        };
        if !written {
            out.truncate(before);
        }
        written
    }

    /// Copies a frame with these fields: all that stands between our own together, as it came.
    fn copy(&self, frame: &str, fields: &[(&str, &str)], out: &mut Vec<u8>) -> Option<()> {
        let frame = frame.trim();
        let (mut said, mut copied) = ([false; 2], 0);
        for (name, value) in fields {
            let own = self.own.iter().zip(&mut said).find(|((own, _), _)| own == name);
            let Some(((_, ours), said)) = own else { continue };
            *said = true;
            // The value stands in the frame: it was not copied.
            let begin = value.as_ptr().addr().checked_sub(frame.as_ptr().addr())?;
            put_on_one_line(out, frame.get(copied..begin)?);
            out.extend_from_slice(ours.as_bytes());
            copied = begin + value.len();
        }
        put_on_one_line(out, frame.get(copied..)?.strip_suffix('}')?);
        let mut is_first = fields.is_empty();
        for ((name, ours), _) in self.own.iter().zip(said).filter(|(_, said)| !said) {
            out.extend_from_slice(if is_first { b"\"" } else { b",\"" });
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(ours.as_bytes());
            is_first = false;
        }
        out.push(b'}');
        Some(())
    }
}

/// Writes the fields of an object with other values in some of them.
struct Rewriting<'a> {
    /// Where the first field stands.
    begin: usize,
    own: &'a [(&'static str, String); 2],
    /// Which of our own are written.
    said: [bool; 2],
    out: &'a mut Vec<u8>,
}

impl Rewriting<'_> {
    fn field(&mut self, name: &str, value: &str) {
        match self.own.iter().zip(&mut self.said).find(|((own, _), _)| *own == name) {
            Some(((own, ours), said)) => {
                *said = true;
                self.put(own, ours);
            }
            None => self.put(name, value),
        }
    }

    /// What is ours to say and was not there.
    fn end(&mut self) {
        for ((name, ours), _) in self.own.iter().zip(self.said).filter(|(_, said)| !said) {
            self.put(name, ours);
        }
        self.out.push(b'}');
    }

    fn put(&mut self, name: &str, value: &str) {
        if self.out.len() > self.begin {
            self.out.push(b',');
        }
        // Writing a string as JSON into memory cannot fail.
        let _ = serde_json::to_writer(&mut *self.out, name);
        self.out.push(b':');
        put_on_one_line(self.out, value);
    }
}

impl<'de> DeserializeSeed<'de> for &mut Rewriting<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Rewriting<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            self.field(&name, value.get());
        }
        Ok(())
    }
}

/// A frame that came in several lines has its breaks between its words, where a space is as good.
fn put_on_one_line(out: &mut Vec<u8>, json: &str) {
    let mut rest = json.as_bytes();
    // Nearly none has any: all bytes are compared at once, without a way out in between.
    if !rest.iter().fold(false, |found, byte| found | (*byte < b' ')) {
        out.extend_from_slice(rest);
        return;
    }
    while let Some(place) = memchr2(b'\n', b'\r', rest) {
        let (line, after) = rest.split_at(place);
        out.extend_from_slice(line);
        out.push(b' ');
        rest = after.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// The provider's own model.
pub(super) fn model(frame: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        model: Option<String>,
    }
    if let Some(fields) = chat::fields(frame) {
        let (_, model) = fields.into_iter().find(|(name, _)| *name == "model")?;
        return serde_json::from_str(model).ok()?;
    }
    serde_json::from_str::<Named>(frame).ok()?.model
}

/// Whether a frame has a piece of a tool's call: another call of a provider can't continue that.
pub(super) fn calls_a_tool(frame: &str) -> bool {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow, default)]
        choices: Vec<Choice<'a>>,
    }
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow, default)]
        delta: Delta<'a>,
    }
    #[derive(Default, Deserialize)]
    struct Delta<'a> {
        #[serde(borrow)]
        tool_calls: Option<&'a RawValue>,
        #[serde(borrow)]
        function_call: Option<&'a RawValue>,
    }
    // Looked for before anything is parsed: most frames name none.
    if memmem::find(frame.as_bytes(), b"_call").is_none() {
        return false;
    }
    let Ok(Chunk { choices }) = serde_json::from_str(frame) else { return true };
    let is_said =
        |part: Option<&RawValue>| part.is_some_and(|part| !matches!(part.get(), "null" | "[]" | "{}"));
    choices.iter().any(|choice| is_said(choice.delta.tool_calls) || is_said(choice.delta.function_call))
}

/// Whether a step says that another call has begun: what came before it is of one that failed.
pub(super) fn is_another_call(step: &str) -> bool {
    matches!(step, "retry" | "fallback")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(frames: &Frames, frame: &str) -> Option<String> {
        let mut out = b"before".to_vec();
        let written = frames.write(frame, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(written, text.len() > "before".len());
        written.then(|| text.strip_prefix("before").unwrap().to_owned())
    }

    #[test]
    fn a_call_of_a_tool_is_seen() {
        for text in [
            r#"{"choices":[{"delta":{"content":"tool_calls"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","tool_calls":null,"function_call":null}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[]}},{"finish_reason":"tool_calls"}]}"#,
            r#"{"usage":{"_call":1}}"#,
        ] {
            assert!(!calls_a_tool(text), "{text}");
        }
        for call in [
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
            r#"{"choices":[{"delta":{"function_call":{"name":"f"}}}]}"#,
        ] {
            assert!(calls_a_tool(call), "{call}");
        }
    }

    #[test]
    fn every_other_field_stays_as_it_came() {
        let turn = TurnId::new();
        let frames = Frames::new(turn, &"support".parse().unwrap());
        let given = r#"{"id":"x","n":1.50,"model":"gpt-4o","choices":[{"delta":{"x_new":1e400}}],"big":123456789012345678901234567890}"#;
        let expected = format!(
            r#"{{"id":"chatcmpl-{}","n":1.50,"model":"support","choices":[{{"delta":{{"x_new":1e400}}}}],"big":123456789012345678901234567890}}"#,
            turn.uuid().simple()
        );
        assert_eq!(rewritten(&frames, given), Some(expected));
        assert_eq!(model(given).as_deref(), Some("gpt-4o"));
        let id = turn.uuid().simple();
        assert_eq!(
            rewritten(&frames, "{ \"a\\n\": [1,\r\n 2] }"),
            Some(format!(r#"{{"a\n":[1,   2],"id":"chatcmpl-{id}","model":"support"}}"#))
        );
        assert_eq!(
            rewritten(&frames, " {\"model\" : null,\n\"id\":{\"id\":[]} , \"a\": [1,\r\n 2]\n}\n"),
            Some(format!(r#"{{"model" : "support", "id":"chatcmpl-{id}" , "a": [1,   2] }}"#))
        );
        assert_eq!(rewritten(&frames, "{}"), Some(format!(r#"{{"id":"chatcmpl-{id}","model":"support"}}"#)));
        assert_eq!(rewritten(&frames, "[1]"), None);
    }
}

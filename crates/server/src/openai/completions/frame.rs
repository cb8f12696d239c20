//! What a provider of the same dialect sent: passed on with every field as it came but the names of the turn and the assistant.

use chat::{AssistantName, TurnId};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::openai::shape;

/// Rewrites the frames of one turn.
#[derive(Debug)]
pub(super) struct Frames {
    id: String,
    model: String,
}

impl Frames {
    /// For frames of this turn, given by this assistant.
    pub(super) fn new(turn: TurnId, assistant: &AssistantName) -> Self {
        Self { id: shape::id(super::PREFIX, turn), model: assistant.as_str().to_owned() }
    }

    /// The frame as the client gets it; none when it is no object.
    pub(super) fn rewritten(&self, frame: &RawValue) -> Option<String> {
        let mut fields: IndexMap<String, Box<RawValue>> = serde_json::from_str(frame.get()).ok()?;
        for (name, value) in [("id", &self.id), ("model", &self.model)] {
            fields.insert(name.to_owned(), to_raw_value(value).ok()?);
        }
        serde_json::to_string(&fields).ok()
    }
}

/// The provider's own model.
pub(super) fn model(frame: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        model: Option<String>,
    }
    serde_json::from_str::<Named>(frame.get()).ok()?.model
}

/// Whether a step says that another call has begun: what came before it is of one that failed.
pub(super) fn is_another_call(step: &str) -> bool {
    matches!(step, "retry" | "fallback")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn every_other_field_stays_as_it_came() {
        let turn = TurnId::new();
        let frames = Frames::new(turn, &"support".parse().unwrap());
        let given = raw(
            r#"{"id":"x","n":1.50,"model":"gpt-4o","choices":[{"delta":{"x_new":1e400}}],"big":123456789012345678901234567890}"#,
        );
        let expected = format!(
            r#"{{"id":"chatcmpl-{}","n":1.50,"model":"support","choices":[{{"delta":{{"x_new":1e400}}}}],"big":123456789012345678901234567890}}"#,
            turn.uuid().simple()
        );
        assert_eq!(frames.rewritten(&given), Some(expected));
        assert_eq!(model(&given).as_deref(), Some("gpt-4o"));
        assert_eq!(frames.rewritten(&raw("[1]")), None);
    }
}

//! A request of Responses as a turn.

use chat::{Content, ErrorCode, Metadata, Part, Role, TurnError, UserId};
use engine::Prompt;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::error::ApiError;
use crate::openai::item::{Given, Told};
use crate::text::NOT_BLANK;

/// A response to be made. These are the fields that the gateway itself understands; others reach a provider of the same dialect in its
/// words, and are ignored by name (`x-ignored-parameters`) or refused elsewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewResponse", extend("additionalProperties" = true), extend("oneOf" = [
    {"title": "A new conversation, or nothing that is kept", "required": ["model"],
     "properties": {"model": {"type": "string"}, "conversation": {"type": "null"}, "previous_response_id": {"type": "null"}},
     "anyOf": [{"properties": {"background": {"enum": [false, null]}}}, {"properties": {"store": {"enum": [true, null]}}}]},
    {"title": "A conversation goes on", "required": ["conversation"],
     "properties": {"conversation": {"type": ["string", "object"]}, "previous_response_id": {"type": "null"},
                    "store": {"enum": [true, null]}}},
    {"title": "An earlier response is followed", "required": ["previous_response_id"],
     "properties": {"previous_response_id": {"type": "string"}, "conversation": {"type": "null"},
                    "store": {"enum": [true, null]}}},
]))]
#[serde(expecting = "a JSON object")]
pub(crate) struct Wanted {
    /// The assistant to ask; where a conversation goes on, its own when left out.
    #[schemars(extend("pattern" = NOT_BLANK))]
    pub(super) model: Option<String>,
    /// What is said; the last of it is from the user.
    pub(super) input: Input,
    /// How the assistant is to take it, for this turn alone.
    pub(super) instructions: Option<String>,
    /// Whether to answer with an event stream. False when left out.
    pub(super) stream: Option<bool>,
    /// Whether to answer at once, and to go on whoever reads. False when left out.
    pub(super) background: Option<bool>,
    /// The response to follow; one that is not its conversation's last is followed in a copy.
    pub(super) previous_response_id: Option<String>,
    /// The conversation to continue.
    pub(super) conversation: Option<ConversationParam>,
    /// Whether the turn is kept. True when left out.
    pub(super) store: Option<bool>,
    /// Free words about the turn: at most 16 KiB as JSON.
    pub(super) metadata: Option<std::collections::BTreeMap<String, String>>,
    /// The end user, for the provider and for lists.
    pub(super) user: Option<UserId>,
}

/// A conversation by its id, or as an object that has one.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseConversationGiven")]
#[serde(untagged, expecting = "a conversation's id, or an object with `id`")]
pub(super) enum ConversationParam {
    /// Its id.
    Id(String),
    /// An object that has it.
    Object {
        /// It.
        id: String,
    },
}

impl ConversationParam {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Object { id } => id,
        }
    }
}

/// A string, or a list of items.
#[derive(Debug)]
pub(super) struct Input(Vec<Given>);

impl JsonSchema for Input {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ResponseInput".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<Vec<Given>>();
        json_schema!({
            "description": "A text of the user's, or items.",
            "oneOf": [
                {"title": "A text", "type": "string", "minLength": 1},
                {"title": "Items", "type": "array", "minItems": 1, "items": items.as_value().get("items")},
            ],
        })
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Input;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or an array of items")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Input, E> {
                Ok(Input(vec![Given::of_user(text.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Input, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element()? {
                    items.push(item);
                }
                Ok(Input(items))
            }
        }
        json.deserialize_any(Reads)
    }
}

/// What is said, and how the assistant is to take it.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) prompt: Prompt,
    pub(super) instructions: Option<String>,
    /// The same as it was told, where a tool's answer is in it: words alone do not say which call it answers.
    pub(super) tools: Option<Vec<Told>>,
}

impl Wanted {
    /// What is said: a transcript that begins a conversation, or what goes on with one. Calls of tools and what came of them can
    /// be told to a provider alone that is given a client's own body.
    pub(super) fn spoken(&mut self, passes_through: bool) -> Result<Spoken, ApiError> {
        let continues = self.conversation.is_some() || self.previous_response_id.is_some();
        let items = std::mem::take(&mut self.input.0);
        let mut told = Vec::with_capacity(items.len());
        for (place, item) in items.into_iter().enumerate() {
            let field = format!("input[{place}]");
            if passes_through {
                told.extend(item.told(&field)?);
            } else {
                told.extend(item.said(&field)?.map(|(role, content)| Told::Said(role, content)));
            }
        }
        let said: Vec<_> = told.iter().map(Told::in_words).collect();
        let tools = told.iter().any(|one| matches!(one, Told::Result { .. })).then_some(told);
        match said.last() {
            None => return Err(ApiError::invalid("input", "`input` must not be empty")),
            Some((Role::User, _)) => {}
            Some(_) => return Err(ApiError::invalid("input", "the last of `input` must be from the user")),
        }
        let instructions = self.instructions.clone().filter(|text| !text.trim().is_empty());
        if !continues {
            return Ok(Spoken { prompt: Prompt::Transcript(said), instructions, tools });
        }
        Ok(Spoken { tools, ..continued(said, instructions)? })
    }

    /// The client's words about the turn.
    pub(super) fn metadata(&self) -> Metadata {
        let strings = self.metadata.iter().flatten();
        strings.map(|(name, text)| (name.clone(), text.as_str().into())).collect()
    }

    /// Refuses what contradicts itself.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.conversation.is_some() && self.previous_response_id.is_some() {
            let message = "`previous_response_id` does not go with `conversation`";
            return Err(ApiError::invalid("previous_response_id", message));
        }
        if self.store == Some(false) {
            let with = if self.background == Some(true) {
                "background"
            } else if self.conversation.is_some() {
                "conversation"
            } else if self.previous_response_id.is_some() {
                "previous_response_id"
            } else {
                return Ok(());
            };
            return Err(ApiError::invalid("store", format!("`store` must not be false with `{with}`")));
        }
        if self.model.is_none() && self.conversation.is_none() && self.previous_response_id.is_none() {
            let message = "name the `model` to ask: an assistant of GET /v1/models";
            return Err(TurnError::new(ErrorCode::MissingField, message).about("model").into());
        }
        Ok(())
    }
}

/// What goes on with a conversation is one message of the user's; instructions among it hold for this turn.
fn continued(said: Vec<(Role, Content)>, instructions: Option<String>) -> Result<Spoken, ApiError> {
    let mut told: Vec<String> = instructions.into_iter().collect();
    let mut message = Content::default();
    for (role, content) in said {
        match role {
            Role::System => told.push(content.text().into_owned()),
            Role::User => {
                if !message.is_empty() {
                    message.parts.push(Part::Text { text: "\n\n".to_owned() });
                }
                message.parts.extend(content.parts);
            }
            Role::Assistant | Role::Operator => {
                let problem = "what an assistant said stands in the conversation already: it does not go with \
                               `conversation` or `previous_response_id`";
                return Err(ApiError::invalid("input", problem));
            }
        }
    }
    let instructions = (!told.is_empty()).then(|| told.join("\n\n"));
    Ok(Spoken { prompt: Prompt::Message(message), instructions, tools: None })
}

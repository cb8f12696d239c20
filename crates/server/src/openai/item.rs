//! Items: what conversations and responses consist of in OpenAI's form.

use chat::{Content, ErrorCode, Message, MessageStatus, Part, Role, TurnError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::said::{self, Said};
use crate::body::word_given;
use crate::error::ApiError;

/// An item as clients read it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Item {
    /// What somebody said.
    Message {
        /// The message's own id.
        id: String,
        /// How it stands.
        #[schemars(extend("enum" = ["in_progress", "completed", "incomplete"]))]
        status: &'static str,
        /// Who said it. An operator speaks as the assistant.
        #[schemars(extend("enum" = ["user", "system", "assistant"]))]
        role: &'static str,
        /// What was said.
        content: Vec<Piece>,
    },
    /// The assistant wants a tool to be run.
    FunctionCall {
        /// Made of the message's id.
        id: String,
        /// What the tool's answer names.
        call_id: String,
        /// The function.
        name: String,
        /// JSON, as the model wrote it.
        arguments: String,
        /// How it stands.
        #[schemars(extend("enum" = ["in_progress", "completed", "incomplete"]))]
        status: &'static str,
    },
}

/// A part of a message.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ItemContent")]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Piece {
    /// What was said to the assistant.
    InputText {
        /// Its words.
        text: String,
    },
    /// An image, by its link.
    InputImage {
        /// Where it is.
        image_url: String,
        #[schemars(extend("const" = "auto"))]
        detail: &'static str,
        file_id: (),
    },
    /// What the assistant said.
    OutputText {
        /// Its words.
        text: String,
        /// Always empty: what a reply rests on stands in the response's `sources`.
        annotations: [(); 0],
        logprobs: [(); 0],
    },
}

impl Piece {
    /// What the assistant said.
    pub(super) fn output(text: impl Into<String>) -> Self {
        Self::OutputText { text: text.into(), annotations: [], logprobs: [] }
    }
}

impl Item {
    /// The items that a message is: itself, and the calls of tools in it.
    pub(super) fn of(message: &Message) -> Vec<Self> {
        let status = match message.status {
            MessageStatus::Completed => "completed",
            MessageStatus::Incomplete | MessageStatus::Cancelled | MessageStatus::Failed => "incomplete",
        };
        let (role, content) = match message.role {
            Role::User => ("user", input(&message.content)),
            Role::System => ("system", input(&message.content)),
            // An operator speaks on the assistant's side: the dialect has no role for one.
            Role::Assistant | Role::Operator => {
                ("assistant", vec![Piece::output(message.content.text().into_owned())])
            }
        };
        let own = Self::Message { id: message.id.to_string(), status, role, content };
        let calls = Self::calls(&message.content, &message.id.uuid().simple().to_string(), status);
        // A reply that only calls tools has no words to show.
        let speaks = calls.is_empty() || !message.content.text().is_empty();
        speaks.then_some(own).into_iter().chain(calls).collect()
    }

    /// The calls of tools in a message. Their ids are made of the message's.
    pub(super) fn calls(content: &Content, message: &str, status: &'static str) -> Vec<Self> {
        let calls = content.parts.iter().filter_map(|part| match part {
            Part::ToolCall { id, name, arguments } => Some((id, name, arguments)),
            _ => None,
        });
        let item =
            |(place, (call_id, name, arguments)): (usize, (&String, &String, &String))| Self::FunctionCall {
                id: format!("fc_{message}_{place}"),
                call_id: call_id.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
                status,
            };
        calls.enumerate().map(item).collect()
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Message { id, .. } | Self::FunctionCall { id, .. } => id,
        }
    }
}

fn input(content: &Content) -> Vec<Piece> {
    let piece = |part: &Part| match part {
        Part::Text { text } => Some(Piece::InputText { text: text.clone() }),
        Part::Image { url } => {
            Some(Piece::InputImage { image_url: url.clone(), detail: "auto", file_id: () })
        }
        Part::Citation { .. } | Part::ToolCall { .. } => None,
    };
    content.parts.iter().filter_map(piece).collect()
}

/// OpenAI's list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ItemList")]
pub(crate) struct List {
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    data: Vec<Item>,
    /// Where the page begins.
    first_id: Option<String>,
    /// Where it ends: the next page's `after`.
    last_id: Option<String>,
    has_more: bool,
}

impl List {
    pub(super) fn new(data: Vec<Item>, has_more: bool) -> Self {
        let id = |item: &Item| item.id().to_owned();
        let (first_id, last_id) = (data.first().map(id), data.last().map(id));
        Self { object: "list", data, first_id, last_id, has_more }
    }
}

/// An item as clients write it: what somebody said, a tool that was called, or what came of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ItemGiven", extend("additionalProperties" = true), extend("oneOf" = [
    {"title": "What an assistant is told", "required": ["role", "content"],
     "properties": {"type": {"enum": ["message", null]}, "role": {"enum": ["user", "system", "developer"]}, "content": said::not_empty()}},
    {"title": "What an assistant said", "required": ["role"],
     "properties": {"type": {"enum": ["message", null]}, "role": {"const": "assistant"}}},
    {"title": "A tool that was called: for a provider that takes tools alone", "required": ["type", "call_id", "name"],
     "properties": {"type": {"const": "function_call"}, "call_id": {"type": "string"}, "name": {"type": "string"}}},
    {"title": "What came of it", "required": ["type", "call_id"],
     "properties": {"type": {"const": "function_call_output"}, "call_id": {"type": "string"}}},
    {"title": "What the model thought: ignored, and what no assistant can be told: refused", "required": ["type"],
     "properties": {"type": {"type": "string", "not": {"enum": ["message", "function_call", "function_call_output"]}}}},
]))]
#[serde(expecting = "an item: an object")]
pub(crate) struct Given {
    /// What it is; a message when left out.
    r#type: Option<String>,
    /// Of a message: who speaks.
    #[serde(default, deserialize_with = "word_given")]
    role: Option<GivenRole>,
    /// Of a message: what is said.
    #[serde(default)]
    #[schemars(with = "Option<Said>")]
    content: Said,
    /// Of a tool's call and answer: which call it is.
    call_id: Option<String>,
    /// Of a call: the function.
    name: Option<String>,
    /// Of a call: what it was called with.
    arguments: Option<String>,
    /// Of an answer: what came of the call.
    #[serde(default)]
    #[schemars(with = "Option<Said>")]
    output: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "ItemRole")]
#[serde(rename_all = "lowercase")]
enum GivenRole {
    /// The end user.
    User,
    /// The assistant.
    Assistant,
    /// Instructions to the assistant.
    System,
    /// The same, by its newer name.
    Developer,
}

impl Given {
    /// A message of the user's.
    pub(super) fn of_user(text: String) -> Self {
        let content = Said { content: Content::text_only(text), other: None };
        Self {
            r#type: None,
            role: Some(GivenRole::User),
            content,
            call_id: None,
            name: None,
            arguments: None,
            output: Said::default(),
        }
    }

    /// What the item tells; none for what says nothing to an assistant (a model's own thoughts). `field` is its place.
    pub(super) fn told(self, field: &str) -> Result<Option<Told>, ApiError> {
        match self.r#type.as_deref() {
            None | Some("message") => {}
            Some("reasoning") => return Ok(None),
            Some("function_call") => {
                let (id, name) =
                    (required(self.call_id, field, "call_id")?, required(self.name, field, "name")?);
                let arguments = self.arguments.unwrap_or_default();
                return Ok(Some(Told::Call(Part::ToolCall { id, name, arguments })));
            }
            Some("function_call_output") => {
                let call_id = required(self.call_id, field, "call_id")?;
                let text = self.output.content.text().into_owned();
                return Ok(Some(Told::Result { call_id, text }));
            }
            Some(_) => return Err(unsupported(field, "an item of this type")),
        }
        if self.content.other.is_some() {
            return Err(unsupported(field, "a part that is neither words nor an image"));
        }
        let role = match self.role {
            Some(GivenRole::User) => Role::User,
            Some(GivenRole::Assistant) => Role::Assistant,
            Some(GivenRole::System | GivenRole::Developer) => Role::System,
            None => return required::<Option<Told>>(None, field, "role"),
        };
        let content = self.content.content;
        if !content.is_empty() {
            return Ok(Some(Told::Said(role, content)));
        }
        // Clients keep a reply that said nothing, and send it back.
        if role == Role::Assistant {
            return Ok(None);
        }
        let field = format!("{field}.content");
        Err(ApiError::invalid(&field, format!("`{field}` must not be empty")))
    }

    /// Who says what, where nothing else can be told.
    pub(super) fn said(self, field: &str) -> Result<Option<(Role, Content)>, ApiError> {
        match self.told(field)? {
            None => Ok(None),
            Some(Told::Said(role, content)) => Ok(Some((role, content))),
            Some(Told::Call(_) | Told::Result { .. }) => Err(unsupported(field, "a call of a tool")),
        }
    }
}

/// What an item tells an assistant.
#[derive(Debug)]
pub(super) enum Told {
    /// Words and images.
    Said(Role, Content),
    /// The assistant called a tool: a [`Part::ToolCall`].
    Call(Part),
    /// What the tool answered.
    Result { call_id: String, text: String },
}

impl Told {
    /// Who says it, as a conversation keeps it: a tool answers in the client's place.
    pub(super) fn in_words(&self) -> (Role, Content) {
        match self {
            Self::Said(role, content) => (*role, content.clone()),
            Self::Call(call) => (Role::Assistant, Content { parts: vec![call.clone()] }),
            Self::Result { text, .. } => (Role::User, Content::text_only(text.as_str())),
        }
    }
}

fn required<T>(value: Option<T>, field: &str, name: &str) -> Result<T, ApiError> {
    value.ok_or_else(|| {
        let message = format!("missing field `{name}`");
        TurnError::new(ErrorCode::MissingField, message).about(format!("{field}.{name}")).into()
    })
}

fn unsupported(field: &str, what: &str) -> ApiError {
    let message = format!("`{field}` holds what this model cannot be told: {what}");
    TurnError::new(ErrorCode::Unsupported, message).about(field).into()
}

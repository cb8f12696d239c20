//! Unleash's JSON. Sources: help.unleash.so/apidocs/chat-with-assistant ("the page", documented) and the provider's own SDK,
//! unleash-tech/platform-js-sdk 1.1.3 with the OpenAPI file in it ("the SDK": the provider's code). Names of types, parts and roles
//! are compared without regard to case everywhere: the SDK has `Text`, the provider's own spreadsheet script `text`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use crate::loose::{self, Id};

/// What is posted to `/chats`. The schema forbids further fields.
///
/// Source: the page (documented).
#[derive(Debug, Serialize)]
pub(super) struct Question<'a> {
    /// At least one.
    pub(super) messages: Vec<Message>,
    /// Absent: the account's default assistant.
    #[serde(rename = "assistantId", skip_serializing_if = "Option::is_none")]
    pub(super) assistant_id: Option<&'a str>,
    /// Bounds of the search.
    #[serde(rename = "enterpriseSearch", skip_serializing_if = "Option::is_none")]
    pub(super) enterprise_search: Option<EnterpriseSearch<'a>>,
    /// Always said, as the SDK does: the default is not documented.
    pub(super) stream: bool,
    /// The thread to continue. What the server does with it is not documented.
    #[serde(rename = "threadId", skip_serializing_if = "Option::is_none")]
    pub(super) thread_id: Option<&'a str>,
}

/// A message that is told.
///
/// Source: the page (documented).
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    /// The words.
    pub(super) text: String,
    /// Who said them.
    pub(super) role: Role,
}

/// Who speaks, in the documented spelling.
///
/// Source: the page (documented).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Role {
    /// The end user.
    User,
    /// Instructions.
    System,
    /// The assistant.
    Assistant,
}

/// Bounds of the search.
///
/// Source: the page (documented).
#[derive(Debug, Serialize)]
pub(super) struct EnterpriseSearch<'a> {
    /// `SearchFilters`: some forty names, and open to more. Passed on as they came.
    pub(super) filters: &'a RawValue,
}

/// An answer: one event of a stream, or the whole; or, told by its fields, a refusal.
///
/// Source: the page (documented), but for what the fields say.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    /// `Request`, `Resources`, `Message`, `References`, `Progress`, `Full`; a URI in a refusal (RFC 9457).
    #[serde(default, rename = "type", deserialize_with = "loose::field")]
    pub(super) kind: Option<String>,
    /// The call, for the provider's support.
    #[serde(default, rename = "requestId", deserialize_with = "loose::field")]
    pub(super) request_id: Option<Id>,
    /// The message, nested: the page's and the OpenAPI file's place.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) message: Option<AnswerMessage>,
    /// The message's role, flat: the SDK's place in streams.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) role: Option<String>,
    /// The message's parts, flat: the SDK's place in streams.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) parts: Option<Vec<Part>>,
    /// What was found.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) resources: Option<Vec<Resource>>,
    /// What is cited: `indices` of parts point here (inferred from the names).
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) references: Option<Vec<Reference>>,
    /// The thread.
    #[serde(default, rename = "threadId", deserialize_with = "loose::field")]
    pub(super) thread_id: Option<Id>,
    /// What is being done: `web_search`, `file_search`, `web_search_retry` (the SDK).
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) code: Option<String>,
    /// The answer before this contract (the SDK's history, November 2024: `POST /chat`).
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) answer: Option<OldAnswer>,
    /// A refusal's status.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) status: Option<u16>,
    /// A refusal's title.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) title: Option<String>,
    /// What is wrong, for people.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) detail: Option<String>,
    /// What is wrong with which field.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) errors: Option<BTreeMap<String, FieldErrors>>,
    /// What is wrong, in a fixed wording (the SDK): `Missing impersonation header`.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) reason: Option<String>,
    /// Not documented; what many servers would say in mid-stream.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) error: Option<Failed>,
    /// Not documented; false from servers that say so.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) success: Option<bool>,
}

/// A failure in the form that many servers have.
///
/// Source: none of the provider's documents.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Failed {
    /// In words.
    Text(String),
    /// Whether there was one.
    Flag(bool),
    /// With a code.
    Object {
        /// A fixed wording, or a number.
        #[serde(default, deserialize_with = "loose::field")]
        code: Option<Id>,
        /// For people.
        #[serde(default, deserialize_with = "loose::field")]
        message: Option<String>,
    },
}

impl Failed {
    /// Whether it says that something failed.
    pub(super) fn is_one(&self) -> bool {
        match self {
            Self::Text(text) => !text.trim().is_empty(),
            Self::Flag(flag) => *flag,
            Self::Object { .. } => true,
        }
    }

    /// What it says for people.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Flag(_) => None,
            Self::Object { message, code } => {
                message.clone().or_else(|| code.clone().and_then(Id::into_text))
            }
        }
    }

    /// Its fixed wording.
    pub(super) fn code(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Flag(_) => None,
            Self::Object { code, .. } => code.clone().and_then(Id::into_text),
        }
    }
}

/// What is wrong with one field.
///
/// Source: the page, `ValidationProblemDetails` (documented as lists).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum FieldErrors {
    /// As documented.
    Many(Vec<String>),
    /// One, bare.
    One(String),
}

/// A message that comes.
///
/// Source: the page (documented), `text` inferred from requests.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AnswerMessage {
    /// `User`, `System`, `Assistant`.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) role: Option<String>,
    /// In order; null where there is nothing to say.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) parts: Option<Vec<Part>>,
    /// The words, as requests have them.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) text: Option<String>,
}

/// A piece of a message.
///
/// Source: the SDK, `IChatMessagePart` (the page leaves out all but `type`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Part {
    /// `Text` or `InlineReference`.
    #[serde(default, rename = "type", deserialize_with = "loose::field")]
    pub(super) kind: Option<String>,
    /// Of a `Text`: Markdown.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) text: Option<String>,
    /// Of an `InlineReference`: places in `references`.
    #[serde(default, deserialize_with = "loose::list")]
    pub(super) indices: Vec<u64>,
}

/// A document that was found.
///
/// Source: the page (documented); `title`, `subtitle`, `url` the SDK.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Resource {
    /// Its id.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) id: Option<Id>,
    /// The application that it lives in.
    #[serde(default, rename = "appId", deserialize_with = "loose::field")]
    pub(super) app_id: Option<String>,
    /// What sort of thing it is.
    #[serde(default, rename = "type", deserialize_with = "loose::field")]
    pub(super) kind: Option<String>,
    /// Its name.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) name: Option<String>,
    /// Its title.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) title: Option<String>,
    /// A line below the title.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) subtitle: Option<String>,
    /// Where it can be read.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) url: Option<String>,
}

/// What is cited.
///
/// Source: the page (documented); `resource` the contract before it (the SDK's history).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Reference {
    /// The `id` of one of the resources (inferred from the names).
    #[serde(default, rename = "resourceId", deserialize_with = "loose::field")]
    pub(super) resource_id: Option<Id>,
    /// The resource itself, in the contract before.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) resource: Option<Resource>,
}

/// The answer before this contract.
///
/// Source: the SDK's history, November 2024 (the provider's code).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OldAnswer {
    /// The words, bare.
    Text(String),
    /// The words in an object.
    Object {
        /// Them.
        #[serde(default, deserialize_with = "loose::field")]
        answer: Option<String>,
    },
}

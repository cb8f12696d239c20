//! MyGPTAssistants' JSON. Sources: the chat page of the provider's documentation (docs.mygptassistants.com/api/chat-api), its
//! overview page (…/api/overview), the `ErrorResponse` of its OpenAPI file, and, for streams alone, the source of Dialoqbase,
//! which its back end descends from. What is read from where is said at each type: *documented*, or *inferred*.

use chat::Metadata;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::loose::{self, Id};

/// What is posted to `/message` and `/stream`.
///
/// Source: chat page (documented for `/message`; that `/stream` takes the same is inferred: the page shows `message` alone).
#[derive(Debug, Serialize)]
pub(super) struct Question<'a> {
    /// The user's message.
    pub(super) message: &'a str,
    /// The conversation to continue; a new one is begun without it.
    #[serde(rename = "conversationId", skip_serializing_if = "Option::is_none")]
    pub(super) conversation_id: Option<&'a str>,
    /// Free data.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub(super) metadata: &'a Metadata,
}

/// An answer, whole or one event of a stream: every field that a text, an id or an error has been seen or is to be expected in.
///
/// Source: `success`, `data`, `error` chat and overview page (documented); `response` and `sessionId` at the top the quick start of
/// the overview page (documented there, against the chat page); the rest inferred, see the fields.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    /// False says that it failed, whatever the status ("always check the `success` field").
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) success: Option<bool>,
    /// What is documented to hold the answer.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) data: Option<Data>,
    /// Null on success (overview page).
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) error: Option<Error>,
    /// The quick start's place of the answer.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) response: Option<String>,
    /// A piece: Dialoqbase's `chunk`; in an error of the third shape its words.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) message: Option<String>,
    /// A piece, by the custom of the trade (inferred).
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) delta: Option<Delta>,
    /// A piece, by the custom of the trade (inferred).
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) token: Option<String>,
    /// A piece, by the custom of the trade (inferred).
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) text: Option<String>,
    /// A piece, by the custom of the trade (inferred).
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) content: Option<String>,
    /// Dialoqbase's place: a piece in a `chunk`, the whole in a `result`.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) bot: Option<Bot>,
    /// An OpenAI chunk, were one passed on (inferred).
    #[serde(default, deserialize_with = "loose::list")]
    pub(super) choices: Vec<Choice>,
    /// The event's name, where it stands in the data (inferred).
    #[serde(default, rename = "type", deserialize_with = "loose::field")]
    pub(super) kind: Option<String>,
    /// As in `data` (inferred).
    #[serde(default, rename = "conversationId", deserialize_with = "loose::field")]
    pub(super) conversation_id: Option<Id>,
    /// The overview's name of the conversation in mid-2026.
    #[serde(default, rename = "sessionId", deserialize_with = "loose::field")]
    pub(super) session_id: Option<Id>,
    /// Dialoqbase's name of the conversation.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) history_id: Option<Id>,
    /// As in `data` (inferred).
    #[serde(default, rename = "messageId", deserialize_with = "loose::field")]
    pub(super) message_id: Option<Id>,
    /// The status that the third shape of errors repeats (OpenAPI file).
    #[serde(default, rename = "statusCode", deserialize_with = "loose::field")]
    pub(super) status_code: Option<u16>,
    /// The account's plan does not reach so far (OpenAPI file).
    #[serde(default, rename = "upgradeRequired", deserialize_with = "loose::field")]
    pub(super) upgrade_required: Option<bool>,
}

/// What stands under `data`.
///
/// Source: chat page (documented); `message` inferred.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Data {
    /// The answer.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) response: Option<String>,
    /// The answer, should it be named as the question is (inferred).
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) message: Option<String>,
    /// The conversation: to be sent with the next message.
    #[serde(default, rename = "conversationId", deserialize_with = "loose::field")]
    pub(super) conversation_id: Option<Id>,
    /// The answer's own id.
    #[serde(default, rename = "messageId", deserialize_with = "loose::field")]
    pub(super) message_id: Option<Id>,
}

/// A piece that is text, or holds it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Delta {
    /// Text.
    Text(String),
    /// OpenAI's form.
    Content {
        /// The text.
        #[serde(default, deserialize_with = "loose::field")]
        content: Option<String>,
    },
}

/// Dialoqbase's answer.
///
/// Source: n4ze3m/dialoqbase, `server/src/handlers/bot/post.handler.ts` (another project's code: inferred here).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Bot {
    /// The text.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) text: Option<String>,
}

/// A choice of an OpenAI chunk (inferred).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice {
    /// The piece.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) delta: Option<Delta>,
}

/// The `error` member: an object or a text.
///
/// Source: overview page and `ErrorResponse` of the OpenAPI file (object), other routes of that file (text).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Error {
    /// The third shape.
    Text(String),
    /// The third shape, were it to say no more than that (inferred).
    Flag(bool),
    /// The first and the second.
    Object {
        /// `RATE_LIMIT_EXCEEDED`, `BOT_NOT_FOUND`, …
        #[serde(default, deserialize_with = "loose::field")]
        code: Option<String>,
        /// For people.
        #[serde(default, deserialize_with = "loose::field")]
        message: Option<String>,
        /// The field that a validation error is about.
        #[serde(default, deserialize_with = "loose::field")]
        field: Option<String>,
        /// The call, for the provider's support.
        #[serde(default, rename = "requestId", deserialize_with = "loose::field")]
        request_id: Option<String>,
    },
}

/// One conversation's messages.
///
/// Source: chat page, `GET /chat/{botId}/conversations/{conversationId}` (documented).
#[derive(Debug, Deserialize)]
pub(super) struct History {
    /// Oldest first in the sample; nothing says that they always are.
    pub(super) messages: Vec<Message>,
}

/// A message of the provider's history.
///
/// Source: chat page (documented).
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    /// Its id.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) id: Option<Id>,
    /// `user` or `assistant`; the platform also knows human agents.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) role: Option<String>,
    /// The text.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) content: Option<String>,
    /// ISO 8601.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) timestamp: Option<String>,
}

/// A page of conversations.
///
/// Source: chat page, `GET /chat/{botId}/conversations` (documented).
#[derive(Debug, Deserialize)]
pub(super) struct Conversations {
    /// The page.
    pub(super) conversations: Vec<Conversation>,
    /// Where in the list it stands.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) pagination: Option<Pagination>,
}

/// A conversation in the list.
///
/// Source: chat page (documented).
#[derive(Debug, Deserialize)]
pub(super) struct Conversation {
    /// Its id.
    pub(super) id: Id,
    /// The beginning of its text.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) preview: Option<String>,
    /// How many messages.
    #[serde(default, rename = "messageCount", deserialize_with = "loose::field")]
    pub(super) message_count: Option<u64>,
    /// ISO 8601.
    #[serde(default, rename = "createdAt", deserialize_with = "loose::field")]
    pub(super) created_at: Option<String>,
    /// ISO 8601.
    #[serde(default, rename = "updatedAt", deserialize_with = "loose::field")]
    pub(super) updated_at: Option<String>,
}

/// Where in the list a page stands.
///
/// Source: chat page (documented).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Pagination {
    /// How many there are.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) total: Option<u64>,
    /// Whether a page follows.
    #[serde(default, rename = "hasMore", deserialize_with = "loose::field")]
    pub(super) has_more: Option<bool>,
}

/// The envelope of the two reading calls.
///
/// Source: chat page (documented).
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    /// What was asked for, read as what it should be once no error stands beside it.
    #[serde(default, borrow)]
    pub(super) data: Option<&'a RawValue>,
}

//! gigachat.ai's JSON (not Sber's GigaChat). Source: gigachat.ai/documentation/rest-api/conversations ("the page"). Requests are
//! documented. The shape of an answer is **not known**: the page's sample shows rows of the documents that the bot was given, which
//! contradicts its text. Hence the types below for what is sent and for what streams may hold, and `decode` for the rest.

use serde::{Deserialize, Serialize};

use crate::loose;

/// What is posted to `/chatbots/{chatbot_id}/conversations`.
///
/// Source: the page (documented).
#[derive(Debug, Serialize)]
pub(super) struct Question<'a> {
    /// Made by the client.
    pub(super) conversation_id: &'a str,
    /// The end user; `client:…` makes the message a member of staff's, without a reply.
    pub(super) user_id: &'a str,
    /// The message.
    pub(super) prompt: &'a str,
}

/// One choice of an OpenAI chunk.
///
/// Source: none; inferred from the bot's settings, which have the names of OpenAI's parameters.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice {
    /// Which of several answers: all but the first are left out.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) index: Option<u64>,
    /// A piece of a chat completion.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) delta: Option<Said>,
    /// A whole chat completion.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) message: Option<Said>,
    /// A piece, or the whole, of a legacy completion.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) text: Option<String>,
    /// Why it stopped.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) finish_reason: Option<String>,
}

/// Something said, OpenAI's way (inferred).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Said {
    /// The words.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) content: Option<String>,
}

/// The row of a document that the bot was given: what the page's sample shows in place of an answer.
///
/// Source: the page (documented sample). `embedding` is a text that holds a broken list: it is never read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Document {
    /// The row's id.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) id: Option<loose::Id>,
    /// The document's name with the number of the piece: `https://…/-0`.
    #[serde(default, deserialize_with = "loose::field")]
    pub(super) name: Option<String>,
}

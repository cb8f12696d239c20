//! Where things are at the provider: its documents contradict each other, so an operator can say it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::link::segment;

/// What stands for the bot's id.
const BOT: &str = "{botId}";

/// What stands for the conversation's id.
const CONVERSATION: &str = "{conversationId}";

/// A path below the base URL, with `{botId}` and `{conversationId}` in the places of ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(super) struct Template(String);

impl TryFrom<String> for Template {
    type Error = &'static str;

    fn try_from(template: String) -> Result<Self, Self::Error> {
        let rest = template.replace(BOT, "").replace(CONVERSATION, "");
        if !template.starts_with('/') {
            Err("must begin with `/`")
        } else if rest.contains(['{', '}']) {
            Err("may hold `{botId}` and `{conversationId}`, no other braces")
        } else if rest.contains(['?', '#', '%']) || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err("must be a path: ASCII without blanks, `?`, `#` and `%`")
        } else {
            Ok(Self(template))
        }
    }
}

impl Template {
    /// A template of the provider's documents.
    fn documented(template: &str) -> Self {
        Self(template.to_owned())
    }

    /// Whether there is a place for a conversation's id.
    pub(super) fn names_conversation(&self) -> bool {
        self.0.contains(CONVERSATION)
    }

    /// The path of a bot, and of one of its conversations.
    pub(super) fn path(&self, bot: &str, conversation: &str) -> String {
        // In this order no id can be taken for a placeholder: braces are encoded in segments.
        self.0.replace(BOT, &segment(bot)).replace(CONVERSATION, &segment(conversation))
    }
}

/// `message_path` as documented.
pub(super) fn message() -> Template {
    Template::documented("/chat/{botId}/message")
}

/// `stream_path` as documented.
pub(super) fn stream() -> Template {
    Template::documented("/chat/{botId}/stream")
}

/// `conversations_path` as documented.
pub(super) fn conversations() -> Template {
    Template::documented("/chat/{botId}/conversations")
}

/// `conversation_path` as documented.
pub(super) fn conversation() -> Template {
    Template::documented("/chat/{botId}/conversations/{conversationId}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_in_their_places() {
        assert_eq!(message().path("bot_1", ""), "/chat/bot_1/message");
        assert_eq!(
            conversation().path("b/{conversationId}", "c?1"),
            "/chat/b%2F%7BconversationId%7D/conversations/c%3F1"
        );
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let parse = |template: &str| Template::try_from(template.to_owned());
        assert!(parse("/bot/{botId}").is_ok());
        for wrong in ["bot/{botId}", "/bot/{id}", "/bot/{botId", "/b?x={botId}", "/b c", "/b#", "/ы", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! Bringing together what the gateway keeps of a conversation and what the provider has of it, and the provider's own list.

use chat::{
    AssistantName, Caller, ConversationId, Message, NewMessage, Page, PageRequest, Permission, Role,
    StoreError, Timestamp,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::conversations::upstream_refused;
use crate::refused::lacks;
use crate::{Engine, Refused};

/// A conversation as the provider itself lists it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "UpstreamConversation")]
pub struct UpstreamConversationView {
    /// The provider's id of it.
    pub upstream_conversation_id: String,
    /// The beginning of its text.
    pub preview: Option<String>,
    /// How many messages there are.
    pub message_count: Option<u64>,
    /// When it was begun.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// The conversation of this tenant that holds it already.
    pub conversation_id: Option<ConversationId>,
}

impl Engine {
    /// What the provider itself lists for an assistant, without what another tenant holds.
    ///
    /// # Errors
    /// No such assistant; not permitted; the provider has no list (`unsupported`).
    pub async fn upstream_conversations(
        &self,
        caller: &Caller,
        assistant: &AssistantName,
        since: Option<Timestamp>,
        page: PageRequest,
    ) -> Result<Page<UpstreamConversationView>, Refused> {
        let assistant = self.named(caller, assistant)?;
        if !caller.may.has(Permission::Adopt) {
            return Err(lacks(Permission::Adopt));
        }
        let number = match page.cursor.as_deref() {
            None => 1,
            Some(cursor) => cursor.parse::<u32>().ok().filter(|page| *page > 0).ok_or(StoreError::Cursor)?,
        };
        let provider = &assistant.provider.provider;
        let listed = provider.conversations(&assistant.upstream_id, since, number, page.limit).await;
        let listed = listed.map_err(|error| upstream_refused(&error, &assistant))?;
        let mut items = Vec::with_capacity(listed.items.len());
        for one in listed.items {
            let name = &assistant.provider.name;
            let held = self
                .0
                .store
                .conversation_of_thread(&caller.tenant, name, &assistant.upstream_id, &one.id)
                .await;
            let conversation_id = match held {
                Ok(conversation_id) => conversation_id,
                Err(StoreError::NoConversation) => continue,
                Err(error) => return Err(error.into()),
            };
            items.push(UpstreamConversationView {
                upstream_conversation_id: one.id,
                preview: one.preview,
                message_count: one.message_count,
                created_at: one.created_at,
                updated_at: one.updated_at,
                conversation_id,
            });
        }
        let next_cursor = listed.has_more.then(|| number.saturating_add(1).to_string());
        Ok(Page { items, next_cursor })
    }
}

/// Those of the provider's messages that the conversation does not have yet.
///
/// The provider does not say which of its messages came from the gateway: they are recognised by role and text, in order. What the
/// gateway quoted before a user's message (system text, history) stands before it upstream, so that the end has to fit.
pub(crate) fn unknown(known: &[Message], upstream: Vec<NewMessage>) -> Vec<NewMessage> {
    let mut rest = known;
    let mut new = Vec::new();
    for message in upstream {
        let text = message.content.text();
        let same = |own: &Message| {
            let own_text = own.content.text();
            let fits = own_text == text
                || (message.role == Role::User && !own_text.is_empty() && text.ends_with(own_text.as_ref()));
            fits && (own.role == message.role
                || (own.role == Role::Operator && message.role == Role::Assistant))
        };
        match rest.iter().position(same) {
            Some(place) => rest = rest.get(place.saturating_add(1)..).unwrap_or_default(),
            None => new.push(message),
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::{Content, MessageId, MessageStatus};

    fn upstream(role: Role, text: &str) -> NewMessage {
        NewMessage {
            id: MessageId::new(),
            role,
            author: role.as_str().to_owned(),
            content: Content::text_only(text),
            sources: Vec::new(),
            status: MessageStatus::Completed,
            created_at: Timestamp::now(),
            upstream_message_id: None,
        }
    }

    fn known(position: i64, role: Role, text: &str) -> Message {
        Message {
            id: MessageId::new(),
            conversation_id: ConversationId::new(),
            turn_id: None,
            role,
            author: role.as_str().to_owned(),
            content: Content::text_only(text),
            sources: Vec::new(),
            status: MessageStatus::Completed,
            created_at: Timestamp::now(),
            position,
        }
    }

    #[test]
    fn only_what_was_said_elsewhere_is_new() {
        let own =
            [known(1, Role::User, "Hi"), known(2, Role::Assistant, "Hello"), known(3, Role::User, "Hi")];
        let theirs = vec![
            upstream(Role::User, "[system]\nBe kind\n\nHi"),
            upstream(Role::Assistant, "Hello"),
            upstream(Role::User, "Asked elsewhere"),
            upstream(Role::Assistant, "Answered elsewhere"),
            upstream(Role::User, "Hi"),
            upstream(Role::User, "Hi"),
        ];
        let new: Vec<_> =
            unknown(&own, theirs).iter().map(|message| message.content.text().into_owned()).collect();
        assert_eq!(new, ["Asked elsewhere", "Answered elsewhere", "Hi"]);
    }
}

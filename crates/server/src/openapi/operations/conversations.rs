//! Conversations and their messages.

use chat::ErrorCode as E;
use chat::{AssistantName, Conversation, ConversationId, Message, UserId};
use serde_json::{Value, json};

use super::super::errors::UPSTREAM;
use super::super::operation::{Door, Operation, operation};
use super::super::schemas::Schemas;
use crate::routes::chats::Nothing;
use crate::routes::conversations::{Added, Change, Deleted, UpTo, Wanted};
use crate::routes::messages::{NewMessage, Put};
use crate::routes::reply::List;

const TAG: &str = "Conversations";
/// What can be done with a conversation once it is made.
const OF_ONE: &[&str] = &[
    "readConversation",
    "changeConversation",
    "eraseConversation",
    "forkConversation",
    "exportConversation",
    "syncConversation",
    "listMessages",
    "putMessage",
];

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    [of_all(schemas), of_one(schemas), of_messages(schemas)].into_iter().flatten().collect()
}

/// A moment or a day.
pub(super) fn time() -> Value {
    json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]})
}

fn of_all(schemas: &mut Schemas) -> Vec<Operation> {
    let user = schemas.asked::<UserId>();
    vec![
        operation("POST /v1/conversations", "createConversation", TAG, Door::Clients)
            .does(
                "Make or adopt a conversation",
                "With `upstream_conversation_id` the provider's conversation is adopted with its history; one that any conversation \
                 holds already is not found.",
            )
            .repeatable()
            .body(schemas.asked::<Wanted>())
            .json(201, "The conversation.", schemas.answered::<Conversation>())
            .leads_to("id", OF_ONE)
            .fails(UPSTREAM)
            .fails(&[
                E::AssistantNotAllowed,
                E::NotPermitted,
                E::AssistantNotFound,
                E::ConversationNotFound,
                E::Unsupported,
            ]),
        operation("GET /v1/conversations", "listConversations", TAG, Door::Clients)
            .does("List conversations", "Newest change first. A browser's token sees its own user's alone.")
            .query("assistant", "Those of this assistant.", schemas.asked::<AssistantName>())
            .query("user", "Those of this end user.", user.clone())
            .query("since", "Last changed then or later: a moment, or a day from its beginning.", time())
            .query("until", "Last changed then or earlier: a moment, or a day to its end.", time())
            .query(
                "q",
                "Words that all stand in the title or in messages; the last one may be the beginning of a word.",
                json!({"type": "string", "maxLength": 1024, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"}),
            )
            .paged()
            .json(200, "A page.", schemas.answered::<List<Conversation>>()),
        operation("DELETE /v1/conversations", "eraseConversationsOfUser", TAG, Door::Clients)
            .does(
                "Erase all of a user's conversations",
                "With their turns and idempotency records; running turns are cancelled. Sums of use are kept.",
            )
            .required_query("user", "Whose.", user)
            .json(200, "How many were erased.", schemas.answered::<Deleted>())
            .fails(&[E::MissingField, E::NotPermitted]),
    ]
}

fn of_one(schemas: &mut Schemas) -> Vec<Operation> {
    let id = schemas.asked::<ConversationId>();
    let conversation = schemas.answered::<Conversation>();
    let one = |route, name| {
        operation(route, name, TAG, Door::Clients).path("id", id.clone(), E::ConversationNotFound)
    };
    vec![
        one("GET /v1/conversations/{id}", "readConversation")
            .does("Read a conversation", "")
            .json(200, "The conversation.", conversation.clone()),
        one("PATCH /v1/conversations/{id}", "changeConversation")
            .does("Change title or metadata", "What is left out stays, null clears.")
            .body(schemas.asked::<Change>())
            .json(200, "The conversation as it is now.", conversation.clone()),
        one("DELETE /v1/conversations/{id}", "eraseConversation")
            .does("Erase a conversation", "With all its messages and turns; a running turn is cancelled.")
            .empty(204, "It is gone."),
        one("POST /v1/conversations/{id}/fork", "forkConversation")
            .does("Copy a conversation", "A new conversation with the history up to and with a message, or with all of it.")
            .repeatable()
            .optional_body(schemas.asked::<UpTo>())
            .json(201, "The new conversation.", conversation),
        one("GET /v1/conversations/{id}/export", "exportConversation")
            .does("Export a conversation", "The whole of it as a file.")
            .query(
                "format",
                "`jsonl`: the conversation on the first line, then a message on each. `markdown`: for people.",
                json!({"type": "string", "enum": ["jsonl", "markdown"], "default": "jsonl"}),
            )
            .content(200, "The conversation.", "application/x-ndjson", json!({"schema": {"type": "string"}}))
            .content(200, "", "text/markdown; charset=utf-8", json!({"schema": {"type": "string"}})),
        one("POST /v1/conversations/{id}/sync", "syncConversation")
            .does(
                "Fetch what was said upstream",
                "Adds the messages that were said at the provider outside the gateway, where the provider shows its history.",
            )
            .optional_body(schemas.asked::<Nothing>())
            .json(200, "How many messages were added.", schemas.answered::<Added>())
            .fails(UPSTREAM)
            .fails(&[E::Unsupported, E::AssistantNotFound, E::AssistantNotAllowed]),
    ]
}

fn of_messages(schemas: &mut Schemas) -> Vec<Operation> {
    let id = schemas.asked::<ConversationId>();
    let one = |route, name| {
        operation(route, name, "Messages", Door::Clients).path("id", id.clone(), E::ConversationNotFound)
    };
    vec![
        one("GET /v1/conversations/{id}/messages", "listMessages")
            .does("List a conversation's messages", "")
            .query(
                "order",
                "`asc`: the oldest first.",
                json!({"type": "string", "enum": ["asc", "desc"], "default": "asc"}),
            )
            .paged()
            .json(200, "A page.", schemas.answered::<List<Message>>()),
        one("POST /v1/conversations/{id}/messages", "putMessage")
            .does(
                "Put in a message",
                "Into the history, without asking for a reply. `operator` and `system` need `may = [\"operator\"]`. During a turn it \
                 stands after that turn.",
            )
            .repeatable()
            .body(schemas.asked::<NewMessage>())
            .json(201, "The message, and where it has got to.", schemas.answered::<Put>())
            .fails(&[E::NotPermitted]),
    ]
}

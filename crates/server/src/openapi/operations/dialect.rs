//! OpenAI's dialect: what stands under both of its roots, and what stands under `/openai/v1` alone.

use chat::ErrorCode as E;
use chat::{ConversationId, TurnId};
use serde_json::{Value, json};

use super::super::dialect_event::{ChatFrame, PassedOn, ResponseFrame};
use super::super::errors::UPSTREAM;
use super::super::operation::{Door, Operation, operation};
use super::super::schemas::Schemas;
use crate::openai::completions::answer::Completion;
use crate::openai::completions::ask::Wanted as NewCompletion;
use crate::openai::conversations::{Change, Deleted, NewItems, Shown, Wanted as NewConversation};
use crate::openai::item::{Item, List};
use crate::openai::models::{Model, Models};
use crate::openai::responses::ask::Wanted as NewResponse;
use crate::openai::responses::object::Object;

const TAG: &str = "OpenAI";
/// What a turn can end with that its request could not know.
const OF_TURNS: &[E] = &[
    E::AssistantNotAllowed,
    E::AssistantNotFound,
    E::ConversationBusy,
    E::ReplyNotKept,
    E::Unsupported,
    E::KeyConcurrency,
    E::KeyBudget,
    E::Draining,
    // The key ended while its turn ran.
    E::InvalidKey,
];

/// One of the dialect's roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    /// `/v1`.
    Native,
    /// `/openai/v1`.
    Own,
}

impl Root {
    /// An operation under this root, of those that stand under both.
    fn operation(self, method: &str, path: &str, id: &str) -> Operation {
        let root = if self == Self::Own { "/openai/v1" } else { "/v1" };
        operation(&format!("{method} {root}{path}"), &self.id(id), TAG, Door::Clients)
    }

    fn id(self, id: &str) -> String {
        if self == Self::Own { under_openai(id) } else { id.to_owned() }
    }
}

/// The id of an operation's twin under `/openai/v1`.
pub(in super::super) fn under_openai(id: &str) -> String {
    let mut letters = id.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    "openai".chars().chain(first).chain(letters).collect()
}

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let mut all = Vec::new();
    for root in [Root::Native, Root::Own] {
        all.extend(of_completions(root, schemas));
        all.extend(of_responses(root, schemas));
    }
    all.extend(of_conversations(schemas));
    all.extend(of_items(schemas));
    all
}

fn of_completions(root: Root, schemas: &mut Schemas) -> Vec<Operation> {
    let completion = [schemas.answered::<Completion<'static>>(), schemas.answered::<PassedOn>()];
    let frame = schemas.answered::<ChatFrame>();
    vec![
        root.operation("POST", "/chat/completions", "createChatCompletion")
            .does("Complete a chat", COMPLETE)
            .repeatable()
            .body(schemas.asked::<NewCompletion>())
            .json(
                200,
                "The completion. With `stream` an event stream of chunks.",
                json!({"anyOf": completion}),
            )
            .content(200, "", "text/event-stream", json!({"schema": frame}))
            .about_turn()
            .header("x-upstream-model")
            .header("x-ignored-parameters")
            .fails(UPSTREAM)
            .fails(OF_TURNS),
        root.operation("GET", "/models", "listModels")
            .does("List models", "The assistants that this key may use.")
            .json(200, "All of them.", schemas.answered::<Models>()),
        root.operation("GET", "/models/{name}", "readModel")
            .does("Read a model", "")
            .path("name", json!({"type": "string", "minLength": 1}), E::AssistantNotFound)
            .json(200, "The model.", schemas.answered::<Model>()),
    ]
}

/// The id of a response.
fn response_id() -> Value {
    json!({"type": "string", "pattern": "^resp_[0-9a-f]{32}$"})
}

fn of_responses(root: Root, schemas: &mut Schemas) -> Vec<Operation> {
    let response = schemas.answered::<Object<'static>>();
    let stream = json!({"schema": schemas.answered::<ResponseFrame>()});
    // Its turn's id, which headers name.
    let _ = schemas.answered::<TurnId>();
    let one = |method: &str, path: &str, id: &str| {
        let path = format!("/responses/{{id}}{path}");
        root.operation(method, &path, id).path("id", response_id(), E::TurnNotFound)
    };
    let of_one = ["readResponse", "eraseResponse", "cancelResponse", "listInputItems"].map(|id| root.id(id));
    vec![
        root.operation("POST", "/responses", "createResponse")
            .does("Ask for a response", RESPOND)
            .repeatable()
            .body(schemas.asked::<NewResponse>())
            .json(
                200,
                "The response; with `background` as it stands. With `stream` an event stream.",
                response.clone(),
            )
            .content(200, "", "text/event-stream", stream.clone())
            .about_turn()
            .header("x-upstream-model")
            .header("x-ignored-parameters")
            .leads_to("id", &of_one)
            .fails(UPSTREAM)
            .fails(OF_TURNS)
            .fails(&[E::ConversationNotFound, E::TurnNotFound]),
        one("GET", "", "readResponse")
            .does("Read a response", "As it stands, or with `stream=true` its events, live to its end.")
            .query(
                "stream",
                "Whether to answer with the events.",
                json!({"type": "boolean", "default": false}),
            )
            .query(
                "starting_after",
                "The `sequence_number` of the last event that was read; from the start when left out.",
                json!({"type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX}),
            )
            .json(200, "The response. With `stream` an event stream.", response.clone())
            .content(200, "", "text/event-stream", stream)
            .about_turn()
            .header("x-upstream-model"),
        one("DELETE", "", "eraseResponse")
            .does(
                "Erase a response",
                "With the conversation that it alone stands in; one among others cannot be erased.",
            )
            .json(200, "It is gone.", schemas.answered::<Deleted>())
            .fails(&[E::Unsupported, E::ConversationNotFound]),
        one("POST", "/cancel", "cancelResponse")
            .does(
                "Stop a response",
                "Stops a running one and keeps what came; one that has ended is left as it is.",
            )
            .json(200, "The response as it ended.", response)
            .about_turn()
            .header("x-upstream-model"),
        paged(one("GET", "/input_items", "listInputItems"))
            .does("List what a response was asked", "")
            .json(200, "A page.", schemas.answered::<List>())
            .fails(&[E::ConversationNotFound]),
    ]
}

/// OpenAI's way to ask for a page.
fn paged(operation: Operation) -> Operation {
    operation
        .query(
            "limit",
            "How many at most.",
            json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
        )
        .query(
            "order",
            "`asc`: the oldest first.",
            json!({"type": "string", "enum": ["asc", "desc"], "default": "desc"}),
        )
        .query("after", "The id of the item after which to go on.", json!({"type": "string"}))
}

fn conversation(schemas: &mut Schemas, method: &str, path: &str, id: &str) -> Operation {
    let path = format!("/conversations/{{id}}{path}");
    operation(&format!("{method} /openai/v1{path}"), id, TAG, Door::Clients).path(
        "id",
        schemas.asked::<ConversationId>(),
        E::ConversationNotFound,
    )
}

fn of_conversations(schemas: &mut Schemas) -> Vec<Operation> {
    let shown = schemas.answered::<Shown>();
    let of_one = [
        "readOpenAiConversation",
        "changeOpenAiConversation",
        "eraseOpenAiConversation",
        "listItems",
        "putItems",
    ];
    vec![
        operation("POST /openai/v1/conversations", "createOpenAiConversation", TAG, Door::Clients)
            .does(
                "Make a conversation",
                "The first response in it chooses its assistant. Items of the role `system` need `may = [\"operator\"]`.",
            )
            .repeatable()
            .optional_body(schemas.asked::<NewConversation>())
            .json(200, "The conversation.", shown.clone())
            .leads_to("id", &of_one)
            .fails(&[E::NotPermitted, E::AssistantNotFound, E::Unsupported]),
        conversation(schemas, "GET", "", "readOpenAiConversation")
            .does("Read a conversation", "")
            .json(200, "The conversation.", shown.clone()),
        conversation(schemas, "POST", "", "changeOpenAiConversation")
            .does("Change a conversation's metadata", "")
            .body(schemas.asked::<Change>())
            .json(200, "The conversation as it is now.", shown),
        conversation(schemas, "DELETE", "", "eraseOpenAiConversation")
            .does("Erase a conversation", "With all its messages and turns; a running turn is cancelled.")
            .json(200, "It is gone.", schemas.answered::<Deleted>()),
    ]
}

fn of_items(schemas: &mut Schemas) -> Vec<Operation> {
    let item = |schemas: &mut Schemas, method, id| {
        conversation(schemas, method, "/items/{item}", id).path(
            "item",
            json!({"type": "string", "minLength": 1}),
            E::RouteNotFound,
        )
    };
    vec![
        paged(conversation(schemas, "GET", "/items", "listItems"))
            .does("List a conversation's items", "")
            .json(200, "A page.", schemas.answered::<List>()),
        conversation(schemas, "POST", "/items", "putItems")
            .does(
                "Put items into a conversation",
                "Without asking for a reply: text alone. `system` needs `may = [\"operator\"]`.",
            )
            .body(schemas.asked::<NewItems>())
            .json(200, "The items as they are kept.", schemas.answered::<List>())
            .fails(&[E::NotPermitted, E::Unsupported]),
        item(schemas, "GET", "readItem").does("Read an item", "").json(
            200,
            "The item.",
            schemas.answered::<Item>(),
        ),
        item(schemas, "DELETE", "eraseItem")
            .does("Erase an item", "Messages are not erased one by one: always refused.")
            .fails(&[E::Unsupported]),
    ]
}

const COMPLETE: &str = "A turn in the words of OpenAI's Chat Completions. `model` is an assistant's name. Nothing is kept unless `store` is \
true.\n\n\
Parameters that an assistant cannot honour are ignored and named in `x-ignored-parameters`; those without which the reply would be \
another thing (`tools`, `n` above 1, `response_format`, `logprobs`) are `unsupported`. A provider of the same dialect gets all of them, \
and its answer is passed on as it came but for `id` and `model`.\n\n\
In a stream the status is held back until the first text. A stream that breaks later ends with an error and without `[DONE]`.";

const RESPOND: &str = "A turn in the words of OpenAI's Responses, kept unless `store` is false. In a stream the status is held back until \
the first text, unless `background` asks to be answered at once. A stream that breaks later ends with the events `response.failed` and \
`error`.";

//! Turns.

use chat::ErrorCode as E;
use chat::{Turn, TurnId};
use serde_json::json;

use super::super::errors::UPSTREAM;
use super::super::event::Frame;
use super::super::operation::{Door, Operation, operation};
use super::super::schemas::Schemas;
use crate::routes::chats::{Nothing, Wanted};

const TAG: &str = "Turns";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let stream = json!({"schema": schemas.answered::<Frame>()});
    let turn = schemas.answered::<Turn>();
    let id = schemas.asked::<TurnId>();
    vec![
        operation("POST /v1/chat", "createTurn", TAG, Door::Clients)
            .does("Run a turn", CREATE)
            .repeatable()
            .body(schemas.asked::<Wanted>())
            .json(
                200,
                "The turn: `completed`, `incomplete` or `cancelled`. With `stream` an event stream.",
                turn.clone(),
            )
            .content(200, "", "text/event-stream", stream.clone())
            .about_turn()
            .leads_to("turn_id", &["readTurn", "watchTurn", "cancelTurn"])
            .fails(UPSTREAM)
            .fails(&[
                E::AssistantNotAllowed,
                E::NotPermitted,
                E::AssistantNotFound,
                E::ConversationNotFound,
                E::TurnNotFound,
                E::ConversationBusy,
                E::ReplyNotKept,
                E::Unsupported,
                E::KeyConcurrency,
                E::KeyBudget,
                E::Draining,
                // The key ended while its turn ran.
                E::InvalidKey,
            ]),
        operation("GET /v1/chat/{turn_id}", "readTurn", TAG, Door::Clients)
            .does("Read a turn", "The turn as it stands, running or ended.")
            .path("turn_id", id.clone(), E::TurnNotFound)
            .json(200, "The turn.", turn.clone())
            .about_turn(),
        operation("GET /v1/chat/{turn_id}/events", "watchTurn", TAG, Door::Clients)
            .does("Read a turn's events", WATCH)
            .path("turn_id", id.clone(), E::TurnNotFound)
            .query(
                "after",
                "The number of the last event that was read, for clients that cannot send `Last-Event-ID`.",
                json!({"type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX}),
            )
            .shared("Last-Event-ID")
            .content(200, "The events from there on, to the turn's end.", "text/event-stream", stream)
            .empty(204, "The turn has ended and all its events were read: do not come back.")
            .about_turn(),
        operation("POST /v1/chat/{turn_id}/cancel", "cancelTurn", TAG, Door::Clients)
            .does(
                "Stop a turn",
                "Stops a running turn and keeps what came; one that has ended is left as it is.",
            )
            .path("turn_id", id, E::TurnNotFound)
            .optional_body(schemas.asked::<Nothing>())
            .json(200, "The turn as it ended.", turn)
            .about_turn(),
    ]
}

const CREATE: &str = "Asks an assistant for a reply: in a new conversation, in one that goes on, or after a whole transcript. \
The turn is durable before the provider is asked; a client that loses its connection reads it again under `/v1/chat/{turn_id}`.\n\n\
What is refused before the turn is accepted (key, limits, body, what the assistant cannot do) is a plain error, also when a stream was \
asked for. What fails later is that error with `turn_id`, or in a stream the event `turn.failed` under 200.\n\n\
`Idempotency-Key` makes a repeat the same turn: running or ended, streamed or whole, never a second one.";

const WATCH: &str = "The turn's event stream from its start, or after the event that `Last-Event-ID` (or `after`) names, then live to \
its end. Read again, it gives the same events with the same numbers. A number that the turn has not reached is a 400.";

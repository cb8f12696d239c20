//! `/v1/responses`: turns in OpenAI's newer form.

pub(crate) mod ask;
pub(crate) mod events;
pub(crate) mod object;
mod passed;
mod place;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chat::{ConversationId, ErrorCode, Metadata, Turn, TurnError, TurnId};
use engine::{Ask, AssistantView, Read, Reader, Seen};
use http::{Method, Uri};
use serde_json::value::RawValue;

use super::conversations::{Deleted, Paging, Walk};
use super::item::{Item, List, Told};
use super::parameters;
use super::watch::{Watch, key_ended};
use super::{models, shape};
use crate::app::App;
use crate::body::{self, Body};
use crate::error::{ApiError, TURN_ID, insert};
use crate::middleware::auth::Who;
use crate::query::Params;
use crate::routes::chats::{check_metadata, user_of};
use crate::sse;
use ask::Wanted;
use events::{Begins, Events};
use object::{Echo, Object};
use passed::Passed;
use place::Place;

/// The fields that are honoured for every assistant.
const OWN: &[&str] = &[
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "background",
    "previous_response_id",
    "conversation",
    "store",
    "metadata",
    "user",
];
/// What a response's id begins with.
const PREFIX: &str = "resp_";

pub(super) async fn create(
    State(app): State<App>,
    who: Who,
    Body { value, idempotency }: Body<Box<RawValue>>,
) -> Result<Response, ApiError> {
    let wanted: Wanted = body::parse(value.get())?;
    let fields: parameters::Fields = body::parse(value.get())?;
    wanted.check()?;
    let parameters = parameters::of(&fields, OWN);
    let echo = Echo {
        background: wanted.background.unwrap_or(false),
        instructions: wanted.instructions.clone(),
        previous_response_id: wanted.previous_response_id.clone(),
        user: wanted.user.as_ref().map(|user| user.as_str().to_owned()),
    };
    let stream = wanted.stream.unwrap_or(false);
    // Before it is looked where the turn is to stand: the first time has changed that.
    if let Some(key) = &idempotency
        && let Some(reader) = app.engine.repeat(who.caller(), key).await?
    {
        return answer(&app, &who, reader, stream, echo).await;
    }
    let mut place = Place::of(&app, &who, &wanted).await?;
    let view = match &wanted.model {
        Some(name) => models::asked(&app, &who, name)?,
        None => place.assistant(&app, &who)?,
    };
    let passed = view.passes_through.then(|| Passed::of(&fields, &parameters)).transpose();
    let passed =
        passed.map_err(|_| ApiError::new(ErrorCode::InvalidValue, "a parameter is not of its type"))?;
    let (ignored, passed) = match passed {
        None => (parameters, None),
        Some((passed, left)) => (left, Some(passed)),
    };
    if let Some(field) = ignored.needs.first() {
        let message = format!("the model `{}` takes no `{field}` here", view.name);
        return Err(TurnError::new(ErrorCode::Unsupported, message).about(field).into());
    }
    let (mut ask, tools) = turn(&who, wanted, &view)?;
    ask.lease = Some(app.counters.turn(who.key()).await?);
    ask.conversation_id = place.open(&app, &who).await?;
    ask.idempotency = idempotency;
    let begun = begin(&app, &who, ask, &view, passed.map(|passed| (passed, tools))).await;
    let reader = match begun {
        Ok(reader) => reader,
        Err(error) => {
            place.give_back(&app, &who).await;
            return Err(renamed(error));
        }
    };
    if echo.background {
        reader.leave_running();
    }
    let mut response = answer(&app, &who, reader, stream, echo).await?;
    ignored.show(response.headers_mut());
    Ok(response)
}

async fn begin(
    app: &App,
    who: &Who,
    mut ask: Ask,
    view: &AssistantView,
    passed: Option<(Passed, Option<Vec<Told>>)>,
) -> Result<Reader, ApiError> {
    if let Some((passed, tools)) = passed {
        let spoken = (tools, ask.instructions.as_deref());
        let extension = passed.extension(app, who.caller(), view, ask.conversation_id, spoken).await?;
        ask.extension = Some(extension);
    }
    Ok(app.engine.chat(who.caller(), ask).await?)
}

/// The turn to ask for, and what was told where a tool has answered.
fn turn(who: &Who, mut wanted: Wanted, view: &AssistantView) -> Result<(Ask, Option<Vec<Told>>), ApiError> {
    let metadata = wanted.metadata();
    check_metadata(&metadata)?;
    let spoken = wanted.spoken(view.passes_through)?;
    let ask = Ask {
        assistant: Some(view.name.clone()),
        conversation_id: None,
        own_conversation: true,
        prompt: spoken.prompt,
        user: user_of(who.caller(), wanted.user)?,
        stream: wanted.stream.unwrap_or(false) || wanted.background.unwrap_or(false),
        store: wanted.store.unwrap_or(true),
        context_messages: None,
        search_filters: None,
        metadata,
        when_busy: None,
        idempotency: None,
        extension: None,
        instructions: spoken.instructions,
        lease: None,
    };
    Ok((ask, spoken.tools))
}

async fn answer(
    app: &App,
    who: &Who,
    mut reader: Reader,
    stream: bool,
    echo: Echo,
) -> Result<Response, ApiError> {
    if stream {
        let begins = if echo.background { Begins::Accepted } else { Begins::Speaking };
        return watch(app, who, reader, Events::new(begins, echo, None)).await;
    }
    if echo.background {
        return Ok(shown(&standing(&mut reader).await, &echo));
    }
    let life = app.keys.lives.of(who.identity());
    let turn = tokio::select! {
        turn = reader.end() => Ok(turn),
        () = life.ended() => Err(key_ended()),
    };
    let told = |error| ApiError::of_turn(error, reader.turn_id(), reader.is_repeat());
    let turn = turn.map_err(told)?;
    match shape::broken(&turn) {
        Some(error) => Err(told(error)),
        None => Ok(shown(&turn, &echo)),
    }
}

async fn watch(app: &App, who: &Who, reader: Reader, mut events: Events) -> Result<Response, ApiError> {
    events.of_item(reader.reply_id());
    let mut watch = Watch::new(app, who, reader, events);
    watch.begun().await?;
    if let Some(last) = watch.script.too_short() {
        let message = format!("the response does not have so many events: its last one is {last}");
        return Err(ApiError::invalid("starting_after", message));
    }
    Ok(watch.answer())
}

/// The turn as it stands.
async fn standing(reader: &mut Reader) -> Turn {
    loop {
        let mut turn = None;
        let read = reader
            .follow(|seen| match seen {
                Seen::Standing(standing) => turn = Some(Turn::clone(standing)),
                Seen::Frame(_) | Seen::Event(..) => {}
            })
            .await;
        match (turn, read) {
            (Some(turn), _) => return turn,
            (None, Read::Ended) => return reader.end().await.as_ref().clone(),
            (None, Read::More) => {}
        }
    }
}

fn shown(turn: &Turn, echo: &Echo) -> Response {
    let mut response = Json(Object::of(turn, echo)).into_response();
    insert(response.headers_mut(), TURN_ID, &turn.id.to_string());
    shape::show_model(response.headers_mut(), turn.model.as_deref());
    response
}

/// The turn that a response's id names.
fn named(id: &str) -> Result<TurnId, ApiError> {
    shape::turn_of(PREFIX, id)
        .ok_or_else(|| ApiError::new(ErrorCode::TurnNotFound, "there is no such response"))
}

pub(super) async fn read(
    State(app): State<App>,
    who: Who,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = named(&id)?;
    let params = Params::lenient(&uri)?;
    let after = params.value::<u64>("starting_after", "the number of an event")?;
    let turn = app.engine.turn(who.caller(), id).await?;
    if !params.value::<bool>("stream", "`true` or `false`")?.unwrap_or(false) {
        return Ok(shown(&turn, &Echo::default()));
    }
    let reader = app.engine.events(who.caller(), id, 0).await?;
    if method == Method::HEAD {
        // Neither waited for nor counted as a reader: where turns end with their last reader, this one must not be it.
        if let Some(reader) = reader {
            reader.never_came();
        }
        return Ok(sse::answer(axum::body::Body::empty(), id));
    }
    let reader = reader.ok_or_else(|| ApiError::internal("an ended turn without events"))?;
    let begins = if turn.status.is_end() { Begins::Ended } else { Begins::Accepted };
    watch(&app, &who, reader, Events::new(begins, Echo::default(), after)).await
}

pub(super) async fn cancel(
    State(app): State<App>,
    who: Who,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(shown(&*app.engine.cancel(who.caller(), named(&id)?).await?, &Echo::default()))
}

/// Erases a response with the conversation that was made for it, as long as nothing else is there. Our store erases conversations, not
/// turns, and a conversation that somebody else has made or used is not the response's to take along.
pub(super) async fn delete(
    State(app): State<App>,
    who: Who,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, ApiError> {
    let turn = app.engine.turn(who.caller(), named(&id)?).await?;
    let Some(conversation) = turn.conversation_id else {
        return Err(ApiError::new(ErrorCode::TurnNotFound, "there is no such response"));
    };
    if !is_alone(&app, &who, turn.id, conversation).await? {
        let message = "this response's conversation was not made for it alone, and responses are not erased one by one: \
                       delete the conversation";
        return Err(ApiError::new(ErrorCode::Unsupported, message));
    }
    app.engine.delete_conversation(who.caller(), conversation).await?;
    Ok(Json(Deleted { id, object: "response", deleted: true }))
}

/// Whether a conversation was made for this turn of this dialect, and is still as the turn has left it.
async fn is_alone(
    app: &App,
    who: &Who,
    turn: TurnId,
    conversation: ConversationId,
) -> Result<bool, ApiError> {
    let found = app.engine.conversation(who.caller(), conversation).await?;
    if conversation.uuid() != turn.uuid() || found.title.is_some() || found.metadata != Metadata::default() {
        return Ok(false);
    }
    let mut walk = Walk::new(app, who.caller(), conversation, false);
    let mut has_begun = false;
    while let Some(message) = walk.next().await? {
        // What stands before its first message came with the turn; what has no turn later was put in.
        match message.turn_id {
            Some(other) if other == turn => has_begun = true,
            None if !has_begun => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// What the turn was asked: its message, and with a conversation's first turn what stands before it.
pub(super) async fn input_items(
    State(app): State<App>,
    who: Who,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<List>, ApiError> {
    let paging = Paging::read(&uri)?;
    let turn = app.engine.turn(who.caller(), named(&id)?).await?;
    let Some(conversation) = turn.conversation_id else { return Ok(Json(paging.page(Vec::new())?)) };
    let mut walk = Walk::new(&app, who.caller(), conversation, false);
    let (mut before, mut own, mut is_first) = (Vec::new(), Vec::new(), true);
    while let Some(message) = walk.next().await? {
        if message.turn_id != Some(turn.id) {
            is_first &= message.turn_id.is_none();
            if is_first {
                before.extend(Item::of(&message));
            }
        } else {
            own = Item::of(&message);
            break;
        }
    }
    let all = if is_first { before.into_iter().chain(own).collect() } else { own };
    Ok(Json(paging.page(all)?))
}

/// The engine's names for fields, in this route's words.
fn renamed(error: ApiError) -> ApiError {
    error.renamed(|field| match field {
        "assistant" => Some("model"),
        "message" | "messages" => Some("input"),
        "conversation_id" => Some("conversation"),
        _ => None,
    })
}

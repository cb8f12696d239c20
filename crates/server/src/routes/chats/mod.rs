//! Turns: asked for, read, watched, stopped.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chat::{
    Caller, Content, ConversationId, ErrorCode, Metadata, Role, TurnError, TurnId, TurnStatus, UserId,
    WhenBusy,
};
use engine::{Ask, Prompt, Reader};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::App;
use crate::body::{AtMost, Body, Object, OptionalBody, given, word, word_given};
use crate::error::{ApiError, TURN_ID, insert};
use crate::middleware::auth::Who;
use crate::query::{Name, Named, NoParams, Params, named};
use crate::routes::reply;
use crate::routes::said::Said;
use crate::sse;
use crate::text::{Line, NOT_BLANK};

const METADATA_BYTES_MAX: usize = 16 * 1024;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A turn to be run.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewTurn", extend("oneOf" = [
    {"title": "A new conversation", "required": ["assistant", "message"],
     "properties": {"assistant": {"type": "string"}, "message": {"type": ["string", "array"]},
                    "messages": {"type": "null"}, "conversation_id": {"type": "null"}}},
    {"title": "A whole transcript", "required": ["assistant", "messages"],
     "properties": {"assistant": {"type": "string"}, "messages": {"type": "array"},
                    "message": {"type": "null"}, "conversation_id": {"type": "null"}}},
    {"title": "A conversation goes on", "required": ["conversation_id", "message"],
     "properties": {"conversation_id": {"type": "string"}, "message": {"type": ["string", "array"]},
                    "messages": {"type": "null"}, "store": {"enum": [true, null]}}},
]))]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Wanted {
    /// Whom to ask. May be left out with `conversation_id`; another assistant than before moves the conversation there.
    #[serde(default, deserialize_with = "given")]
    #[schemars(extend("pattern" = NOT_BLANK))]
    assistant: Option<Line<256>>,
    /// The user's message.
    #[serde(default, deserialize_with = "given")]
    message: Option<Said>,
    /// A whole transcript, the last message of which is from the user. Not with `conversation_id`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(length(min = 1))]
    messages: Option<Vec<Object<OneMessage>>>,
    /// The conversation to continue; a new one when left out.
    #[serde(default, deserialize_with = "given")]
    #[schemars(extend("pattern" = NOT_BLANK))]
    conversation_id: Option<Line<256>>,
    /// The end user, for the provider and for lists; fixed by a conversation's first turn that names one.
    #[serde(default, deserialize_with = "given")]
    user: Option<UserId>,
    /// Whether to answer with an event stream. False when left out.
    #[serde(default, deserialize_with = "given")]
    stream: Option<bool>,
    /// False: nothing is kept once the turn has ended and its readers have left. True when left out.
    #[serde(default, deserialize_with = "given")]
    store: Option<bool>,
    /// How many earlier messages the provider is given; the assistant's own number when left out.
    #[serde(default, deserialize_with = "given")]
    context_messages: Option<AtMost>,
    /// Filters for assistants that search, passed on as they are.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<Metadata>")]
    search_filters: Option<Box<RawValue>>,
    /// Free words about the turn, kept with it: at most 16 KiB as JSON.
    #[serde(default, deserialize_with = "given")]
    metadata: Option<Metadata>,
    /// What to do while another turn runs in the conversation; as configured when left out.
    #[serde(default, deserialize_with = "word_given")]
    when_busy: Option<WhenBusy>,
}

/// A message of a transcript.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TranscriptMessage")]
#[serde(deny_unknown_fields)]
pub(crate) struct OneMessage {
    /// Who speaks.
    #[serde(deserialize_with = "word")]
    role: TranscriptRole,
    /// What is said.
    content: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TranscriptRole {
    /// Instructions to the assistant.
    System,
    /// The end user.
    User,
    /// The assistant.
    Assistant,
}

impl From<TranscriptRole> for Role {
    fn from(role: TranscriptRole) -> Self {
        match role {
            TranscriptRole::System => Self::System,
            TranscriptRole::User => Self::User,
            TranscriptRole::Assistant => Self::Assistant,
        }
    }
}

pub(super) async fn create(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Body { value, idempotency }: Body<Wanted>,
) -> Result<Response, ApiError> {
    let mut ask = value.into_ask(who.caller())?;
    let stream = ask.stream;
    let before = match &idempotency {
        Some(idempotency) => app.engine.repeat(who.caller(), idempotency).await?,
        None => None,
    };
    let reader = match before {
        Some(reader) => reader,
        None => {
            ask.idempotency = idempotency;
            ask.lease = Some(app.counters.turn(who.key()).await?);
            app.engine.chat(who.caller(), ask).await?
        }
    };
    if stream {
        return Ok(watch(&app, &who, reader));
    }
    whole(&app, &who, reader).await
}

/// The answer in one piece.
async fn whole(app: &App, who: &Who, mut reader: Reader) -> Result<Response, ApiError> {
    let (id, repeat) = (reader.turn_id(), reader.is_repeat());
    let life = app.keys.lives.of(who.identity());
    let turn = tokio::select! {
        turn = reader.end() => turn,
        () = life.ended() => {
            let error = TurnError::new(ErrorCode::InvalidKey, "the key has ended while its turn ran");
            return Err(ApiError::of_turn(error, id, repeat));
        }
    };
    match (&turn.status, &turn.error) {
        (TurnStatus::Failed, Some(error)) => Err(ApiError::of_turn(error.clone(), id, repeat)),
        (TurnStatus::Failed, None) => {
            Err(ApiError::of_turn(TurnError::new(ErrorCode::Internal, "the turn failed"), id, repeat))
        }
        _ => Ok(reply::turn(sse::as_repeated(&turn, repeat).as_ref().unwrap_or(&turn))),
    }
}

fn watch(app: &App, who: &Who, reader: Reader) -> Response {
    sse::stream(reader, app.keys.lives.of(who.identity()), app.front.config.heartbeat)
}

pub(super) async fn read(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Name(id): Name<TurnId>,
) -> Result<Response, ApiError> {
    Ok(reply::turn(&*app.engine.turn(who.caller(), id).await?))
}

pub(super) async fn events(
    State(app): State<App>,
    who: Who,
    Name(id): Name<TurnId>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = after(&uri, &headers)?;
    match app.engine.events(who.caller(), id, after).await? {
        // Where turns end with their last reader, this one must not be it.
        Some(reader) if method == Method::HEAD => {
            reader.never_came();
            Ok(sse::answer(axum::body::Body::empty(), id))
        }
        Some(reader) => Ok(watch(&app, &who, reader)),
        None => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            insert(response.headers_mut(), TURN_ID, &id.to_string());
            Ok(response)
        }
    }
}

/// After which event to go on. A browser that comes back sends the header beside the URL that it began with: the header is newer.
fn after(uri: &Uri, headers: &HeaderMap) -> Result<u64, ApiError> {
    let params = Params::read(uri, &["after"])?;
    let is = "the number of an event";
    let in_url = params.value::<u64>("after", is)?;
    let Some(header) = headers.get(LAST_EVENT_ID) else { return Ok(in_url.unwrap_or(0)) };
    let number = header.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ApiError::invalid("Last-Event-ID", format!("`Last-Event-ID` must be {is}")))
}

pub(super) async fn cancel(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Name(id): Name<TurnId>,
    OptionalBody(_): OptionalBody<Nothing>,
) -> Result<Response, ApiError> {
    Ok(reply::turn(&*app.engine.cancel(who.caller(), id).await?))
}

/// A body that says nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Empty")]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Nothing {}

impl Wanted {
    fn into_ask(self, caller: &Caller) -> Result<Ask, ApiError> {
        let store = self.store.unwrap_or(true);
        if self.conversation_id.is_some() && self.messages.is_some() {
            return Err(ApiError::invalid(
                "messages",
                "`messages` begins a conversation: it does not go with `conversation_id`",
            ));
        }
        if self.conversation_id.is_some() && !store {
            return Err(ApiError::invalid(
                "store",
                "a turn in a conversation is kept: `store` must not be false with `conversation_id`",
            ));
        }
        if self.conversation_id.is_none() && self.assistant.is_none() {
            return Err(missing(
                "assistant",
                "name the `assistant` to ask, or the `conversation_id` to continue",
            ));
        }
        let metadata = self.metadata.unwrap_or_default();
        check_metadata(&metadata)?;
        if self.search_filters.as_ref().is_some_and(|filters| !filters.get().trim_start().starts_with('{')) {
            return Err(ApiError::invalid("search_filters", "`search_filters` must be an object"));
        }
        Ok(Ask {
            prompt: prompt(self.message, self.messages)?,
            assistant: self.assistant.map(|Line(name)| asked("assistant", &name)).transpose()?,
            conversation_id: self
                .conversation_id
                .map(|Line(id)| asked::<ConversationId>("conversation_id", &id))
                .transpose()?,
            own_conversation: false,
            user: user_of(caller, self.user)?,
            stream: self.stream.unwrap_or(false),
            store,
            context_messages: self.context_messages.map(|AtMost(most)| most),
            search_filters: self.search_filters.map(Arc::from),
            metadata,
            when_busy: self.when_busy,
            idempotency: None,
            extension: None,
            instructions: None,
            lease: None,
        })
    }
}

fn prompt(message: Option<Said>, messages: Option<Vec<Object<OneMessage>>>) -> Result<Prompt, ApiError> {
    match (message, messages) {
        (Some(_), Some(_)) => Err(ApiError::invalid("messages", "send `message` or `messages`, not both")),
        (None, None) => Err(missing("message", "`message` is missing: the user's words")),
        (Some(Said(content)), None) => {
            not_empty("message", &content)?;
            Ok(Prompt::Message(content))
        }
        (None, Some(messages)) => {
            let mut transcript = Vec::with_capacity(messages.len());
            for (index, Object(one)) in messages.into_iter().enumerate() {
                let OneMessage { role, content: Said(content) } = one;
                not_empty(&format!("messages[{index}].content"), &content)?;
                transcript.push((Role::from(role), content));
            }
            match transcript.last() {
                Some((Role::User, _)) => Ok(Prompt::Transcript(transcript)),
                Some(_) => Err(ApiError::invalid("messages", "the last of `messages` must be from the user")),
                None => Err(ApiError::invalid("messages", "`messages` must not be empty")),
            }
        }
    }
}

pub(crate) fn not_empty(param: &str, content: &Content) -> Result<(), ApiError> {
    if content.is_empty() {
        return Err(ApiError::invalid(param, format!("`{param}` must not be empty")));
    }
    Ok(())
}

pub(crate) fn missing(param: &str, message: &str) -> ApiError {
    TurnError::new(ErrorCode::MissingField, message).about(param).into()
}

/// A name in a body: empty is wrong, one that cannot be is not found.
pub(crate) fn asked<T: Named>(param: &str, text: &str) -> Result<T, ApiError> {
    if text.trim().is_empty() {
        return Err(ApiError::invalid(param, format!("`{param}` must not be empty")));
    }
    named(text)
}

/// The end user: a browser's token speaks for its own alone.
pub(crate) fn user_of(caller: &Caller, user: Option<UserId>) -> Result<Option<UserId>, ApiError> {
    match (&caller.user, user) {
        (Some(own), Some(other)) if *own != other => {
            Err(ApiError::invalid("user", "this token is another user's: leave `user` out"))
        }
        (Some(own), _) => Ok(Some(own.clone())),
        (None, user) => Ok(user),
    }
}

pub(crate) fn check_metadata(metadata: &Metadata) -> Result<(), ApiError> {
    let bytes = serde_json::to_vec(metadata).map_err(ApiError::internal)?.len();
    if bytes > METADATA_BYTES_MAX {
        return Err(ApiError::invalid("metadata", "`metadata` must not be larger than 16 KiB as JSON"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

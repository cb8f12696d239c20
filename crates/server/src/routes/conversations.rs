//! Conversations: made, listed, changed, copied, erased.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chat::{
    Conversation, ConversationChange, ConversationFilter, ConversationId, ErrorCode, MessageId, Metadata,
    Permission, TurnError, UserId,
};
use engine::NewConversationAsk;
use http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::body::{Body, OptionalBody, cleared_or_set, given};
use crate::error::ApiError;
use crate::middleware::auth::Who;
use crate::query::{Name, NoParams, Params};
use crate::routes::chats::{Nothing, asked, check_metadata, user_of};
use crate::routes::reply;
use crate::text::{Line, NOT_BLANK};

/// The longest title, in characters.
const TITLE_CHARACTERS_MAX: usize = 1024;
/// The longest search, in bytes.
const WORDS_BYTES_MAX: usize = 1024;

type Title = Line<TITLE_CHARACTERS_MAX>;

/// A conversation to be made, or adopted from upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewConversation")]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Wanted {
    /// Whom its turns ask.
    #[schemars(extend("pattern" = NOT_BLANK))]
    assistant: Line<256>,
    /// The end user whose it is.
    #[serde(default, deserialize_with = "given")]
    user: Option<UserId>,
    /// A title: at most 1024 characters.
    #[serde(default, deserialize_with = "given")]
    title: Option<Title>,
    /// Free words about it: at most 16 KiB as JSON.
    #[serde(default, deserialize_with = "given")]
    metadata: Option<Metadata>,
    /// Adopts this conversation of the provider, with its history. Needs `may = ["adopt"]`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(extend("pattern" = NOT_BLANK))]
    upstream_conversation_id: Option<Line<512>>,
}

pub(super) async fn create(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Body { value, idempotency }: Body<Wanted>,
) -> Result<Response, ApiError> {
    let metadata = value.metadata.unwrap_or_default();
    check_metadata(&metadata)?;
    let upstream = value.upstream_conversation_id.map(|Line(id)| id);
    if upstream.is_some() {
        who.must(Permission::Adopt)?;
    }
    if upstream.as_ref().is_some_and(|id| id.trim().is_empty()) {
        let param = "upstream_conversation_id";
        return Err(ApiError::invalid(param, format!("`{param}` must not be empty")));
    }
    let ask = NewConversationAsk {
        assistant: asked("assistant", &value.assistant.0)?,
        user: user_of(who.caller(), value.user)?,
        title: value.title.map(|Line(title)| title),
        metadata,
        upstream_conversation_id: upstream,
    };
    Ok(reply::created(app.engine.create_conversation(who.caller(), ask, idempotency).await?))
}

pub(super) async fn list(State(app): State<App>, who: Who, uri: Uri) -> Result<impl IntoResponse, ApiError> {
    let known = ["assistant", "user", "since", "until", "q", "limit", "cursor"];
    let params = Params::read(&uri, &known)?;
    let words = params.text("q").map(str::to_owned);
    if words
        .as_ref()
        .is_some_and(|words| words.len() > WORDS_BYTES_MAX || words.chars().any(char::is_control))
    {
        return Err(ApiError::invalid("q", "`q` must be at most 1024 bytes without control characters"));
    }
    let filter = ConversationFilter {
        assistant: params.value("assistant", "an assistant's name")?,
        assistants: None,
        user: params.value("user", "a user's name, at most 256 characters without control characters")?,
        since: params.time("since")?,
        until: params.time("until")?,
        words: words.filter(|words| !words.trim().is_empty()),
    };
    Ok(reply::page(app.engine.conversations(who.caller(), filter, params.page()?).await?))
}

pub(super) async fn read(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Name(id): Name<ConversationId>,
) -> Result<Json<Conversation>, ApiError> {
    Ok(Json(app.engine.conversation(who.caller(), id).await?))
}

/// A change: what is left out stays, null clears.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ConversationChange")]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Change {
    /// A title: at most 1024 characters.
    #[serde(default, deserialize_with = "cleared_or_set")]
    #[schemars(with = "Option<Title>")]
    title: Option<Option<Title>>,
    /// Free words about it, in place of those before: at most 16 KiB as JSON.
    #[serde(default, deserialize_with = "cleared_or_set")]
    #[schemars(with = "Option<Metadata>")]
    metadata: Option<Option<Metadata>>,
}

pub(super) async fn change(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Name(id): Name<ConversationId>,
    Body { value, .. }: Body<Change>,
) -> Result<Json<Conversation>, ApiError> {
    let Change { title, metadata } = value;
    if let Some(Some(metadata)) = &metadata {
        check_metadata(metadata)?;
    }
    if title.is_none() && metadata.is_none() {
        // Nothing is named, so nothing changes: not even the time of the last change.
        return Ok(Json(app.engine.conversation(who.caller(), id).await?));
    }
    let title = title.map(|title| title.map(|Line(title)| title));
    let change = ConversationChange { title, metadata };
    Ok(Json(app.engine.change_conversation(who.caller(), id, change).await?))
}

pub(super) async fn delete(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Name(id): Name<ConversationId>,
) -> Result<StatusCode, ApiError> {
    app.engine.delete_conversation(who.caller(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What was erased.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Deleted {
    /// How many.
    deleted: u64,
}

pub(super) async fn delete_all(
    State(app): State<App>,
    who: Who,
    uri: Uri,
) -> Result<Json<Deleted>, ApiError> {
    let params = Params::read(&uri, &["user"])?;
    let user: Option<UserId> =
        params.value("user", "a user's name, at most 256 characters without control characters")?;
    let Some(user) = user else {
        let message = "name the `user` whose conversations are to be erased";
        return Err(TurnError::new(ErrorCode::MissingField, message).about("user").into());
    };
    if who.caller().user.as_ref().is_some_and(|own| *own != user) {
        return Err(ApiError::new(
            ErrorCode::NotPermitted,
            "a browser's token erases its own user's conversations only",
        ));
    }
    Ok(Json(Deleted { deleted: app.engine.delete_conversations_of(who.caller(), &user).await? }))
}

/// Up to and with which message; all when left out.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewFork")]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct UpTo {
    /// The last message of the copy; all when left out.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<MessageId>")]
    message_id: Option<Line<256>>,
}

pub(super) async fn fork(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Name(id): Name<ConversationId>,
    OptionalBody(Body { value, idempotency }): OptionalBody<UpTo>,
) -> Result<Response, ApiError> {
    let parse = |Line(id): Line<256>| {
        id.parse::<MessageId>()
            .map_err(|_| ApiError::invalid("message_id", "there is no such message in this conversation"))
    };
    let up_to = match value.message_id.map(parse).transpose() {
        Ok(up_to) => up_to,
        // Whether the conversation is there comes first: nobody learns more of another's.
        Err(error) => {
            return app.engine.conversation(who.caller(), id).await.map_err(Into::into).and(Err(error));
        }
    };
    Ok(reply::created(app.engine.fork(who.caller(), id, up_to, idempotency).await?))
}

/// What was fetched.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Added {
    /// How many.
    added: u64,
}

pub(super) async fn sync(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Name(id): Name<ConversationId>,
    OptionalBody(_): OptionalBody<Nothing>,
) -> Result<Json<Added>, ApiError> {
    Ok(Json(Added { added: app.engine.sync(who.caller(), id).await? }))
}

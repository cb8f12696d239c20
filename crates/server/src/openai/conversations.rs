//! `/openai/v1/conversations`: the native conversations in OpenAI's form.
//!
//! A conversation here has no assistant until a response names one: until then it has the first that the key may use.

use axum::Json;
use axum::extract::{Path, State};
use chat::{
    Caller, Conversation, ConversationChange, ConversationId, ErrorCode, Message, Metadata, PageRequest,
    Permission, Role, TurnError,
};
use engine::{NewConversationAsk, PutMessage};
use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::item::{Given, Item, List};
use super::shape;
use crate::app::App;
use crate::body::{Body, OptionalBody};
use crate::error::ApiError;
use crate::middleware::auth::Who;
use crate::query::{Name, Params};
use crate::routes::chats::{check_metadata, user_of};

/// How many messages the store is asked for at once.
const PAGE: u32 = 100;
/// How many items one request may put in.
const ITEMS_MAX: usize = 20;

/// OpenAI's conversation.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OpenAiConversation")]
pub(crate) struct Shown {
    id: ConversationId,
    #[schemars(extend("const" = "conversation"))]
    object: &'static str,
    /// When it was made, in seconds since 1970.
    created_at: i64,
    metadata: Metadata,
}

impl From<Conversation> for Shown {
    fn from(conversation: Conversation) -> Self {
        Self {
            id: conversation.id,
            object: "conversation",
            created_at: shape::seconds(conversation.created_at),
            metadata: conversation.metadata,
        }
    }
}

/// A conversation to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewOpenAiConversation", extend("additionalProperties" = true))]
#[serde(expecting = "a JSON object")]
pub(crate) struct Wanted {
    /// What was said in it before: at most 20.
    #[schemars(length(max = 20))]
    items: Option<Vec<Given>>,
    /// Free words about it: at most 16 KiB as JSON.
    metadata: Option<Metadata>,
}

pub(super) async fn create(
    State(app): State<App>,
    who: Who,
    OptionalBody(Body { value, idempotency }): OptionalBody<Wanted>,
) -> Result<Json<Shown>, ApiError> {
    let metadata = value.metadata.unwrap_or_default();
    check_metadata(&metadata)?;
    let messages = messages(&who, value.items.unwrap_or_default())?;
    let first =
        app.engine.assistants(who.caller()).into_iter().next().ok_or_else(|| {
            ApiError::new(ErrorCode::AssistantNotFound, "this key may not use any assistant")
        })?;
    let ask = NewConversationAsk {
        assistant: first.name,
        user: user_of(who.caller(), None)?,
        title: None,
        metadata,
        upstream_conversation_id: None,
    };
    let made = app.engine.create_conversation(who.caller(), ask, idempotency).await?;
    // One that a repeat finds has its messages already.
    if made.message_count == 0 {
        put(&app, who.caller(), made.id, messages).await?;
    }
    Ok(Json(made.into()))
}

pub(super) async fn read(
    State(app): State<App>,
    who: Who,
    Name(id): Name<ConversationId>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(app.engine.conversation(who.caller(), id).await?.into()))
}

/// What is to be changed of a conversation.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OpenAiConversationChange", extend("additionalProperties" = true))]
#[serde(expecting = "a JSON object")]
pub(crate) struct Change {
    /// In place of all that was there: at most 16 KiB as JSON.
    metadata: Metadata,
}

pub(super) async fn change(
    State(app): State<App>,
    who: Who,
    Name(id): Name<ConversationId>,
    Body { value, .. }: Body<Change>,
) -> Result<Json<Shown>, ApiError> {
    check_metadata(&value.metadata)?;
    let change = ConversationChange { title: None, metadata: Some(Some(value.metadata)) };
    Ok(Json(app.engine.change_conversation(who.caller(), id, change).await?.into()))
}

/// What OpenAI answers when something is erased.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OpenAiDeleted")]
pub(crate) struct Deleted {
    /// What is gone.
    pub(super) id: String,
    #[schemars(extend("enum" = ["response", "conversation.deleted"]))]
    pub(super) object: &'static str,
    pub(super) deleted: bool,
}

pub(super) async fn delete(
    State(app): State<App>,
    who: Who,
    Name(id): Name<ConversationId>,
) -> Result<Json<Deleted>, ApiError> {
    app.engine.delete_conversation(who.caller(), id).await?;
    Ok(Json(Deleted { id: id.to_string(), object: "conversation.deleted", deleted: true }))
}

pub(super) async fn items(
    State(app): State<App>,
    who: Who,
    Name(id): Name<ConversationId>,
    uri: Uri,
) -> Result<Json<List>, ApiError> {
    let asked = Paging::read(&uri)?;
    let mut walk = Walk::new(&app, who.caller(), id, asked.descending);
    let mut all = Vec::new();
    let mut skipping = asked.after.is_some();
    while let Some(message) = walk.next().await? {
        for item in Item::of(&message) {
            if skipping {
                skipping = asked.after.as_deref() != Some(item.id());
            } else {
                all.push(item);
            }
        }
        if all.len() > asked.limit {
            break;
        }
    }
    if skipping {
        return Err(ApiError::invalid("after", "there is no such item in this conversation"));
    }
    Ok(Json(asked.cut(all)))
}

/// Items to be put into a conversation.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewItems", extend("additionalProperties" = true))]
#[serde(expecting = "a JSON object")]
pub(crate) struct NewItems {
    /// At most 20.
    #[schemars(length(max = 20))]
    items: Vec<Given>,
}

pub(super) async fn put_items(
    State(app): State<App>,
    who: Who,
    Name(id): Name<ConversationId>,
    Body { value, .. }: Body<NewItems>,
) -> Result<Json<List>, ApiError> {
    let messages = messages(&who, value.items)?;
    let kept = put(&app, who.caller(), id, messages).await?;
    Ok(Json(List::new(kept.iter().flat_map(Item::of).collect(), false)))
}

pub(super) async fn item(
    State(app): State<App>,
    who: Who,
    Path((id, item)): Path<(String, String)>,
) -> Result<Json<Item>, ApiError> {
    Ok(Json(find(&app, &who, &id, &item).await?))
}

pub(super) async fn delete_item(
    State(app): State<App>,
    who: Who,
    Path((id, item)): Path<(String, String)>,
) -> Result<Json<Deleted>, ApiError> {
    find(&app, &who, &id, &item).await?;
    let message = "messages are not erased one by one: delete the conversation, or go on from before it with \
                   `previous_response_id`";
    Err(ApiError::new(ErrorCode::Unsupported, message))
}

async fn find(app: &App, who: &Who, id: &str, item: &str) -> Result<Item, ApiError> {
    let id = crate::query::named::<ConversationId>(id)?;
    let mut walk = Walk::new(app, who.caller(), id, false);
    while let Some(message) = walk.next().await? {
        if let Some(found) = Item::of(&message).into_iter().find(|one| one.id() == item) {
            return Ok(found);
        }
    }
    Err(ApiError::new(ErrorCode::RouteNotFound, "there is no such item in this conversation"))
}

/// What the items say, checked before anything is kept.
fn messages(who: &Who, items: Vec<Given>) -> Result<Vec<PutMessage>, ApiError> {
    if items.len() > ITEMS_MAX {
        return Err(ApiError::invalid("items", format!("`items` must not have more than {ITEMS_MAX}")));
    }
    let mut messages = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let field = format!("items[{place}]");
        let Some((role, content)) = item.said(&field)? else { continue };
        if content.images().next().is_some() {
            let message = "images are not kept without a turn: send them with the response's `input`";
            return Err(TurnError::new(ErrorCode::Unsupported, message).about(field).into());
        }
        if role == Role::System {
            who.must(Permission::Operator)?;
        }
        messages.push(PutMessage { role, author: None, text: content.text().into_owned() });
    }
    Ok(messages)
}

async fn put(
    app: &App,
    caller: &Caller,
    id: ConversationId,
    messages: Vec<PutMessage>,
) -> Result<Vec<Message>, ApiError> {
    let mut kept = Vec::with_capacity(messages.len());
    for message in messages {
        kept.push(app.engine.put_message(caller, id, message, None).await?.0);
    }
    Ok(kept)
}

/// How a list is to be read: OpenAI's `limit`, `order` and `after`. Other parameters are not looked at.
#[derive(Debug)]
pub(super) struct Paging {
    limit: usize,
    descending: bool,
    after: Option<String>,
}

impl Paging {
    pub(super) fn read(uri: &Uri) -> Result<Self, ApiError> {
        let params = Params::lenient(uri)?;
        let limit = params.value::<usize>("limit", "a number from 1 to 100")?.unwrap_or(20);
        if !(1..=100).contains(&limit) {
            return Err(ApiError::invalid("limit", "`limit` must be a number from 1 to 100"));
        }
        let descending = match params.text("order") {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(ApiError::invalid("order", "`order` must be `asc` or `desc`")),
        };
        Ok(Self { limit, descending, after: params.text("after").map(str::to_owned) })
    }

    /// The page of a list that is here as a whole, oldest first.
    pub(super) fn page(&self, mut all: Vec<Item>) -> Result<List, ApiError> {
        if self.descending {
            all.reverse();
        }
        if let Some(after) = &self.after {
            let place = all.iter().position(|item| item.id() == after);
            let place =
                place.ok_or_else(|| ApiError::invalid("after", "there is no such item in this list"))?;
            all.drain(..=place);
        }
        Ok(self.cut(all))
    }

    fn cut(&self, mut all: Vec<Item>) -> List {
        let has_more = all.len() > self.limit;
        all.truncate(self.limit);
        List::new(all, has_more)
    }
}

/// The messages of a conversation one by one, a page at a time.
pub(super) struct Walk<'a> {
    app: &'a App,
    caller: &'a Caller,
    id: ConversationId,
    descending: bool,
    page: std::vec::IntoIter<Message>,
    cursor: Option<String>,
    begun: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(app: &'a App, caller: &'a Caller, id: ConversationId, descending: bool) -> Self {
        Self { app, caller, id, descending, page: Vec::new().into_iter(), cursor: None, begun: false }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Message>, ApiError> {
        loop {
            if let Some(message) = self.page.next() {
                return Ok(Some(message));
            }
            if self.begun && self.cursor.is_none() {
                return Ok(None);
            }
            let request = PageRequest { limit: PAGE, cursor: self.cursor.take() };
            let page = self.app.engine.messages(self.caller, self.id, self.descending, request).await?;
            self.begun = true;
            self.page = page.items.into_iter();
            self.cursor = page.next_cursor;
        }
    }
}

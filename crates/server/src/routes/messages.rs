//! Messages of a conversation: read, and put in without asking for a reply.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chat::{ConversationId, Delivery, Message, Permission, Role};
use engine::PutMessage;
use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::body::{Body, given, word};
use crate::error::ApiError;
use crate::middleware::auth::Who;
use crate::query::{Name, NoParams, Params};
use crate::routes::reply;
use crate::text::{Line, NOT_BLANK};

/// A message to be put in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct NewMessage {
    /// Who speaks. `operator` and `system` need `may = ["operator"]`.
    #[serde(deserialize_with = "word")]
    role: Role,
    /// The speaker's name; the role's own when left out.
    #[serde(default, deserialize_with = "given")]
    #[schemars(extend("pattern" = NOT_BLANK))]
    author: Option<Line<256>>,
    /// What is said.
    #[schemars(length(min = 1))]
    text: String,
}

/// A message, and where it has got to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeliveredMessage")]
pub(crate) struct Put {
    #[serde(flatten)]
    message: Message,
    /// Where it has got to.
    delivery: Delivery,
}

pub(super) async fn list(
    State(app): State<App>,
    who: Who,
    Name(id): Name<ConversationId>,
    uri: Uri,
) -> Result<impl IntoResponse, ApiError> {
    let params = Params::read(&uri, &["order", "limit", "cursor"])?;
    let descending = match params.text("order") {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => return Err(ApiError::invalid("order", "`order` must be `asc` or `desc`")),
    };
    Ok(reply::page(app.engine.messages(who.caller(), id, descending, params.page()?).await?))
}

pub(super) async fn put(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Name(id): Name<ConversationId>,
    Body { value, idempotency }: Body<NewMessage>,
) -> Result<Response, ApiError> {
    if matches!(value.role, Role::Operator | Role::System) {
        who.must(Permission::Operator)?;
    }
    if value.text.is_empty() {
        return Err(ApiError::invalid("text", "`text` must not be empty"));
    }
    let author = value.author.map(|Line(author)| author);
    if author.as_ref().is_some_and(|author| author.trim().is_empty()) {
        return Err(ApiError::invalid(
            "author",
            "`author` must not be empty: leave it out for the role's own",
        ));
    }
    let message = PutMessage { role: value.role, author, text: value.text };
    let (message, delivery) = app.engine.put_message(who.caller(), id, message, idempotency).await?;
    Ok(reply::created(Put { message, delivery }))
}

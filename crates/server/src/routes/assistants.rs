//! What can be asked, and what each can do.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use chat::{AssistantName, Permission};
use engine::AssistantView;
use http::Uri;

use crate::app::App;
use crate::error::ApiError;
use crate::middleware::auth::Who;
use crate::query::{Name, NoParams, Params};
use crate::routes::reply;

pub(super) async fn list(
    State(app): State<App>,
    _: NoParams,
    who: Who,
) -> Result<impl IntoResponse, ApiError> {
    Ok(reply::list(app.engine.assistants(who.caller())))
}

pub(super) async fn read(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Name(name): Name<AssistantName>,
) -> Result<Json<AssistantView>, ApiError> {
    Ok(Json(app.engine.assistant(who.caller(), &name)?))
}

/// What the provider itself lists.
pub(super) async fn conversations(
    State(app): State<App>,
    who: Who,
    Name(name): Name<AssistantName>,
    uri: Uri,
) -> Result<impl IntoResponse, ApiError> {
    who.must(Permission::Adopt)?;
    let params = Params::read(&uri, &["since", "limit", "cursor"])?;
    let (since, page) = (params.time("since")?, params.page()?);
    Ok(reply::page(app.engine.upstream_conversations(who.caller(), &name, since, page).await?))
}

//! What was used, by day, assistant and provider.

use axum::extract::State;
use axum::response::IntoResponse;
use http::Uri;

use crate::app::App;
use crate::error::ApiError;
use crate::middleware::auth::Who;
use crate::query::Params;
use crate::routes::reply;

pub(super) async fn of_tenant(
    State(app): State<App>,
    who: Who,
    uri: Uri,
) -> Result<impl IntoResponse, ApiError> {
    who.must_be_key()?;
    let range = Params::read(&uri, &["since", "until"])?.range()?;
    Ok(reply::list(app.engine.usage(who.caller(), range).await?))
}

pub(super) async fn of_all(State(app): State<App>, uri: Uri) -> Result<impl IntoResponse, ApiError> {
    let range = Params::read(&uri, &["since", "until"])?.range()?;
    Ok(reply::list(app.engine.usage_of_all(range).await?))
}

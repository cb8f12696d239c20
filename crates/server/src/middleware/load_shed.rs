//! More requests at work than there are places for are refused at once, rather than slowing all others down.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use chat::ErrorCode;

use crate::app::App;
use crate::around::{Next, Within};
use crate::error::ApiError;

/// Takes a place, held until the answer's head is ready: turns and streams have bounds of their own.
pub(crate) async fn load_shed<S: Within>(
    app: App,
    request: Request,
    next: Next<S>,
) -> Result<Response, ApiError> {
    let Ok(_place) = Arc::clone(&app.front.requests).try_acquire_owned() else {
        return Err(ApiError::new(
            ErrorCode::Overloaded,
            "the gateway has more to do than it can: try again",
        ));
    };
    Ok(next.run(request).await)
}

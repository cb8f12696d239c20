//! More requests at work than there are places for are refused at once, rather than slowing all others down.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use chat::ErrorCode;

use crate::app::App;
use crate::error::ApiError;

/// Takes a place, held until the answer's head is ready: turns and streams have bounds of their own.
pub(crate) async fn load_shed(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Ok(_place) = Arc::clone(&app.front.requests).try_acquire_owned() else {
        return Err(ApiError::new(
            ErrorCode::Overloaded,
            "the gateway has more to do than it can: try again",
        ));
    };
    Ok(next.run(request).await)
}

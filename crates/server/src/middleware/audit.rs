//! What admins did: a line in the log, with the target `audit`, for every request of theirs that changes something, done or refused.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use chat::{KeyId, TenantId};

use crate::around::{Next, Within};
use crate::error::ApiError;
use crate::middleware::auth::Who;
use crate::middleware::request_id::RequestId;

/// The key that was made or revoked: put into the answer for this layer.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) key: KeyId,
    pub(crate) name: Arc<str>,
    pub(crate) tenant: TenantId,
}

/// Writes the line; stands behind `auth`, so that it can say who, and around `admin`, so that it sees what was refused.
pub(crate) async fn audit<S: Within>((): (), request: Request, next: Next<S>) -> Result<Response, ApiError> {
    if request.method().is_safe() {
        return Ok(next.run(request).await);
    }
    let who = Who::of_request(&request)?;
    let RequestId(id) = RequestId::of(&request);
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let about = response.extensions().get::<About>();
    tracing::info!(target: "audit", {
        request.id = %id,
        action = format!("{method} {}", path.as_ref().map_or("unmatched", MatchedPath::as_str)),
        by.key.id = %who.caller().key,
        by.key.name = &*who.caller().key_name,
        outcome = if response.status().is_success() { "done" } else { "refused" },
        status = response.status().as_u16(),
        key.id = about.map(|about| about.key.to_string()),
        key.name = about.map(|about| &*about.name),
        tenant = about.map(|about| about.tenant.as_str()),
    }, "an admin changed something");
    Ok(response)
}

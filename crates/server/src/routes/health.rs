//! Whether the process lives, and whether it takes turns. No key is asked for.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::app::App;
use crate::error::ApiError;

/// The answer when all is well.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
}

pub(super) async fn livez() -> Json<Health> {
    Json(Health { status: "live" })
}

pub(super) async fn readyz(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    app.engine.ready().await?;
    Ok(Json(Health { status: "ready" }))
}

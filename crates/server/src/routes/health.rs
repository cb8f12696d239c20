//! Whether the process lives, and whether it takes turns. No key is asked for.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::error::ApiError;

/// The answer when all is well.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    /// What is well.
    #[schemars(extend("enum" = ["live", "ready"]))]
    status: &'static str,
}

pub(super) async fn livez() -> Json<Health> {
    Json(Health { status: "live" })
}

pub(super) async fn readyz(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    app.engine.ready().await?;
    Ok(Json(Health { status: "ready" }))
}

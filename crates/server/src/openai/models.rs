//! The assistants, as models.

use axum::Json;
use axum::extract::{Path, State};
use chat::{AssistantName, ErrorCode, ProviderName, TurnError};
use engine::AssistantView;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::error::ApiError;
use crate::middleware::auth::Who;

/// OpenAI's model object.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Model")]
pub(crate) struct Model {
    /// The assistant's name: what a request names as `model`.
    id: AssistantName,
    #[schemars(extend("const" = "model"))]
    object: &'static str,
    /// Always 0: a configuration does not say when an assistant was made.
    created: u64,
    /// The provider behind it, by its name in the configuration.
    owned_by: ProviderName,
}

impl From<AssistantView> for Model {
    fn from(view: AssistantView) -> Self {
        Self { id: view.name, object: "model", created: 0, owned_by: view.provider }
    }
}

/// OpenAI's list of models.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ModelList")]
pub(crate) struct Models {
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    data: Vec<Model>,
}

pub(super) async fn list(State(app): State<App>, who: Who) -> Json<Models> {
    let data = app.engine.assistants(who.caller()).into_iter().map(Model::from).collect();
    Json(Models { object: "list", data })
}

pub(super) async fn read(
    State(app): State<App>,
    who: Who,
    Path(name): Path<String>,
) -> Result<Json<Model>, ApiError> {
    let name: AssistantName = name.parse().map_err(|_| no_model(&name))?;
    let view = app.engine.assistant(who.caller(), &name).map_err(|_| no_model(name.as_str()))?;
    Ok(Json(view.into()))
}

/// The assistant that a request names.
pub(super) fn asked(app: &App, who: &Who, name: &str) -> Result<AssistantView, ApiError> {
    if name.trim().is_empty() {
        return Err(ApiError::invalid("model", "`model` must not be empty"));
    }
    let name: AssistantName = name.parse().map_err(|_| no_model(name))?;
    app.engine.assistant(who.caller(), &name).map_err(|_| {
        if app.engine.catalog().assistant(&name).is_none() {
            return no_model(name.as_str());
        }
        let message = format!("this key may not use the model `{name}`");
        TurnError::new(ErrorCode::AssistantNotAllowed, message).about("model").into()
    })
}

fn no_model(name: &str) -> ApiError {
    // What a client sent is shown only where it can be a name.
    let name = if name.parse::<AssistantName>().is_ok() { format!(" `{name}`") } else { String::new() };
    let message = format!("the model{name} does not exist: GET /v1/models lists those that do");
    TurnError::new(ErrorCode::AssistantNotFound, message).about("model").into()
}

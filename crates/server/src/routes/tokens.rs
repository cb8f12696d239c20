//! Short-lived bearers for browsers.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use chat::{AssistantName, ErrorCode, Permission, Timestamp, TurnError, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::body::{Body, given, whole};
use crate::error::ApiError;
use crate::middleware::auth::Who;
use crate::query::NoParams;
use crate::routes::reply;
use crate::token::Claims;

const SECONDS_MAX: u64 = 3600;
const ASSISTANTS_MAX: usize = 64;

/// A bearer to be issued.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewToken")]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Wanted {
    /// Whose conversations it sees.
    user: UserId,
    /// Which assistants it may use; those of the key when left out.
    #[serde(default, deserialize_with = "given")]
    #[schemars(length(min = 1, max = 64))]
    assistants: Option<Vec<AssistantName>>,
    /// For how many seconds it is good.
    #[serde(deserialize_with = "whole")]
    #[schemars(range(min = 1, max = 3600))]
    expires_in: u64,
}

/// A bearer for a browser.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(crate) struct Issued {
    /// What the browser sends as `Authorization: Bearer …`.
    token: String,
    /// When it ends.
    expires_at: Timestamp,
}

pub(super) async fn create(
    State(app): State<App>,
    _: NoParams,
    who: Who,
    Body { value, .. }: Body<Wanted>,
) -> Result<Response, ApiError> {
    who.must_be_key()?;
    who.must(Permission::Tokens)?;
    if !(1..=SECONDS_MAX).contains(&value.expires_in) {
        return Err(ApiError::invalid("expires_in", "`expires_in` must be 1 to 3600 seconds"));
    }
    let caller = who.caller();
    if let Some(names) = &value.assistants {
        if names.is_empty() || names.len() > ASSISTANTS_MAX {
            let message = "`assistants` must have 1 to 64 names; leave it out for all that the key may use";
            return Err(ApiError::invalid("assistants", message));
        }
        if let Some(name) = names.iter().find(|name| !caller.assistants.allows(name)) {
            let message = format!("this key may not use the assistant `{name}`");
            return Err(ApiError::new(ErrorCode::AssistantNotAllowed, message));
        }
        let catalog = app.engine.catalog();
        if let Some(name) = names.iter().find(|name| catalog.assistant(name).is_none()) {
            let message = format!("there is no assistant `{name}`");
            return Err(TurnError::new(ErrorCode::AssistantNotFound, message).about("assistants").into());
        }
    }
    let expires_at = Timestamp::now().plus(Duration::from_secs(value.expires_in));
    let claims = Claims {
        key: caller.key,
        tenant: caller.tenant.clone(),
        user: value.user,
        assistants: value.assistants,
        expires_at,
    };
    let token = claims.sign(&app.keys.secret().await?).map_err(ApiError::internal)?;
    Ok(reply::created(Issued { token, expires_at }))
}

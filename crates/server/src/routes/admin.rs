//! What operators ask of a running gateway.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chat::{AssistantName, KeyId, KeyRecord, NewKey, Permission, Permissions, TenantId, Timestamp};
use engine::Catalog;
use http::StatusCode;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::body::{Body, Object, OptionalBody, given, whole_given, words_given};
use crate::error::ApiError;
use crate::middleware::audit::About;
use crate::query::{Name, NoParams};
use crate::routes::chats::Nothing;
use crate::routes::reply;
use crate::text::{Line, NOT_BLANK};
use crate::{Budget, Limits, Reloaded, Reserve, Unknowable, hash_secret, new_secret};

pub(super) async fn providers(State(app): State<App>, _: NoParams) -> Result<impl IntoResponse, ApiError> {
    Ok(reply::list(app.engine.providers()))
}

pub(super) async fn reload(
    State(app): State<App>,
    _: NoParams,
    OptionalBody(_): OptionalBody<Nothing>,
) -> Result<Json<Reloaded>, ApiError> {
    let reloaded = app.back.reload.reload().await;
    reloaded.map(Json).map_err(|problem| ApiError::invalid("configuration", problem))
}

/// A key to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewKey", extend("anyOf" = [
    {"title": "No burst", "properties": {"burst": {"type": "null"}}},
    {"title": "A burst", "required": ["requests_per_minute"], "properties": {"requests_per_minute": {"type": "integer"}}},
]))]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Wanted {
    /// Its name, for logs and metrics.
    #[schemars(extend("pattern" = NOT_BLANK))]
    name: Line<128>,
    /// Whose conversations it sees; a tenant of its own, named like the key, when left out.
    #[serde(default, deserialize_with = "given")]
    tenant: Option<TenantId>,
    /// Which assistants it may use; all when left out.
    #[serde(default, deserialize_with = "given")]
    assistants: Option<Vec<AssistantName>>,
    /// What else it may do.
    #[serde(default, deserialize_with = "words_given")]
    may: Option<Vec<Permission>>,
    /// Whether the admin routes are open to it.
    #[serde(default, deserialize_with = "given")]
    admin: Option<bool>,
    /// When it ends; must lie ahead.
    #[serde(default, deserialize_with = "given")]
    expires_at: Option<Timestamp>,
    /// Requests per minute on average; no limit when left out.
    #[serde(default, deserialize_with = "whole_given")]
    #[schemars(range(min = 1))]
    requests_per_minute: Option<u32>,
    /// Requests at once after a pause; a tenth of `requests_per_minute`, at least 1, when left out.
    #[serde(default, deserialize_with = "whole_given")]
    #[schemars(range(min = 1))]
    burst: Option<u32>,
    /// Turns that may run at once; no limit when left out.
    #[serde(default, deserialize_with = "whole_given")]
    #[schemars(range(min = 1))]
    concurrent_turns: Option<u32>,
    /// What may be spent per day or month.
    #[serde(default, deserialize_with = "given")]
    budgets: Option<Vec<Object<Budget>>>,
    /// What is set aside for each running turn.
    #[serde(default, deserialize_with = "given")]
    reserve: Option<Object<Reserve>>,
    /// The limits are counted and shown, not enforced.
    #[serde(default, deserialize_with = "given")]
    shadow: Option<bool>,
}

/// A key as admins see it: with its secret once, when it was made.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(crate) struct Shown {
    /// Its id.
    id: KeyId,
    /// Always `key`.
    #[schemars(extend("const" = "key"))]
    object: &'static str,
    /// Its name, for logs and metrics.
    name: String,
    /// Whose conversations it sees.
    tenant: TenantId,
    /// Which assistants it may use; null: all.
    assistants: Option<Vec<AssistantName>>,
    /// What else it may do.
    may: Permissions,
    /// Whether the admin routes are open to it.
    admin: bool,
    /// When it was made.
    created_at: Timestamp,
    /// When it ends.
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    revoked_at: Option<Timestamp>,
    /// Requests per minute on average; null: no limit.
    requests_per_minute: Option<u32>,
    /// Requests at once after a pause; null: a tenth of `requests_per_minute`, at least 1.
    burst: Option<u32>,
    /// Turns that may run at once; null: no limit.
    concurrent_turns: Option<u32>,
    /// What may be spent per day or month.
    budgets: Vec<Budget>,
    /// What is set aside for each running turn.
    reserve: Reserve,
    /// The limits are counted and shown, not enforced.
    shadow: bool,
    /// What clients authenticate with: shown once, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl Shown {
    fn new(record: KeyRecord, secret: Option<String>) -> Self {
        let KeyRecord { id, key, created_at, revoked_at } = record;
        let limits: Limits = serde_json::from_str(&key.limits).unwrap_or_default();
        Self {
            id,
            object: "key",
            name: key.name,
            tenant: key.tenant,
            assistants: key.assistants,
            may: key.may,
            admin: key.admin,
            created_at,
            expires_at: key.expires_at,
            revoked_at,
            requests_per_minute: limits.requests_per_minute,
            burst: limits.burst,
            concurrent_turns: limits.concurrent_turns,
            budgets: limits.budgets,
            reserve: limits.reserve,
            shadow: limits.shadow,
            secret,
        }
    }
}

pub(super) async fn keys(State(app): State<App>, _: NoParams) -> Result<impl IntoResponse, ApiError> {
    let records = app.back.maintenance.keys().await?;
    Ok(reply::list(records.into_iter().map(|record| Shown::new(record, None)).collect()))
}

pub(super) async fn create_key(
    State(app): State<App>,
    _: NoParams,
    Body { value, .. }: Body<Wanted>,
) -> Result<Response, ApiError> {
    let now = Timestamp::now();
    let Line(name) = value.name;
    if name.trim().is_empty() {
        return Err(ApiError::invalid("name", "`name` must not be empty"));
    }
    if value.expires_at.is_some_and(|end| end <= now) {
        return Err(ApiError::invalid("expires_at", "`expires_at` must lie ahead"));
    }
    let limits = Limits {
        requests_per_minute: value.requests_per_minute,
        burst: value.burst,
        concurrent_turns: value.concurrent_turns,
        budgets: value.budgets.unwrap_or_default().into_iter().map(|Object(budget)| budget).collect(),
        reserve: value.reserve.map(|Object(reserve)| reserve).unwrap_or_default(),
        shadow: value.shadow.unwrap_or(false),
    };
    limits.check().map_err(|error| ApiError::invalid(&error.param, error.to_string()))?;
    possible(&app.engine.catalog(), value.assistants.as_deref(), &limits)?;
    // A tenant's name may be all that a key's name may be, and no more.
    let own =
        name.parse().map_err(|_| ApiError::invalid("name", "`name` cannot be a tenant's: give a `tenant`"));
    let secret = new_secret();
    let key = NewKey {
        hash: hash_secret(secret.expose_secret()),
        tenant: value.tenant.map_or(own, Ok)?,
        name,
        assistants: value.assistants,
        may: value.may.unwrap_or_default().into_iter().collect(),
        admin: value.admin.unwrap_or(false),
        expires_at: value.expires_at,
        limits: serde_json::to_string(&limits).map_err(ApiError::internal)?,
    };
    let record = app.back.maintenance.create_key(key, now).await?;
    let about =
        About { key: record.id, name: record.key.name.as_str().into(), tenant: record.key.tenant.clone() };
    let mut response = reply::created(Shown::new(record, Some(secret.expose_secret().to_owned())));
    response.extensions_mut().insert(about);
    Ok(response)
}

/// Whether the gateway has these assistants (all that it has, when left out), and can keep the key's budgets for them.
fn possible(
    catalog: &Catalog,
    assistants: Option<&[AssistantName]>,
    limits: &Limits,
) -> Result<(), ApiError> {
    let all = assistants.unwrap_or_default();
    if let Some((index, name)) = all.iter().enumerate().find(|(_, name)| catalog.assistant(name).is_none()) {
        let param = format!("assistants[{index}]");
        return Err(ApiError::invalid(&param, format!("`{param}`: there is no assistant `{name}`")));
    }
    let its = catalog.assistants().filter(|one| assistants.is_none_or(|names| names.contains(&one.name)));
    match limits.unknowable(its.map(AsRef::as_ref)).into_iter().next() {
        Some(Unknowable { param, problem }) => {
            Err(ApiError::invalid(&param, format!("`{param}`: {problem}")))
        }
        None => Ok(()),
    }
}

pub(super) async fn revoke_key(
    State(app): State<App>,
    _: NoParams,
    Name(id): Name<KeyId>,
) -> Result<Response, ApiError> {
    let record = app.back.maintenance.revoke_key(id, Timestamp::now()).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let about = About { key: record.id, name: record.key.name.into(), tenant: record.key.tenant };
    response.extensions_mut().insert(about);
    Ok(response)
}

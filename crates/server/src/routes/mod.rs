//! Every route of the API.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use chat::ErrorCode;
use http::{Method, StatusCode};

use crate::app::App;
use crate::error::ApiError;
use crate::openai;
use crate::openapi;
use crate::scrape;
use crate::stack::{Face, stack};

pub(crate) mod admin;
mod assistants;
pub(crate) mod chats;
pub(crate) mod conversations;
mod export;
pub(crate) mod health;
pub(crate) mod messages;
pub(crate) mod reply;
pub(crate) mod said;
pub(crate) mod tokens;
mod usage;

/// What clients call.
pub(crate) fn clients(app: &App) -> Router {
    let closed = Router::new()
        .route("/v1/chat", post(chats::create))
        .route("/v1/chat/{turn_id}", get(chats::read))
        .route("/v1/chat/{turn_id}/events", get(chats::events))
        .route("/v1/chat/{turn_id}/cancel", post(chats::cancel))
        .route(
            "/v1/conversations",
            post(conversations::create).get(conversations::list).delete(conversations::delete_all),
        )
        .route(
            "/v1/conversations/{id}",
            get(conversations::read).patch(conversations::change).delete(conversations::delete),
        )
        .route("/v1/conversations/{id}/messages", get(messages::list).post(messages::put))
        .route("/v1/conversations/{id}/fork", post(conversations::fork))
        .route("/v1/conversations/{id}/export", get(export::export))
        .route("/v1/conversations/{id}/sync", post(conversations::sync))
        .route("/v1/tokens", post(tokens::create))
        .route("/v1/assistants", get(assistants::list))
        .route("/v1/assistants/{name}", get(assistants::read))
        .route("/v1/assistants/{name}/conversations", get(assistants::conversations))
        .route("/v1/usage", get(usage::of_tenant))
        .merge(openai::routes());
    let open = Router::new()
        .route("/openapi.json", get(openapi::json))
        .route("/docs", get(openapi::page))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz));
    stack(app, Face::Clients, with_fallbacks(closed), with_fallbacks_of_methods(open))
}

/// What admins call.
pub(crate) fn admins(app: &App) -> Router {
    let closed = Router::new()
        .route("/admin/providers", get(admin::providers))
        .route("/admin/keys", get(admin::keys).post(admin::create_key))
        .route("/admin/keys/{id}", delete(admin::revoke_key))
        .route("/admin/reload", post(admin::reload))
        .route("/admin/usage", get(usage::of_all));
    let open = Router::new().route("/metrics", get(scrape::metrics));
    stack(app, Face::Admins, with_fallbacks(closed), with_fallbacks_of_methods(open))
}

fn with_fallbacks(routes: Router<App>) -> Router<App> {
    with_fallbacks_of_methods(routes).fallback(no_route)
}

fn with_fallbacks_of_methods(routes: Router<App>) -> Router<App> {
    routes.method_not_allowed_fallback(no_method)
}

async fn no_route() -> ApiError {
    ApiError::new(ErrorCode::RouteNotFound, "there is no such path")
}

/// The router adds `allow` to this answer.
async fn no_method(request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let message = format!("this path does not take {}: see `allow`", request.method());
    ApiError::new(ErrorCode::MethodNotAllowed, message).into_response()
}

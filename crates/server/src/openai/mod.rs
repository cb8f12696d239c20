//! OpenAI's dialect: Chat Completions, models, Responses and Conversations, over the same turns as the native API.
//!
//! Nothing is kept for it alone: a completion's and a response's id is the turn's with another prefix, what a stream says is drawn
//! from the turn's event log, and a response's conversation is the turn's. All of it stands under `/v1` and under `/openai/v1`, but
//! for `/v1/conversations`, which is the native one.
//!
//! Where we differ from OpenAI: errors have this gateway's types and codes; an answer has `sources` where the assistant names any;
//! a broken answer is an error and never a part of a reply.

pub(crate) mod completions;
pub(crate) mod conversations;
pub(crate) mod item;
pub(crate) mod models;
mod parameters;
pub(crate) mod responses;
mod said;
mod sent;
mod shape;
mod watch;

use axum::Router;
use axum::routing::{get, post};
use chat::TurnError;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;

/// Whose words an answer is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Ours.
    Native,
    /// OpenAI's.
    OpenAi,
}

impl Dialect {
    /// The dialect of a path, also of one that is refused before it reaches its route.
    pub(crate) fn of(path: &str) -> Self {
        let beneath =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let roots = ["/openai", "/v1/chat/completions", "/v1/models", "/v1/responses"];
        if roots.into_iter().any(beneath) { Self::OpenAi } else { Self::Native }
    }
}

/// The dialect's routes.
pub(crate) fn routes() -> Router<App> {
    let both = || {
        Router::new()
            .route("/v1/chat/completions", post(completions::create))
            .route("/v1/models", get(models::list))
            .route("/v1/models/{name}", get(models::read))
            .route("/v1/responses", post(responses::create))
            .route("/v1/responses/{id}", get(responses::read).delete(responses::delete))
            .route("/v1/responses/{id}/cancel", post(responses::cancel))
            .route("/v1/responses/{id}/input_items", get(responses::input_items))
    };
    let own = Router::new()
        .route("/v1/conversations", post(conversations::create))
        .route(
            "/v1/conversations/{id}",
            get(conversations::read).post(conversations::change).delete(conversations::delete),
        )
        .route("/v1/conversations/{id}/items", get(conversations::items).post(conversations::put_items))
        .route(
            "/v1/conversations/{id}/items/{item}",
            get(conversations::item).delete(conversations::delete_item),
        );
    both().nest("/openai", both().merge(own))
}

/// An error in OpenAI's form.
pub(crate) fn failure(error: &TurnError) -> Vec<u8> {
    serde_json::to_vec(&Failure { error: Shown::from(error) }).unwrap_or_default()
}

/// An answer to a request that went wrong, or the last event of a stream that did.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OpenAiError")]
pub(crate) struct Failure<'a> {
    /// What went wrong.
    error: Shown<'a>,
}

/// OpenAI's error object.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OpenAiErrorDetail")]
pub(crate) struct Shown<'a> {
    /// A sentence for people.
    message: &'a str,
    /// What sort of answer it wants.
    r#type: chat::ErrorKind,
    /// The field, parameter or header that is at fault.
    param: Option<&'a str>,
    /// Which error: the gateway's own codes.
    code: chat::ErrorCode,
}

impl<'a> From<&'a TurnError> for Shown<'a> {
    fn from(error: &'a TurnError) -> Self {
        Self { message: &error.message, r#type: error.kind, param: error.param.as_deref(), code: error.code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_dialect() {
        for path in
            ["/v1/chat/completions", "/v1/models", "/v1/models/a", "/v1/responses/x/cancel", "/openai/v1/x"]
        {
            assert_eq!(Dialect::of(path), Dialect::OpenAi, "{path}");
        }
        for path in ["/v1/chat", "/v1/chat/turn_1", "/v1/conversations", "/v1/modelsx", "/livez", "/openaix"]
        {
            assert_eq!(Dialect::of(path), Dialect::Native, "{path}");
        }
    }
}

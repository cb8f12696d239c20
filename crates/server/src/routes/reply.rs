//! The shapes that several routes answer with.

use axum::Json;
use axum::response::{IntoResponse, Response};
use chat::{Page, Turn};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{TURN_ID, insert};

/// A list, or a page of one.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub(crate) struct List<T> {
    /// Always `list`.
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    /// What is on this page.
    data: Vec<T>,
    /// Whether there are further pages.
    has_more: bool,
    /// Where the next one begins: the `cursor` to ask with.
    next_cursor: Option<String>,
}

/// A page of a list.
pub(crate) fn page<T: Serialize>(page: Page<T>) -> Json<List<T>> {
    let Page { items, next_cursor } = page;
    Json(List { object: "list", data: items, has_more: next_cursor.is_some(), next_cursor })
}

/// A list that is whole.
pub(crate) fn list<T: Serialize>(items: Vec<T>) -> Json<List<T>> {
    page(Page { items, next_cursor: None })
}

/// Something that was made.
pub(crate) fn created<T: Serialize>(thing: T) -> Response {
    (StatusCode::CREATED, Json(thing)).into_response()
}

/// A turn.
pub(crate) fn turn(turn: &Turn) -> Response {
    let mut response = Json(turn).into_response();
    insert(response.headers_mut(), TURN_ID, &turn.id.to_string());
    response
}

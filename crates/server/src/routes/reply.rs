//! The shapes that several routes answer with.

use axum::Json;
use axum::response::{IntoResponse, Response};
use chat::{Page, Turn};
use http::StatusCode;
use serde::Serialize;

use crate::error::{TURN_ID, insert};

/// The contract's list.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
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

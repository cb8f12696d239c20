//! The simulator's own paths, under `/_simulator`: what it was asked, and what can be asked of it.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::exchange::note;
use crate::faults::{SHAPES, TABLE};
use crate::world::World;
use crate::{PROVIDERS, Provider};

/// The routes, and the front page.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/", get(front))
        .route("/_simulator/calls", get(calls).delete(clear))
        .route("/_simulator/faults", get(faults))
        .route("/_simulator/release", post(release))
        .route("/_simulator/redirected", axum::routing::any(redirected))
}

/// Which calls to show.
#[derive(Deserialize)]
struct Wanted {
    upstream_id: Option<String>,
    provider: Option<String>,
}

async fn calls(State(world): State<Arc<World>>, Query(wanted): Query<Wanted>) -> Json<Value> {
    let mut calls = world.journal.calls();
    calls.retain(|call| wanted.upstream_id.is_none() || call.upstream_id == wanted.upstream_id);
    calls.retain(|call| wanted.provider.as_deref().is_none_or(|provider| call.provider == provider));
    Json(json!({"totals": world.journal.totals(), "calls": calls}))
}

async fn clear(State(world): State<Arc<World>>) -> StatusCode {
    world.journal.clear();
    StatusCode::NO_CONTENT
}

async fn faults() -> Json<Value> {
    let faults: Vec<_> = TABLE.iter().map(|(id, meaning)| json!({"id": id, "meaning": meaning})).collect();
    let shape = |(provider, id, meaning): &(&str, &str, &str)| {
        let provider = if provider.is_empty() { Value::Null } else { (*provider).into() };
        json!({"provider": provider, "id": format!("shape-{id}"), "meaning": meaning})
    };
    let shapes: Vec<_> = SHAPES.iter().map(shape).collect();
    Json(json!({"faults": faults, "shapes": shapes}))
}

/// Which answers to let go on.
#[derive(Deserialize)]
struct Held {
    upstream_id: String,
}

async fn release(State(world): State<Arc<World>>, Query(held): Query<Held>) -> StatusCode {
    world.holds.release(&held.upstream_id);
    StatusCode::NO_CONTENT
}

/// Where `fault-redirect` points. Nobody who holds a key should come here.
async fn redirected(State(world): State<Arc<World>>, request: Request) -> Response {
    let (head, _body) = request.into_parts();
    note(&world, &head, 200);
    Response::new("You have followed a redirect.".into())
}

async fn front() -> String {
    let mut page = String::from("Simulated assistant services:\n\n");
    for Provider { name, path, assistants } in PROVIDERS {
        page.push_str(&format!("{name:18}{path:24}{}\n", assistants.join(", ")));
    }
    page.push_str("\nKey: sim-key. GET /_simulator/faults lists the ids that make things go wrong,\n");
    page.push_str("GET /_simulator/calls what was asked.\n");
    page
}

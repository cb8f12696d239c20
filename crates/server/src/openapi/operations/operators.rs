//! Health, the document itself, and what admins ask.

use chat::ErrorCode as E;
use chat::{KeyId, UsageSum};
use engine::ProviderView;
use serde_json::json;

use super::super::operation::{Door, Operation, operation};
use super::super::schemas::Schemas;
use super::conversations::time;
use crate::Reloaded;
use crate::routes::admin::{Shown, Wanted};
use crate::routes::chats::Nothing;
use crate::routes::health::Health;
use crate::routes::reply::List;

const HEALTH: &str = "Health";
const ADMIN: &str = "Admin";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    [of_health(schemas), of_admins(schemas)].into_iter().flatten().collect()
}

fn of_health(schemas: &mut Schemas) -> Vec<Operation> {
    let health = schemas.answered::<Health>();
    vec![
        operation("GET /livez", "live", HEALTH, Door::Open).does("Ask whether the process lives", "").json(
            200,
            "It does.",
            health.clone(),
        ),
        operation("GET /readyz", "ready", HEALTH, Door::Open)
            .does("Ask whether it takes turns", "It is configured, does not drain, and its store answers.")
            .json(200, "It does.", health)
            .fails(&[E::Draining, E::StoreUnavailable]),
        operation("GET /openapi.json", "readDescription", HEALTH, Door::Open)
            .does("Read this document", "")
            .json(200, "OpenAPI 3.1.", json!({"type": "object", "required": ["openapi", "info", "paths"]})),
        operation("GET /docs", "readDocs", HEALTH, Door::Open)
            .does("Read and try the API in a browser", "A page without any asset from elsewhere.")
            .content(200, "The page.", "text/html; charset=utf-8", json!({"schema": {"type": "string"}})),
    ]
}

fn of_admins(schemas: &mut Schemas) -> Vec<Operation> {
    let admin = |route, name| operation(route, name, ADMIN, Door::Admins);
    vec![
        operation("GET /metrics", "readMetrics", ADMIN, Door::OpenToAdmins)
            .does("Read the metrics", "The text that Prometheus reads. Needs no key.")
            .content(
                200,
                "The metrics: every name begins with `switchboard_`.",
                "text/plain; version=0.0.4; charset=utf-8",
                json!({"schema": {"type": "string"}}),
            ),
        admin("GET /admin/providers", "listProviders")
            .does("List providers", "Their breakers, calls under way and last errors.")
            .json(200, "All of them.", schemas.answered::<List<ProviderView>>()),
        admin("GET /admin/keys", "listKeys")
            .does("List the store's keys", "Newest first, revoked ones too; never their secrets.")
            .json(200, "All of them.", schemas.answered::<List<Shown>>()),
        admin("POST /admin/keys", "createKey")
            .does("Make a key", "It works at once. The answer has its secret, once.")
            .body(schemas.asked::<Wanted>())
            .json(201, "The key.", schemas.answered::<Shown>())
            .leads_to("id", &["revokeKey"]),
        admin("DELETE /admin/keys/{id}", "revokeKey")
            .does(
                "Revoke a key",
                "It stops working within a second: its readers are cut off, its running turns finish.",
            )
            .path("id", schemas.asked::<KeyId>(), E::RouteNotFound)
            .empty(204, "It is revoked."),
        admin("POST /admin/reload", "reload")
            .does(
                "Read the configuration again",
                "Puts keys, assistants, providers and limits in force; a broken file changes nothing and is a 400 that says why.",
            )
            .optional_body(schemas.asked::<Nothing>())
            .json(200, "What is in force now.", schemas.answered::<Reloaded>()),
        admin("GET /admin/usage", "readUsageOfAll")
            .does("Read what was used", "All tenants' sums by day, assistant and provider.")
            .query("since", "From this day on.", time())
            .query("until", "To this day, it included.", time())
            .json(200, "The sums, with `tenant`.", schemas.answered::<List<UsageSum>>()),
    ]
}

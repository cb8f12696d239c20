//! The inbound onion: every layer, outermost first, with the reason why it stands there.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use http::HeaderName;
use http::header::AUTHORIZATION;
use tower::ServiceBuilder;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

use crate::app::App;
use crate::around::around;
use crate::middleware::{
    audit, auth, catch_panic, compress, cors, load_shed, rate_limit, request_id, trace, unread,
};

/// Who calls at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// Clients, each within its key's limits.
    Clients,
    /// Admins, also when there is more to do than can be done.
    Admins,
}

/// Puts the layers around the routes. `open` are the routes that need no key; they join behind `auth`, so that whatever is new is
/// closed unless somebody opens it.
pub(crate) fn stack(app: &App, face: Face, closed: Router<App>, open: Router<App>) -> Router {
    let secret = [AUTHORIZATION, HeaderName::from_static("x-api-key")];
    let state = || app.clone();
    let inner = ServiceBuilder::new()
        // Nobody gets further without being known: not even to a 404.
        .layer(around(state(), auth::auth))
        // Behind auth, because it counts by key.
        .option_layer((face == Face::Clients).then(|| around(state(), rate_limit::rate_limit)))
        // Around the check for admins: who tried and may not is worth a line, too.
        .option_layer((face == Face::Admins).then(|| around((), audit::audit)))
        .option_layer((face == Face::Admins).then(|| around((), auth::admin)));
    let outer = ServiceBuilder::new()
        // First, so that everything below can name the request.
        .layer(around((), request_id::name))
        // Before the span, so that no layer below can print a key by accident.
        .layer(SetSensitiveRequestHeadersLayer::new(secret))
        // Around all that takes time or can fail, so that every answer has its line in the log.
        .layer(around(state(), trace::trace))
        // Around the echo, so that it sees the bodies of errors, too; inside the span, because it takes time.
        .layer(around((), compress::compress))
        // Inside the span, around all that answers: it writes the bodies of errors, which have the request's id in them.
        .layer(around((), request_id::echo))
        // Inside the echo, so that a fault of ours is an answer like any other.
        .layer(around((), catch_panic::catch_panic))
        // Around all that refuses: whoever is refused with a body unread can go on with the connection.
        .layer(around(state(), unread::read_out))
        // Before auth: a preflight has no key. Before load shed: a browser is to see the 503, too.
        .layer(around(state(), cors::cors))
        // Before anything that costs: work that cannot be done is refused while that is cheap.
        .option_layer((face == Face::Clients).then(|| around(state(), load_shed::load_shed)))
        // Sets the bound that whoever reads a body keeps; nothing reads one before auth.
        .layer(DefaultBodyLimit::max(app.front.config.body_bytes_max));
    closed.layer(inner).merge(open).layer(outer).with_state(app.clone())
}

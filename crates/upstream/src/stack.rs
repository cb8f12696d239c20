//! The outgoing onion.

use std::sync::Arc;

use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder};
use tracing::Instrument;
use tracing::field::Empty;

use crate::around::{around, call};
use crate::attempt::{Answer, Attempt};
use crate::breaker::Breaker;
use crate::permit::Places;
use crate::retry::Policy;
use crate::{Client, Config, Failure, Response, breaker, client, judge, permit, watch};

/// All layers over a client.
pub(crate) type Stack = BoxCloneSyncService<Attempt, Response, Failure>;

/// The onion, outermost first.
pub(crate) fn build(
    config: &Config,
    policy: Policy,
    breaker: Arc<Breaker>,
    places: Arc<Places>,
    client: Client,
) -> Stack {
    let onion = ServiceBuilder::new()
        // Around everything, so that one span holds a call with all its attempts and pauses.
        .layer(around(Arc::<str>::from(config.name.as_str()), trace))
        // Outside the breaker, so that every attempt asks it anew; outside the permit, so that none is held through a pause.
        .retry(policy)
        // Outside the permit: a call that is not let through must not first wait for a place. Inside retry: it counts attempts.
        .layer(around(breaker, breaker::guard))
        // Outside the permit, which the body that is read here holds; inside the breaker, which goes by what is found.
        .layer(around((), judge::judge))
        // Outside the clocks: waiting for a place is not the upstream's silence. It rides in the body, since a stream is under
        // way until its body ends, not until its head came.
        .layer(around(places, permit::hold))
        // For each attempt anew: the time that an earlier one took is not this one's.
        .layer(around(config.headers_timeout, watch::headers))
        // Next to the client, so that nobody above sees a body without clocks.
        .layer(around(config.idle_timeout, watch::body))
        // An attempt becomes a request.
        .layer(around(Arc::new(config.headers.clone()), client::address))
        .service(client);
    BoxCloneSyncService::new(onion)
}

/// A span over a call. Of what it carries only the path is told: neither query nor headers nor bodies.
///
/// For whoever looks closely: all that is said within it is said to them alone, and a span costs more than sending.
async fn trace<S>(provider: Arc<str>, attempt: Attempt, next: S) -> Result<Response, Failure>
where
    S: Service<Attempt, Response = Answer, Error = Failure>,
{
    let journey = attempt.journey.clone();
    let span = tracing::debug_span!(
        "upstream",
        provider.name = &*provider,
        http.method = %journey.call.method,
        url.path = journey.uri.path(),
        http.status = Empty,
        attempts = Empty,
        failure = Empty,
    );
    let result = call(next, attempt).instrument(span.clone()).await;
    if span.is_disabled() {
        return result.map(|answer| answer.response);
    }
    span.record("attempts", journey.sent());
    match &result {
        Ok(answer) => {
            span.record("http.status", answer.response.status.as_u16());
        }
        Err(failure) => {
            if let Failure::Refused(refusal) = failure {
                span.record("http.status", refusal.status.as_u16());
            }
            span.record("failure", tracing::field::display(failure));
        }
    }
    result.map(|answer| answer.response)
}

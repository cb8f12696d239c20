//! One provider's way out.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::Uri;
use tokio::time::Instant;
use tower::ServiceExt;

use crate::attempt::{Attempt, Journey};
use crate::breaker::{Breaker, Hint};
use crate::permit::Places;
use crate::retry::Policy;
use crate::stack::Stack;
use crate::{
    Answered, Authorities, BuildError, Call, Client, Clock, Config, Failure, Lost, Response, client, stack,
};

/// One provider's way out: a pooled client behind the outgoing layers. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    /// Without a slash at the end.
    base_url: Arc<str>,
    stack: Stack,
    /// The same that the stack goes by: one budget for all.
    policy: Policy,
    breaker: Arc<Breaker>,
    places: Arc<Places>,
    /// The path that was asked for last, and the URL that it makes: most providers have but one.
    last: Arc<Mutex<Option<(String, Uri)>>>,
}

/// How an upstream is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The breaker: `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Calls under way, bodies included.
    pub in_flight: usize,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// In words, without anything that the upstream said.
    pub what: String,
    /// When.
    pub at: SystemTime,
}

impl Upstream {
    /// Makes the client and its layers.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn open(config: Config) -> Result<Self, BuildError> {
        Self::open_with(config, &Authorities::default())
    }

    /// The same, with the machine's authorities as others of these found them.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn open_with(config: Config, authorities: &Authorities) -> Result<Self, BuildError> {
        let client = client::open(&config, authorities)?;
        Self::with_client(config, client)
    }

    /// The same layers over another client: for tests, which put a scripted one in and pause the clock. Of the configuration,
    /// `connect_timeout`, `proxy` and `ca_file` are the real client's and mean nothing here.
    ///
    /// # Errors
    /// The base URL cannot be used.
    #[expect(clippy::needless_pass_by_value, reason = "takes what `open` takes")]
    pub fn with_client(config: Config, client: Client) -> Result<Self, BuildError> {
        let base_url = base_url(&config.base_url).ok_or(BuildError::BaseUrl)?;
        let breaker = Arc::new(Breaker::new(&config));
        let places = Arc::new(Places::new(&config));
        let policy = Policy::new(&config.name, &config.retry);
        let stack = stack::build(&config, policy.clone(), breaker.clone(), places.clone(), client);
        Ok(Self { base_url: base_url.into(), stack, policy, breaker, places, last: Arc::default() })
    }

    /// Makes a call: resolves with the head of a 2xx answer, after as many attempts as it takes and may. A call with a
    /// classifier resolves once the first piece of the body is there as well; an answer that is a failure in disguise is
    /// given like any other when nothing is left to try.
    ///
    /// Dropped before, the request is cancelled.
    ///
    /// # Errors
    /// The last attempt's failure: of those that were sent, if any was.
    pub async fn send(&self, call: Call) -> Result<Response, Failure> {
        let uri = self.uri(&call.path)?;
        let journey = Journey::new(call, uri);
        if Instant::now() >= journey.deadline {
            return Err(Failure::TimedOut(Clock::Total));
        }
        self.stack.clone().oneshot(Attempt { journey: Arc::new(journey), number: 1 }).await
    }

    fn uri(&self, path: &str) -> Result<Uri, Failure> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, uri)) = last.as_ref().filter(|(last, _)| last == path) {
            return Ok(uri.clone());
        }
        // A path that makes no URL is our own mistake; nothing is sent, now or later.
        let uri: Uri = format!("{}{path}", self.base_url).parse().map_err(|_| Failure::Unreachable)?;
        *last = Some((path.to_owned(), uri.clone()));
        Ok(uri)
    }

    /// Makes a call again whose answer was `lost` after its head had come, before anything of it counted: by the same rules as
    /// attempts that fail before their answer, and counted with them (who may be sent again, how often, budget, deadline).
    ///
    /// None when nothing was sent: it is not to be made again, or was not let through. What was lost is then the call's result.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub async fn again(&self, answered: &Answered, lost: Lost) -> Option<Result<Response, Failure>> {
        let (attempt, pause) = self.policy.again(answered, lost)?;
        pause.await;
        match self.stack.clone().oneshot(attempt).await {
            Err(Failure::BreakerOpen { .. } | Failure::Paused { .. } | Failure::NoPlace) => None,
            result => Some(result),
        }
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { breaker: self.breaker.status(), in_flight: self.places.taken() }
    }

    /// How long a call made now would be refused for, because the breaker is open; none when it would be sent.
    #[must_use]
    pub fn closed_for(&self) -> Option<Duration> {
        self.breaker.closed_for()
    }

    /// Another process that asks the same upstream has learnt this of it. It is not passed on.
    pub fn hint(&self, hint: Hint) {
        self.breaker.hint(hint);
    }

    /// Tells `listener` what is learnt of it here and others should know: that the breaker has opened, that the upstream asked for a
    /// pause. The first listener stands. It is called while a call is at work, and must not wait.
    pub fn on_hint(&self, listener: impl Fn(Hint) + Send + Sync + 'static) {
        self.breaker.listen(Box::new(listener));
    }

    /// What went wrong last; none if nothing did since it was made.
    #[must_use]
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.breaker.last_failure()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// The URL without a slash at the end; none if it is no HTTP URL, or has a query.
fn base_url(url: &Uri) -> Option<String> {
    let scheme = url.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = url.authority()?;
    url.query().is_none().then(|| format!("{scheme}://{authority}{}", url.path().trim_end_matches('/')))
}

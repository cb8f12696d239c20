//! The way out: clocks, retries and the breaker with time paused over a scripted client; what connections do over real sockets.

mod again;
mod breaker;
mod clocks;
mod permit;
mod retry;
mod sockets;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::time::Instant;
use tower::util::service_fn;
use upstream::{
    Body, BreakerConfig, Call, Client, Config, Failure, Observer, Repeat, Response, Retried, RetryConfig,
    Upstream,
};

/// The defaults of `[defaults]`, but with a breaker that never opens.
fn config() -> Config {
    Config {
        name: "scripted".to_owned(),
        base_url: "http://upstream.test/v1".parse().unwrap(),
        headers: HeaderMap::new(),
        connect_timeout: Duration::from_secs(5),
        headers_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        retry: RetryConfig {
            attempts_max: 3,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(32),
            budget_percent: 20,
            ambiguous: false,
        },
        breaker: BreakerConfig {
            window: Duration::from_secs(30),
            failures: 2.0,
            minimum: 10,
            cool_down: Duration::from_secs(15),
        },
        max_concurrency: 256,
        requests_per_minute: 0,
        proxy: None,
        ca_file: None,
    }
}

/// A call that may take so long.
fn call(total: Duration) -> Call {
    Call {
        method: Method::POST,
        path: "/chat".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        repeat: Repeat::Harmless,
        headers_clock: true,
        one_piece: None,
        classifier: None,
        observer: None,
        deadline: (Instant::now() + total).into_std(),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// What a scripted client does with a request.
enum Step {
    Answer(Box<http::Response<Body>>),
    Fail(Failure),
    /// Neither answers nor fails.
    Hang,
}

/// What was sent when, since the script was made.
#[derive(Debug, Clone)]
struct Sent {
    began: Instant,
    at: Arc<Mutex<Vec<Duration>>>,
}

impl Sent {
    fn times(&self) -> Vec<Duration> {
        self.at.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.times().len()
    }
}

/// An upstream whose client does what the script says for the first, second, … request.
fn scripted(config: Config, script: impl Fn(usize) -> Step + Send + Sync + 'static) -> (Upstream, Sent) {
    let sent = Sent { began: Instant::now(), at: Arc::default() };
    let (log, script) = (sent.clone(), Arc::new(script));
    let client = Client::new(service_fn(move |request: Request<Bytes>| {
        assert_eq!(request.uri(), "http://upstream.test/v1/chat");
        let number = {
            let mut at = log.at.lock().unwrap();
            at.push(log.began.elapsed());
            at.len() - 1
        };
        let step = script(number);
        async move {
            match step {
                Step::Answer(response) => Ok(*response),
                Step::Fail(failure) => Err(failure),
                Step::Hang => std::future::pending().await,
            }
        }
    }));
    (Upstream::with_client(config, client).unwrap(), sent)
}

/// An answer with this body.
fn answer(status: u16, body: &'static str) -> Step {
    answer_with(status, &[], stream::iter([Ok(Bytes::from_static(body.as_bytes()))]))
}

/// An answer with these headers and no body.
fn bare(status: u16, headers: &[(&'static str, &str)]) -> Step {
    answer_with(status, headers, stream::empty())
}

fn answer_with(
    status: u16,
    headers: &[(&'static str, &str)],
    body: impl futures_util::Stream<Item = Result<Bytes, Failure>> + Send + 'static,
) -> Step {
    let mut response = http::Response::new(Body::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    Step::Answer(Box::new(response))
}

async fn text(response: Response) -> String {
    String::from_utf8(response.whole(1 << 20).await.unwrap().to_vec()).unwrap()
}

/// The status of a refusal.
fn refused(result: Result<Response, Failure>) -> u16 {
    match result {
        Err(Failure::Refused(refusal)) => refusal.status.as_u16(),
        other => panic!("no refusal: {other:?}"),
    }
}

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<Note>>);

#[derive(Debug, Clone)]
enum Note {
    Began,
    Failed(Retried),
}

impl Observer for Notes {
    fn began(&self) {
        self.0.lock().unwrap().push(Note::Began);
    }

    fn failed(&self, retried: Retried) {
        self.0.lock().unwrap().push(Note::Failed(retried));
    }
}

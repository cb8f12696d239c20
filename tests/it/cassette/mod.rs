//! Cassettes: what a provider was asked, what it answered, and what came of it, in files.
//!
//! `tests/cassettes/<kind>/<scenario>/` holds
//!
//! - `request.json`: `settings` (the provider's table of the configuration, with `api_key = "test-key"` where it needs one) and one of
//!   `answer` (a [`chat::Request`] in short: `upstream_id`, `system`, `history` of `{role, author, text}`, `message` (a text or parts),
//!   `user`, `thread` of `{id, fresh}`, `context_messages`, `search_filters`, `metadata`, `stream`, `extension`), `inject`, `history`,
//!   `conversations`, `probe`;
//! - `response.http`: comment lines (`# Made from …`: where the answer comes from; `# end: broken` for a transfer that breaks), a status
//!   line, headers, an empty line, and the body to the last byte. Further calls are answered by `response.2.http`, …;
//! - `request.snap`, `events.snap`: what we send, and what we make of the answer. `BLESS=1` writes them.

mod asked;
mod shown;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chat::{Piece, ProviderError};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tower::util::service_fn;

use asked::Asked;
use shown::without_random_ids;

/// A folder of files, read.
pub(crate) struct Cassette {
    pub(crate) kind: String,
    pub(crate) folder: PathBuf,
    pub(crate) asked: Asked,
    pub(crate) responses: Vec<Canned>,
}

/// An answer as it comes over the wire: its body in pieces, and whether the transfer ends cleanly.
#[derive(Debug, Clone)]
pub(crate) struct Canned {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) clean: bool,
}

/// All cassettes of a kind, by name.
pub(crate) fn of_kind(kind: &str) -> Vec<Cassette> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cassettes").join(kind);
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.into_iter().map(|folder| Cassette::read(kind, folder)).collect()
}

impl Cassette {
    fn read(kind: &str, folder: PathBuf) -> Self {
        let json = std::fs::read_to_string(folder.join("request.json")).unwrap();
        let asked =
            serde_json::from_str(&json).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let names =
            std::iter::once("response.http".to_owned()).chain((2..).map(|n| format!("response.{n}.http")));
        let responses = names
            .map_while(|name| std::fs::read(folder.join(name)).ok())
            .map(|file| Canned::parse(&file).unwrap_or_else(|| panic!("{}: no response", folder.display())))
            .collect();
        Self { kind: kind.to_owned(), folder, asked, responses }
    }

    /// Asks a provider that is answered so. Gives what was sent, and what came of it.
    pub(crate) async fn play(&self, responses: Vec<Canned>) -> Played {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let upstream = scripted(responses, Arc::clone(&sent));
        let context = providers::Context {
            secrets: Arc::new(["configured-secret".into()]),
            reply_bytes_max: 8 * 1024 * 1024,
        };
        let provider = providers::build(&self.kind, self.asked.settings.clone(), upstream, context)
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.folder.display()));
        let outcome = self.asked.ask(&*provider).await;
        let sent = std::mem::take(&mut *sent.lock().unwrap());
        Played { sent, outcome }
    }

    /// What was asked and answered: ids in it were not drawn.
    fn everything(&self) -> String {
        let mut everything = std::fs::read_to_string(self.folder.join("request.json")).unwrap();
        for response in &self.responses {
            everything.push_str(&String::from_utf8_lossy(&response.body()));
            everything.push_str(&format!("{:?}", response.headers));
        }
        everything
    }

    /// What the sent calls look like, without secrets and random ids.
    pub(crate) fn show_sent(&self, sent: &[http::Request<Bytes>]) -> String {
        let mut shown = String::new();
        for call in sent {
            let target = call.uri().path_and_query().unwrap().as_str();
            writeln!(shown, "{} {}", call.method(), target.strip_prefix("/base").unwrap()).unwrap();
            let mut headers: Vec<_> = call.headers().iter().collect();
            headers.sort_by_key(|(name, _)| name.as_str());
            for (name, value) in headers {
                writeln!(shown, "{name}: {}", value.to_str().unwrap().replace("test-key", "[key]")).unwrap();
            }
            if !call.body().is_empty() {
                let body: serde_json::Value = serde_json::from_slice(call.body()).unwrap();
                writeln!(shown, "\n{}", serde_json::to_string_pretty(&body).unwrap()).unwrap();
            }
            shown.push('\n');
        }
        without_random_ids(&shown, &self.everything())
    }

    /// What came of the call, without random ids.
    pub(crate) fn show_outcome(&self, outcome: &[Result<Piece, ProviderError>]) -> String {
        without_random_ids(&shown::outcome(outcome), &self.everything())
    }

    /// Compares with a file of the folder, or writes it.
    pub(crate) fn compare(&self, file: &str, shown: &str) -> Result<(), String> {
        let path = self.folder.join(file);
        #[expect(
            clippy::disallowed_methods,
            reason = "a wish of the person at the keyboard, not configuration"
        )]
        if std::env::var("BLESS").is_ok() {
            std::fs::write(&path, shown).unwrap();
            return Ok(());
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        if kept == shown {
            return Ok(());
        }
        Err(format!("{} (BLESS=1 writes it)\n--- kept\n{kept}\n--- now\n{shown}", path.display()))
    }
}

/// What was sent and what came of it.
pub(crate) struct Played {
    pub(crate) sent: Vec<http::Request<Bytes>>,
    pub(crate) outcome: Vec<Result<Piece, ProviderError>>,
}

impl Canned {
    fn parse(file: &[u8]) -> Option<Self> {
        let mut rest = file;
        let mut clean = true;
        let status = loop {
            let line = take_line(&mut rest)?;
            if let Some(comment) = line.strip_prefix('#') {
                clean &= comment.trim() != "end: broken";
            } else {
                break line.split(' ').nth(1)?.parse().ok()?;
            }
        };
        let mut headers = HeaderMap::new();
        loop {
            let line = take_line(&mut rest)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            let name: HeaderName = name.trim().parse().ok()?;
            headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
        }
        Some(Self { status, headers, pieces: vec![Bytes::copy_from_slice(rest)], clean })
    }

    fn response(self) -> http::Response<upstream::Body> {
        let end = if self.clean { None } else { Some(Err(upstream::Failure::Broken)) };
        let pieces = self.pieces.into_iter().filter(|piece| !piece.is_empty()).map(Ok).chain(end);
        let mut response = http::Response::new(upstream::Body::new(stream::iter(pieces)));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// The body in one piece.
    pub(crate) fn body(&self) -> Bytes {
        self.pieces.concat().into()
    }
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    std::str::from_utf8(line).ok().map(|line| line.trim_end_matches('\r'))
}

/// A way out that answers nothing.
pub(crate) fn silent_upstream() -> upstream::Upstream {
    scripted(Vec::new(), Arc::default())
}

/// A way out whose calls are answered in order, and kept.
fn scripted(responses: Vec<Canned>, sent: Arc<Mutex<Vec<http::Request<Bytes>>>>) -> upstream::Upstream {
    let responses = Arc::new(Mutex::new(responses.into_iter()));
    let client = upstream::Client::new(service_fn(move |request| {
        sent.lock().unwrap().push(request);
        let canned = responses.lock().unwrap().next();
        std::future::ready(canned.map(Canned::response).ok_or(upstream::Failure::Unreachable))
    }));
    upstream::Upstream::with_client(config(), client).unwrap()
}

/// What a connection does, whatever is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    /// It stays silent.
    Hangs,
    /// It breaks.
    Resets,
    /// It answers 200 with these events, and breaks.
    Begins(&'static str),
    /// It answers 200 with this body.
    Says(&'static str),
}

/// Asks a provider that always does this. Gives how often it was asked, and the error, if it came before an answer.
pub(crate) async fn ask_transport(
    kind: &str,
    settings: &str,
    stream: bool,
    transport: Transport,
) -> (usize, Option<ProviderError>) {
    let question = serde_json::json!({ "upstream_id": "a", "message": "Hi", "stream": stream });
    ask_transport_this(kind, settings, question, transport).await
}

/// The same with this question, as `request.json` of a cassette has it.
pub(crate) async fn ask_transport_this(
    kind: &str,
    settings: &str,
    question: serde_json::Value,
    transport: Transport,
) -> (usize, Option<ProviderError>) {
    let question: asked::Answer = serde_json::from_value(question).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let client = upstream::Client::new(service_fn(move |_: http::Request<Bytes>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match transport {
                Transport::Hangs => std::future::pending().await,
                Transport::Resets => Err(upstream::Failure::Broken),
                Transport::Begins(events) => {
                    let begun = Ok(Bytes::from_static(events.as_bytes()));
                    let body = stream::iter([begun, Err(upstream::Failure::Broken)]);
                    let mut response = http::Response::new(upstream::Body::new(body));
                    let events = http::HeaderValue::from_static("text/event-stream");
                    response.headers_mut().insert(http::header::CONTENT_TYPE, events);
                    Ok(response)
                }
                Transport::Says(body) => {
                    let body = stream::iter([Ok(Bytes::from_static(body.as_bytes()))]);
                    Ok(http::Response::new(upstream::Body::new(body)))
                }
            }
        }
    }));
    let mut config = config();
    config.retry.attempts_max = 3;
    let upstream = upstream::Upstream::with_client(config, client).unwrap();
    let context = providers::Context { secrets: Arc::new([]), reply_bytes_max: 1024 };
    let provider = providers::build(kind, settings.parse().unwrap(), upstream, context).unwrap();
    let answer = provider.answer(question.request()).await;
    let error = match answer {
        Ok(pieces) => {
            // Read to its end: an answer can be asked for again while it has said nothing.
            let _: Vec<_> = pieces.collect().await;
            None
        }
        Err(error) => Some(error),
    };
    (calls.load(Ordering::Relaxed), error)
}

fn config() -> upstream::Config {
    upstream::Config {
        name: "test".to_owned(),
        base_url: "http://provider.test/base".parse().unwrap(),
        headers: HeaderMap::new(),
        connect_timeout: Duration::from_secs(5),
        headers_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        retry: upstream::RetryConfig {
            attempts_max: 1,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(32),
            budget_percent: 20,
            ambiguous: false,
        },
        breaker: upstream::BreakerConfig {
            window: Duration::from_secs(30),
            failures: 2.0,
            minimum: u32::MAX,
            cool_down: Duration::from_secs(15),
        },
        max_concurrency: 256,
        requests_per_minute: 0,
        proxy: None,
        ca_file: None,
    }
}

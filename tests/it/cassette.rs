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

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chat::{
    AttemptObserver, AttemptReport, Content, HistoryMessage, Injection, Part, Piece, Provider, ProviderError,
    Request, Role, Thread, Timestamp,
};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tower::util::service_fn;

/// A folder of files, read.
pub(crate) struct Cassette {
    pub(crate) kind: String,
    pub(crate) folder: PathBuf,
    pub(crate) asked: Asked,
    pub(crate) responses: Vec<Canned>,
}

/// `request.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    settings: toml::Table,
    pub(crate) answer: Option<Answer>,
    inject: Option<Inject>,
    history: Option<HistoryOf>,
    conversations: Option<Conversations>,
    probe: Option<Probe>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    upstream_id: String,
    system: Option<String>,
    #[serde(default)]
    history: Vec<Earlier>,
    message: Words,
    user: Option<String>,
    thread: Option<ThreadOf>,
    #[serde(default)]
    context_messages: u32,
    search_filters: Option<Box<RawValue>>,
    #[serde(default)]
    metadata: chat::Metadata,
    #[serde(default)]
    stream: bool,
    extension: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Earlier {
    role: Role,
    author: Option<String>,
    text: Words,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(untagged)]
enum Words {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct ThreadOf {
    id: String,
    #[serde(default)]
    fresh: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inject {
    upstream_id: String,
    thread: ThreadOf,
    author: String,
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryOf {
    upstream_id: String,
    conversation: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversations {
    upstream_id: String,
    since: Option<String>,
    page: u32,
    limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {}

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
        without_random_ids(&show(outcome), &self.everything())
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

impl Asked {
    async fn ask(&self, provider: &dyn Provider) -> Vec<Result<Piece, ProviderError>> {
        if let Some(answer) = &self.answer {
            return match provider.answer(answer.request()).await {
                Ok(pieces) => pieces.collect().await,
                Err(error) => vec![Err(error)],
            };
        }
        // What is no answer is shown as one text.
        let shown = if let Some(inject) = &self.inject {
            let injection = Injection {
                upstream_id: inject.upstream_id.clone(),
                thread: inject.thread.clone().into(),
                author: inject.author.clone(),
                text: inject.text.clone(),
            };
            provider.inject(injection).await.map(|()| "put in".to_owned())
        } else if let Some(of) = &self.history {
            let messages = provider.history(&of.upstream_id, &of.conversation).await;
            messages.map(|messages| messages.iter().map(|message| format!("{message:?}\n")).collect())
        } else if let Some(of) = &self.conversations {
            let since: Option<Timestamp> = of.since.as_deref().map(|since| since.parse().unwrap());
            provider
                .conversations(&of.upstream_id, since, of.page, of.limit)
                .await
                .map(|page| format!("{page:#?}"))
        } else {
            assert!(self.probe.is_some(), "request.json asks nothing");
            provider.probe().await.map(|probe| format!("{probe:?}"))
        };
        vec![shown.map(Piece::Text)]
    }
}

impl Answer {
    fn request(&self) -> Request {
        Request {
            turn_id: "turn_01890a5dac96774bbcceb302099a8057".parse().unwrap(),
            upstream_id: self.upstream_id.clone(),
            system: self.system.clone(),
            history: self.history.iter().map(Earlier::message).collect(),
            message: self.message.clone().into(),
            user: self.user.as_deref().map(|user| user.parse().unwrap()),
            thread: self.thread.clone().map(Into::into),
            context_messages: self.context_messages,
            search_filters: self.search_filters.clone().map(Into::into),
            metadata: self.metadata.clone(),
            stream: self.stream,
            extension: self.extension.clone().map(Into::into),
            observer: Arc::new(Silent),
            deadline: Instant::now() + Duration::from_secs(3600),
        }
    }
}

impl Earlier {
    fn message(&self) -> HistoryMessage {
        HistoryMessage {
            role: self.role,
            author: self.author.clone().unwrap_or_else(|| self.role.as_str().to_owned()),
            content: self.text.clone().into(),
        }
    }
}

impl From<Words> for Content {
    fn from(words: Words) -> Self {
        match words {
            Words::Text(text) => Self::text_only(text),
            Words::Parts(parts) => Self { parts },
        }
    }
}

impl From<ThreadOf> for Thread {
    fn from(thread: ThreadOf) -> Self {
        Self { id: thread.id, fresh: thread.fresh }
    }
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

#[derive(Debug)]
struct Silent;

impl AttemptObserver for Silent {
    fn began(&self) {}

    fn failed(&self, _report: AttemptReport) {}
}

/// What came of a call, a line for each piece.
fn show(outcome: &[Result<Piece, ProviderError>]) -> String {
    let mut shown = String::new();
    for piece in outcome {
        let line = match piece {
            Ok(Piece::Text(text)) if text.contains('\n') && text.len() > 80 => format!("text:\n{text}"),
            Ok(Piece::Text(text)) => format!("text {text:?}"),
            Ok(Piece::Replace(text)) => format!("replace {text:?}"),
            Ok(Piece::End(reason)) => format!("end {reason:?}"),
            Ok(Piece::Usage(usage)) => format!("usage {}", serde_json::to_string(usage).unwrap()),
            Ok(Piece::Extension(frame)) => format!("extension {frame}"),
            Ok(Piece::Sources(sources)) => {
                format!("sources {}", serde_json::to_string_pretty(sources).unwrap())
            }
            Ok(piece) => format!("{piece:?}"),
            Err(error) => show_error(error),
        };
        shown.push_str(&line);
        shown.push('\n');
    }
    shown
}

/// An error, without what it does not say.
fn show_error(error: &ProviderError) -> String {
    let mut shown = format!("error {:?}", error.failure);
    if let Some(status) = error.status {
        write!(shown, ", status {status}").unwrap();
    }
    if error.unsent {
        shown.push_str(", unsent");
    }
    if let Some(message) = &error.message {
        write!(shown, ", message {message:?}").unwrap();
    }
    if let Some(id) = &error.request_id {
        write!(shown, ", request id {id:?}").unwrap();
    }
    if let Some(usage) = &error.usage {
        write!(shown, ", usage {}", serde_json::to_string(usage).unwrap()).unwrap();
    }
    if !error.sources.is_empty() {
        write!(shown, ", sources {}", serde_json::to_string_pretty(&error.sources).unwrap()).unwrap();
    }
    shown
}

/// Ids that were drawn, and so are not in what was asked, as `[uuid]`.
fn without_random_ids(shown: &str, asked: &str) -> String {
    let mut clean = shown.to_owned();
    for start in 0..shown.len().saturating_sub(35) {
        let Some(window) = shown.get(start..start + 36) else { continue };
        if !asked.contains(window) && uuid::Uuid::try_parse(window).is_ok() {
            clean = clean.replace(window, "[uuid]");
        }
    }
    clean
}

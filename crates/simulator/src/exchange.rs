//! One call from its last byte in to its first byte out; what is the same for every provider.
//!
//! A provider is a [`Dialect`] and a function that reads an [`Exchange`] and says what it would answer. Everything
//! that waits, breaks or lies is done here and in [`deliver`](crate::deliver).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, header};
use serde_json::{Map, Value};

use crate::connection::Wire;
use crate::deliver;
use crate::faults::{Fault, Plan};
use crate::holds::Hold;
use crate::journal::{BODY_BYTES_MAX, Call, Entry, Outcome, Scheme, Usage, now_ms};
use crate::script::{Media, Script};
use crate::text::{Prompt, Wording};
use crate::world::World;

/// The longest request that is read, in bytes.
const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How a provider speaks where all of them have to say the same things.
#[derive(Debug)]
pub(crate) struct Dialect {
    pub(crate) name: &'static str,
    /// The assistants that always exist.
    pub(crate) assistants: &'static [&'static str],
    /// Refuses a call without the right key.
    pub(crate) authorize: fn(&HeaderMap) -> Result<(), Refusal>,
    /// The status for a body that is not labelled as JSON.
    pub(crate) wrong_label: u16,
    /// An error's body.
    pub(crate) error: fn(&Refusal, &Plan, &str) -> String,
    /// What an error's body is labelled as.
    pub(crate) error_label: &'static str,
    /// The name of an event that carries an error in a stream.
    pub(crate) error_event: Option<&'static str>,
    /// Headers of every response.
    pub(crate) headers: fn(&str, &mut HeaderMap),
    /// The word for an assistant that does not exist.
    pub(crate) unknown: fn(&str) -> Refusal,
}

/// Why a call gets no answer.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The machine's word, where it is not the one that goes with the status.
    pub(crate) code: Option<&'static str>,
    pub(crate) message: Cow<'static, str>,
    /// The field at fault.
    pub(crate) field: Option<String>,
}

impl Refusal {
    /// A refusal that its status explains.
    pub(crate) fn new(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: None, message: message.into(), field: None }
    }

    /// The same with a word for machines.
    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// A field that is missing or wrong.
    pub(crate) fn field(field: &str, problem: &str) -> Self {
        let message = format!("{field}: {problem}").into();
        Self { status: 400, code: None, message, field: Some(field.to_owned()) }
    }
}

/// Why a provider did not answer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The call was wrong.
    Refused(Refusal),
    /// The plan has a fault that comes before any answer.
    Fault,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What a provider answers if nothing goes wrong.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) script: Script,
}

/// A call being answered.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) world: Arc<World>,
    pub(crate) dialect: &'static Dialect,
    pub(crate) head: Parts,
    pub(crate) plan: Plan,
    pub(crate) request_id: String,
    pub(crate) usage: Option<Usage>,
    /// The answer's bare text, kept only for the fault that sends it so.
    pub(crate) bare: Option<String>,
    /// What the answer waits for in its middle.
    pub(crate) hold: Option<Hold>,
    body: Option<Arc<Value>>,
}

impl Exchange {
    /// The request's JSON object.
    pub(crate) fn json(&self) -> Result<Arc<Value>, Stop> {
        let label = self.head.headers.get(header::CONTENT_TYPE).and_then(|label| label.to_str().ok());
        let media =
            label.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if media != "application/json" && media != "text/json" && !media.ends_with("+json") {
            let message = "the body must be labelled application/json";
            return Err(Refusal::new(self.dialect.wrong_label, message).into());
        }
        match &self.body {
            Some(body) if body.is_object() => Ok(Arc::clone(body)),
            Some(_) => Err(Refusal::new(400, "the body must be a JSON object").into()),
            None => Err(Refusal::new(400, "the body is not valid JSON").into()),
        }
    }

    /// Looks the assistant up and lets the fault happen that its id asks for.
    pub(crate) fn assistant(&mut self, id: &str) -> Result<(), Stop> {
        let plan = self.world.plan(self.dialect.name, self.dialect.assistants, id);
        self.plan = plan.ok_or_else(|| (self.dialect.unknown)(id))?;
        if let Fault::Hold(_) = self.plan.fault {
            self.hold = Some(self.world.holds.wait(id));
        }
        match self.plan.fault {
            Fault::Status(..)
            | Fault::TooLong
            | Fault::Filtered
            | Fault::Code(_)
            | Fault::ErrorUnder200
            | Fault::Html(_)
            | Fault::Redirect
            | Fault::ResetBefore
            | Fault::CloseBefore
            | Fault::Silence => Err(Stop::Fault),
            _ => Ok(()),
        }
    }

    /// Whether to stream, given what was asked for.
    pub(crate) fn streams(&self, asked: bool) -> bool {
        match self.plan.fault {
            Fault::JsonForStream => false,
            Fault::StreamForJson => true,
            _ => asked,
        }
    }

    /// The words of the answer.
    pub(crate) fn wording(&mut self, prompt: &Prompt<'_>) -> Wording {
        let wording = Wording::new(prompt, &self.plan);
        if self.plan.fault == Fault::TextAsEvents {
            self.bare = Some(wording.text().to_owned());
        }
        wording
    }

    /// An empty stream, with room for the answer.
    pub(crate) fn stream(&self, media: Media, wording: &Wording) -> Script {
        Script::new(media, self.plan.framing, 1_024 + wording.text().len() * 12)
    }
}

/// Receives a call, lets `answer` say what to answer, and answers it.
pub(crate) async fn run(
    world: Arc<World>,
    dialect: &'static Dialect,
    upstream_id: impl FnOnce(Option<&Value>) -> Option<String>,
    request: Request,
    answer: impl FnOnce(&mut Exchange) -> Result<Reply, Stop>,
) -> Response {
    let (head, body) = request.into_parts();
    let wire = head.extensions.get::<Arc<Wire>>().cloned().unwrap_or_default();
    let body = to_bytes(body, REQUEST_BYTES_MAX).await.ok();
    let (parsed, kept) = parse(body.as_ref());
    let entry = record(&world, dialect.name, &head, upstream_id(parsed.as_deref()), kept);
    let request_id = crate::chance::uuid(world.fresh());
    let plan = Plan::default();
    let mut exchange = Exchange {
        world,
        dialect,
        head,
        plan,
        request_id,
        usage: None,
        bare: None,
        hold: None,
        body: parsed,
    };
    let outcome = match (dialect.authorize)(&exchange.head.headers) {
        Err(refusal) => Err(Stop::Refused(refusal)),
        Ok(()) if body.is_none() => Err(Refusal::new(413, "the body is too long").into()),
        Ok(()) => answer(&mut exchange),
    };
    match outcome {
        Ok(reply) => deliver::answer(exchange, reply, wire, entry).await,
        Err(Stop::Refused(refusal)) => deliver::refuse(&exchange, &refusal, entry),
        Err(Stop::Fault) => deliver::instead(&exchange, &wire, entry).await,
    }
}

/// Writes down a call that no provider answers, and that it was answered.
pub(crate) fn note(world: &World, head: &Parts, status: u16) {
    let mut entry = record(world, "simulator", head, None, Arc::default());
    entry.answered(status, None);
    entry.end(Outcome::Whole);
}

/// The body as JSON, and what the journal keeps of it.
fn parse(body: Option<&Bytes>) -> (Option<Arc<Value>>, Arc<Value>) {
    let Some(body) = body else { return (None, Arc::default()) };
    let parsed: Option<Arc<Value>> = serde_json::from_slice(body).ok().map(Arc::new);
    let kept = parsed.clone().filter(|_| body.len() <= BODY_BYTES_MAX).unwrap_or_default();
    (parsed, kept)
}

/// Opens the journal's entry of a call.
fn record(
    world: &World,
    provider: &'static str,
    head: &Parts,
    upstream_id: Option<String>,
    body: Arc<Value>,
) -> Entry {
    world.journal.open(Call {
        number: 0,
        provider,
        method: head.method.to_string(),
        // The nested router sees a shortened path; the one that was asked for is in the extensions.
        path: head.extensions.get::<axum::extract::OriginalUri>().map_or(&head.uri, |uri| &uri.0).to_string(),
        upstream_id,
        authorization: scheme(&head.headers),
        headers: kept_headers(&head.headers),
        body,
        received_ms: now_ms(),
        status: None,
        outcome: Outcome::Open,
        usage: None,
    })
}

fn scheme(headers: &HeaderMap) -> Scheme {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Scheme::None };
    match value.to_str().unwrap_or_default().split_once(' ') {
        None => Scheme::Bare,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        Some(_) => Scheme::Other,
    }
}

fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    const KEPT: &[&str] = &[
        "accept",
        "content-type",
        "user-agent",
        "unleash-account",
        "idempotency-key",
        "traceparent",
        "cookie",
    ];
    let kept =
        headers.iter().filter(|(name, _)| KEPT.contains(&name.as_str()) || name.as_str().starts_with("x-"));
    kept.map(|(name, value)| {
        let secret = name.as_str().contains("key") && name != "idempotency-key" || name == header::COOKIE;
        let value = if secret { "(not kept)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
        (name.to_string(), value.into_owned())
    })
    .collect()
}

/// Whether the header carries `Bearer` and `key`.
pub(crate) fn is_bearer(headers: &HeaderMap, key: &str) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")) == Some(key)
}

/// A required string.
pub(crate) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Refusal::field(name, "must be a string")),
        None => Err(Refusal::field(name, "is required")),
    }
}

/// A required string with something in it.
pub(crate) fn filled<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    match text(fields, name)? {
        "" => Err(Refusal::field(name, "must not be empty")),
        text => Ok(text),
    }
}

/// A boolean, `false` if it is not there.
pub(crate) fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match fields.get(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::field(name, "must be a boolean")),
    }
}

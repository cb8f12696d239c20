//! Request bodies: JSON in, with an answer that names the field when something is wrong with it.
//!
//! Nearly all bodies are right: they are looked through for fields that are given twice, and read as what the route wants. Where
//! something is wrong with one, it is read once more as any JSON, which finds what is wrong whatever it says (syntax, depth, a field
//! given twice), and then once as what the route wants with book kept of where, to name the place. Where the request is
//! repeatable, it is read as any JSON as well, for the form in which two bodies can be compared.

mod at_most;
mod number;
mod object;
mod word;
mod words;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use axum::RequestExt;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use chat::{ErrorCode, Idempotency, TurnError};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_path_to_error::{Path, Segment};

use crate::app::App;
use crate::error::ApiError;
use crate::idempotency;
use crate::scan;

pub(crate) use at_most::AtMost;
pub(crate) use number::{whole, whole_given};
pub(crate) use object::Object;
pub(crate) use word::{word, word_given, words_given};

/// A route's JSON body, and what makes the request repeatable.
#[derive(Debug)]
pub(crate) struct Body<T> {
    pub(crate) value: T,
    pub(crate) idempotency: Option<Idempotency>,
}

/// The same, with what the route takes out of its text beside it.
#[derive(Debug)]
pub(crate) struct Beside<T, B>(pub(crate) Body<T>, pub(crate) B);

/// What is taken out of a body's text.
pub(crate) trait FromText {
    /// `fields`: those of the object that the text is, where they could be told without a closer look.
    fn from_text(text: &str, fields: Option<&[(&str, &str)]>) -> Self;
}

impl FromText for () {
    fn from_text(_: &str, _: Option<&[(&str, &str)]>) {}
}

/// The same where the whole body may be left out: then it reads as `{}`.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub(crate) Body<T>);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        read(request, app, None).await.map(|Beside(body, ())| body)
    }
}

impl<T: DeserializeOwned> FromRequest<App> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        read(request, app, Some("{}")).await.map(|Beside(body, ())| Self(body))
    }
}

impl<T: DeserializeOwned, B: FromText> FromRequest<App> for Beside<T, B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        read(request, app, None).await
    }
}

async fn read<T: DeserializeOwned, B: FromText>(
    request: Request,
    app: &App,
    absent: Option<&'static str>,
) -> Result<Beside<T, B>, ApiError> {
    let announced = request.body().size_hint().lower();
    let (parts, body) = request.with_limited_body().into_parts();
    let labelled = is_json(&parts.headers);
    if absent.is_none() && !labelled {
        return Err(not_json());
    }
    let bytes_max = app.front.config.body_bytes_max;
    if announced > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        // Not waited for, and not asked for: `100 Continue` is sent when somebody begins to read.
        return Err(too_large(bytes_max));
    }
    let bytes = match tokio::time::timeout(app.front.config.body_timeout, body.collect()).await {
        Ok(Ok(bytes)) => bytes.to_bytes(),
        Ok(Err(error)) => return Err(broken(&error, bytes_max)),
        Err(_) => return Err(ApiError::new(ErrorCode::InvalidJson, "the body did not arrive in time")),
    };
    let bytes = match absent {
        Some(absent) if bytes.is_empty() => Bytes::from_static(absent.as_bytes()),
        _ if !labelled => return Err(not_json()),
        _ => bytes,
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| ApiError::new(ErrorCode::InvalidJson, "the body is not UTF-8"))?;
    let repeatable = idempotency::is_asked_for(&parts);
    let fields = scan::fields(text);
    // Nothing in it needs a closer look.
    let fine = fields.as_ref().filter(|_| !repeatable).and_then(|_| serde_json::from_str(text).ok());
    let (value, canonical) = match fine {
        Some(value) => (value, None),
        None => {
            let canonical = canonical(text)?;
            (parse(text)?, Some(canonical))
        }
    };
    let idempotency = match canonical.filter(|_| repeatable) {
        Some(canonical) => {
            let caller = crate::middleware::auth::Who::of(&parts)?;
            let window = app.engine.settings().idempotency_window;
            idempotency::of(&parts, caller.caller(), canonical, window)?
        }
        None => None,
    };
    Ok(Beside(Body { value, idempotency }, B::from_text(text, fields.as_deref())))
}

/// The body as any JSON object.
fn canonical(text: &str) -> Result<Node, ApiError> {
    let canonical: Node = parse(text)?;
    // Checked by hand: to a derived struct an array is as good as an object.
    if !matches!(canonical, Node::Object(_)) {
        return Err(TurnError::new(ErrorCode::InvalidValue, "the body must be a JSON object").into());
    }
    Ok(canonical)
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::new(ErrorCode::BodyTooLarge, format!("the body is larger than {bytes_max} bytes"))
}

fn not_json() -> ApiError {
    ApiError::new(
        ErrorCode::UnsupportedMediaType,
        "send the body as JSON in UTF-8, with `content-type: application/json`",
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let encoded = headers.get(CONTENT_ENCODING).is_some_and(|value| value != "identity");
    let label = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(label) = label.filter(|_| !encoded) else { return false };
    let mut words = label.split(';').map(str::trim);
    words.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && words.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

fn broken(error: &(dyn Error + 'static), bytes_max: usize) -> ApiError {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<LengthLimitError>() {
            return too_large(bytes_max);
        }
        next = cause.source();
    }
    ApiError::new(ErrorCode::InvalidJson, "the body did not arrive whole")
}

/// Reads JSON, all of it.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    // Keeping book of the path costs more than reading; nearly all bodies are right.
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().clone();
        problem(&path, &error.into_inner())
    })?;
    json.end().map_err(|error| syntax(&error))?;
    Ok(value)
}

fn syntax(error: &serde_json::Error) -> ApiError {
    ApiError::new(ErrorCode::InvalidJson, format!("the body is not JSON: {error}"))
}

/// What is wrong with a body, in the contract's words.
fn problem(path: &Path, error: &serde_json::Error) -> ApiError {
    if !error.is_data() {
        return syntax(error);
    }
    let text = error.to_string();
    let sentence = text.rsplit_once(" at line ").map_or(text.as_str(), |(sentence, _)| sentence);
    let named = |prefix: &str| {
        sentence.strip_prefix(prefix)?.strip_prefix('`')?.split_once('`').map(|(name, _)| name.to_owned())
    };
    let (code, param) = if let Some(field) = named("unknown field ") {
        (ErrorCode::UnknownField, Some(join(path, &field)))
    } else if let Some(field) = named("missing field ") {
        (ErrorCode::MissingField, Some(join(path, &field)))
    } else if let Some(field) = named("duplicate field ") {
        (ErrorCode::InvalidValue, Some(join(path, &field)))
    } else {
        (ErrorCode::InvalidValue, (path.iter().len() > 0).then(|| path.to_string()))
    };
    let sentence = words::plain(sentence);
    let mut problem = TurnError::new(code, sentence.clone());
    if code == ErrorCode::InvalidValue
        && let Some(param) = &param
    {
        problem.message = format!("`{param}`: {sentence}");
    }
    problem.param = param;
    problem.into()
}

/// The path of a field whose name the error gives. The tracker may have added it already.
fn join(path: &Path, field: &str) -> String {
    match path.iter().next_back() {
        None => field.to_owned(),
        Some(Segment::Map { key }) if key == field => path.to_string(),
        Some(_) => format!("{path}.{field}"),
    }
}

/// For a field that may be left out: null says the same, as many clients write it. (In a `PATCH` null clears, and is read otherwise.)
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(json)
}

/// For a field of a `PATCH`: left out is none, null is `Some(None)`.
pub(crate) fn cleared_or_set<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    json: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(json).map(Some)
}

/// Any JSON, in the one form that all spellings of it share: fields sorted, no white space.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut array = Vec::new();
        while let Some(node) = sequence.next_element()? {
            array.push(node);
        }
        Ok(Node::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((name, node)) = map.next_entry::<String, Node>()? {
            if object.contains_key(&name) {
                return Err(serde::de::Error::custom(format_args!("duplicate field `{name}`")));
            }
            object.insert(name, node);
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests;

//! A request into a call of `/chat/completions`.
//!
//! What a client of the OpenAI dialect sent is passed through with all its fields, known or not: only the model's name and what
//! belongs to streaming are ours. The operator's instructions come first in it, unless the client's messages hold them already.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use chat::{Content, Failure, HistoryMessage, Part, ProviderError, Request, Role};
use http::{HeaderMap, Method};
use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

use super::{Config, wire};
use crate::link::{Outgoing, json_body};

/// What the decoder is to do with frames for the OpenAI dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PassedThrough {
    /// No client wants them.
    No,
    /// All but the one with usage alone, which the client did not ask for.
    WithoutUsage,
    /// All.
    All,
}

/// The call for an answer; headers are added by the caller.
///
/// # Errors
/// Something is asked that cannot be passed on: nothing is sent then.
pub(super) fn answer(config: &Config, request: &Request) -> Result<(Outgoing, PassedThrough), ProviderError> {
    if request.search_filters.is_some() {
        return Err(ProviderError::new(Failure::Unsupported).saying("this provider takes no search filters"));
    }
    let (body, passed_through) = match &request.extension {
        Some(extension) => passed_through(config, request, extension)?,
        None => (own(config, request)?, PassedThrough::No),
    };
    let outgoing = Outgoing {
        method: Method::POST,
        path: "/chat/completions".to_owned(),
        headers: HeaderMap::new(),
        body,
        headers_clock: request.stream,
    };
    Ok((outgoing, passed_through))
}

fn own(config: &Config, request: &Request) -> Result<Bytes, ProviderError> {
    let include_usage = request.stream && config.stream_usage;
    json_body(&wire::Request {
        model: &request.upstream_id,
        messages: messages(config, request)?,
        stream: request.stream,
        stream_options: include_usage.then_some(wire::StreamOptions { include_usage }),
        user: request.user.as_ref().map(chat::UserId::as_str),
    })
}

/// The client's own body, every field as it came but ours.
fn passed_through(
    config: &Config,
    request: &Request,
    extension: &str,
) -> Result<(Bytes, PassedThrough), ProviderError> {
    let unusable = |_| ProviderError::from(Failure::Unsupported).saying("the request is no JSON object");
    // The client's body, which was read before: where its fields stand is all that is left to know.
    let given = match chat::fields(extension) {
        Some(fields) => fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect(),
        None => serde_json::from_str::<Fields<'_>>(extension).map_err(unusable)?.0,
    };
    let field = |wanted: &str| given.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let model = serde_json::to_string(&request.upstream_id).map_err(unusable)?;
    let messages = match field("messages") {
        Some(messages) => with_system(request.system.as_deref(), messages).map_err(unusable)?,
        None => Cow::Owned(serde_json::to_string(&messages(config, request)?).map_err(unusable)?),
    };
    let (options, passed_through) = if request.stream {
        stream_options(config, field("stream_options")).map_err(unusable)?
    } else {
        (None, PassedThrough::All)
    };
    let mut own = vec![("model", Some(&*model)), ("messages", Some(&*messages))];
    own.push(("stream", request.stream.then_some("true")));
    own.push(("stream_options", options.as_deref()));
    let mut body = Object(Vec::with_capacity(extension.len() + 256));
    for (name, value) in &given {
        match own.iter().position(|(own, _)| own == name) {
            Some(place) => body.put(name, own.remove(place).1).map_err(unusable)?,
            // Named twice: once is enough.
            None if OWN.contains(&name.as_ref()) => {}
            None => body.put(name, Some(value)).map_err(unusable)?,
        }
    }
    for (name, value) in own {
        body.put(name, value).map_err(unusable)?;
    }
    Ok((body.end(), passed_through))
}

/// The fields that are ours to say, whatever the client said.
const OWN: &[&str] = &["model", "messages", "stream", "stream_options"];

/// An object's fields where they stand, in order.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry::<_, &'de RawValue>()? {
                    fields.push((name, value.get()));
                }
                Ok(Fields(fields))
            }
        }
        json.deserialize_map(Reads)
    }
}

/// A field's name, where it stands unless something in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A JSON object that is being written.
struct Object(Vec<u8>);

impl Object {
    /// Appends a field, if it has a value; that is JSON.
    fn put(&mut self, name: &str, value: Option<&str>) -> Result<(), serde_json::Error> {
        let Some(value) = value else { return Ok(()) };
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.0.push(b'"');
            self.0.extend_from_slice(name.as_bytes());
            self.0.push(b'"');
        } else {
            serde_json::to_writer(&mut self.0, name)?;
        }
        self.0.push(b':');
        self.0.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn end(mut self) -> Bytes {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0.into()
    }
}

/// What is said about streaming, and what becomes of the frame that comes of it.
fn stream_options(
    config: &Config,
    given: Option<&str>,
) -> Result<(Option<String>, PassedThrough), serde_json::Error> {
    let options = given.and_then(|options| serde_json::from_str(options).ok());
    let mut options: IndexMap<String, Box<RawValue>> = options.unwrap_or_default();
    let asked = options.get("include_usage").is_some_and(|asked| asked.get() == "true");
    if !asked && config.stream_usage {
        options.insert("include_usage".to_owned(), to_raw_value(&true)?);
    }
    let passed_through = if asked { PassedThrough::All } else { PassedThrough::WithoutUsage };
    let said =
        if options.is_empty() { given.map(str::to_owned) } else { Some(serde_json::to_string(&options)?) };
    Ok((said, passed_through))
}

/// The client's messages with the operator's instructions before them, unless they are there already.
fn with_system<'a>(system: Option<&str>, messages: &'a str) -> Result<Cow<'a, str>, serde_json::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Seen<'a> {
        role: String,
        #[serde(borrow)]
        content: Option<&'a RawValue>,
    }
    let Some(system) = system.filter(|system| !system.trim().is_empty()) else {
        return Ok(Cow::Borrowed(messages));
    };
    let mut list: Vec<Cow<'_, RawValue>> = {
        let list: Vec<&RawValue> = serde_json::from_str(messages)?;
        list.into_iter().map(Cow::Borrowed).collect()
    };
    let told = list.iter().any(|message| {
        let seen: Seen<'_> = serde_json::from_str(message.get()).unwrap_or_default();
        matches!(seen.role.as_str(), "system" | "developer")
            && crate::lenient::text(seen.content).is_some_and(|content| content.contains(system))
    });
    if told {
        return Ok(Cow::Borrowed(messages));
    }
    let message = wire::Message { role: "system", content: wire::Content::Text(system.to_owned()) };
    list.insert(0, Cow::Owned(to_raw_value(&message)?));
    serde_json::to_string(&list).map(Cow::Owned)
}

fn messages<'a>(config: &Config, request: &'a Request) -> Result<Vec<wire::Message<'a>>, ProviderError> {
    if !config.images && request.message.images().next().is_some() {
        return Err(ProviderError::new(Failure::Unsupported).saying("this provider takes no images"));
    }
    let system = request.system.as_deref().filter(|system| !system.trim().is_empty());
    let system =
        system.map(|text| wire::Message { role: "system", content: wire::Content::Text(text.to_owned()) });
    let history = request.history.iter().filter(|earlier| !earlier.content.is_empty());
    let history = history.map(|earlier| wire::Message {
        role: role(earlier.role),
        content: content(config, &earlier.content, speaker(earlier)),
    });
    let message = wire::Message { role: "user", content: content(config, &request.message, None) };
    Ok(system.into_iter().chain(history).chain([message]).collect())
}

fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        // A person on the assistant's side, named in the text.
        Role::Assistant | Role::Operator => "assistant",
        Role::System => "system",
    }
}

/// What an operator's message begins with: the dialect has no role for one.
fn speaker(earlier: &HistoryMessage) -> Option<String> {
    (earlier.role == Role::Operator).then(|| {
        if earlier.author == earlier.role.as_str() {
            "[operator] ".to_owned()
        } else {
            format!("[operator {}] ", earlier.author)
        }
    })
}

/// A content in the dialect's words; images as such in a user's message, where the models take them, else as links.
fn content<'a>(config: &Config, content: &'a Content, speaker: Option<String>) -> wire::Content<'a> {
    if config.images && speaker.is_none() && content.images().next().is_some() {
        let parts = content.parts.iter().filter_map(|part| match part {
            Part::Text { text } => Some(wire::Part::Text { text }),
            Part::Image { url } => Some(wire::Part::ImageUrl { image_url: wire::ImageUrl { url } }),
            Part::Citation { .. } | Part::ToolCall { .. } => None,
        });
        return wire::Content::Parts(parts.collect());
    }
    let mut text = speaker.unwrap_or_default();
    for part in &content.parts {
        match part {
            Part::Text { text: words } => text.push_str(words),
            Part::Image { url } => {
                let link = if url.starts_with("data:") { "embedded" } else { url };
                text.push_str(&format!("\n[image: {link}]"));
            }
            // A call without its tool's answer is refused by the dialect: it is told in words.
            Part::ToolCall { name, arguments, .. } => {
                text.push_str(&format!("\n[called {name} with {arguments}]"))
            }
            Part::Citation { .. } => {}
        }
    }
    wire::Content::Text(text)
}

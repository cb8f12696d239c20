//! The schema of `ChatCompletionRequest` [D][P]: what it does not name is refused, but in `filters`.

use serde_json::{Map, Value};

use crate::conversations::Role;
use crate::exchange::{Refusal, flag};

/// Filters that are a list of strings or `null`; others of the documented ones are below.
const LISTS: &[&str] = &[
    "resourceId",
    "rsvp",
    "appId",
    "type",
    "label",
    "anyLabel",
    "sentTo",
    "sentFrom",
    "createdBy",
    "modifiedBy",
    "reporter",
    "assignedTo",
    "reviewer",
    "class",
    "sharedBy",
    "sharedWith",
    "linkId",
    "status",
    "cycle",
    "extension",
    "jobTitle",
    "location",
    "department",
    "managedBy",
    "participants",
    "topic",
    "mentioned",
    "path",
    "fileTypeGroup",
    "relatedContacts",
];

/// Filters that are a boolean or `null`.
const FLAGS: &[&str] = &["isStarred", "hasAttachments", "isManager", "hasLinks"];

/// Filters that are a string or `null`. The schema is open, so anything else is let through.
const TEXTS: &[&str] = &[
    "fromTime",
    "untilTime",
    "createBeforeTime",
    "createAfterTime",
    "modifiedBeforeTime",
    "modifiedAfterTime",
    "dueBeforeTime",
    "dueAfterTime",
    "eventTimeFrameStart",
    "eventTimeFrameEnd",
    "pathPrefix",
    "recentActivityFor",
    "workingOn",
];

/// The call's fields, checked.
pub(super) struct Call<'a> {
    pub(super) assistant: Option<&'a str>,
    pub(super) thread: Option<&'a str>,
    pub(super) stream: bool,
    /// The first `appId` of the filters.
    pub(super) app: Option<&'a str>,
    /// The last message, which is the one to answer.
    pub(super) message: &'a str,
    /// What users and assistants said before it.
    pub(super) replayed: Vec<(Role, &'a str)>,
    /// What the system said.
    pub(super) instructions: Vec<&'a str>,
}

/// Checks a request's body.
pub(super) fn read(fields: &Map<String, Value>) -> Result<Call<'_>, Refusal> {
    only(fields, "", &["messages", "assistantId", "enterpriseSearch", "stream", "threadId"])?;
    let messages = match fields.get("messages") {
        Some(Value::Array(messages)) if messages.is_empty() => {
            return Err(Refusal::field("messages", "must have at least one message"));
        }
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err(Refusal::field("messages", "must be an array")),
        None => return Err(Refusal::field("messages", "is required")),
    };
    let mut call = Call {
        assistant: text_or_null(fields, "assistantId")?,
        thread: text_or_null(fields, "threadId")?,
        stream: flag(fields, "stream")?,
        app: search(fields)?,
        message: "",
        replayed: Vec::new(),
        instructions: Vec::new(),
    };
    for (place, message) in messages.iter().enumerate() {
        let name = format!("messages[{place}]");
        let Value::Object(message) = message else { return Err(Refusal::field(&name, "must be an object")) };
        only(message, &name, &["text", "role"])?;
        let text = text_or_null(message, "text")?.unwrap_or_default();
        match message.get("role").and_then(Value::as_str) {
            Some("System") => call.instructions.push(text),
            Some("User") => call.replayed.push((Role::User, text)),
            Some("Assistant") => call.replayed.push((Role::Assistant, text)),
            _ => return Err(Refusal::field(&format!("{name}.role"), "must be User, System or Assistant")),
        }
    }
    // A request of system messages alone is allowed by the schema: there is then nothing to answer but them.
    call.message = call.replayed.pop().map(|(_, text)| text).unwrap_or_default();
    Ok(call)
}

fn search(fields: &Map<String, Value>) -> Result<Option<&str>, Refusal> {
    let search = match fields.get("enterpriseSearch") {
        None => return Ok(None),
        Some(Value::Object(search)) => search,
        Some(_) => return Err(Refusal::field("enterpriseSearch", "must be an object")),
    };
    only(search, "enterpriseSearch", &["filters"])?;
    let filters = match search.get("filters") {
        None => return Ok(None),
        Some(Value::Object(filters)) => filters,
        Some(_) => return Err(Refusal::field("enterpriseSearch.filters", "must be an object")),
    };
    for (name, value) in filters {
        let name = name.as_str();
        let wrong = |problem| Err(Refusal::field(&format!("enterpriseSearch.filters.{name}"), problem));
        match value {
            Value::Null => {}
            Value::Array(values) if LISTS.contains(&name) && values.iter().all(Value::is_string) => {}
            _ if LISTS.contains(&name) => return wrong("must be an array of strings"),
            _ if FLAGS.contains(&name) && !value.is_boolean() => return wrong("must be a boolean"),
            _ if TEXTS.contains(&name) && !value.is_string() => return wrong("must be a string"),
            _ => {}
        }
    }
    Ok(filters.get("appId").and_then(|apps| apps.get(0)).and_then(Value::as_str))
}

/// Refuses what the schema does not name.
fn only(fields: &Map<String, Value>, place: &str, known: &[&str]) -> Result<(), Refusal> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) if place.is_empty() => Err(Refusal::field(name, "is not a known field")),
        Some(name) => Err(Refusal::field(&format!("{place}.{name}"), "is not a known field")),
    }
}

fn text_or_null<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::field(name, "must be a string or null")),
    }
}

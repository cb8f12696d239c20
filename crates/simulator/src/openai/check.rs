//! What a call of `/chat/completions` must look like.

use serde_json::{Map, Value};

use crate::conversations::{Remembered, Role};
use crate::exchange::{Refusal, filled, flag};

/// Fields that the answer does not echo.
const OWN: &[&str] = &["model", "messages", "stream", "stream_options"];

/// The call's fields, checked.
pub(super) struct Call<'a> {
    pub(super) model: &'a str,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// The text of the last user message.
    pub(super) message: String,
    /// What was said before it.
    pub(super) replayed: Vec<Remembered>,
    pub(super) instructions: Vec<String>,
    /// What tools answered after it.
    pub(super) tool_results: Vec<String>,
    pub(super) pictures: usize,
    /// The first tool's name.
    pub(super) tool: Option<&'a str>,
    fields: &'a Map<String, Value>,
}

impl Call<'_> {
    /// All that the call has beside the fields every call has.
    pub(super) fn echo(&self) -> Option<Value> {
        let rest = self.fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        let rest: Map<String, Value> = rest.map(|(name, value)| (name.clone(), value.clone())).collect();
        (!rest.is_empty()).then_some(Value::Object(rest))
    }
}

/// Checks a request's body.
pub(super) fn read(fields: &Map<String, Value>) -> Result<Call<'_>, Refusal> {
    let messages = match fields.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) => return Err(Refusal::field("messages", "must have at least one message")),
        Some(_) => return Err(Refusal::field("messages", "must be an array")),
        None => return Err(Refusal::field("messages", "is required")),
    };
    let stream = match fields.get("stream") {
        Some(Value::Null) => false,
        _ => flag(fields, "stream")?,
    };
    let mut call = Call {
        model: filled(fields, "model")?,
        stream,
        include_usage: include_usage(fields, stream)?,
        message: String::new(),
        replayed: Vec::new(),
        instructions: Vec::new(),
        tool_results: Vec::new(),
        pictures: 0,
        tool: tool(fields)?,
        fields,
    };
    for (place, message) in messages.iter().enumerate() {
        take(&mut call, place, message)?;
    }
    let last = call.replayed.iter().rposition(|message| message.role == Role::User);
    if let Some(last) = last {
        call.message = call.replayed.remove(last).text.to_string();
    }
    Ok(call)
}

fn take(call: &mut Call<'_>, place: usize, message: &Value) -> Result<(), Refusal> {
    let name = |field: &str| format!("messages[{place}]{field}");
    let Value::Object(message) = message else { return Err(Refusal::field(&name(""), "must be an object")) };
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    let calls = message.get("tool_calls").is_some_and(Value::is_array);
    let (text, pictures) = match message.get("content") {
        Some(Value::String(text)) => (text.clone(), 0),
        Some(Value::Array(parts)) => parts_of(parts, &name(".content"))?,
        None | Some(Value::Null) if role == "assistant" && calls => (String::new(), 0),
        _ => return Err(Refusal::field(&name(".content"), "must be a string or an array of parts")),
    };
    let said = |role| Remembered { role, text: text.as_str().into() };
    match role {
        "system" | "developer" => call.instructions.push(text),
        "user" => {
            call.pictures = pictures;
            call.tool_results.clear();
            call.replayed.push(said(Role::User));
        }
        "assistant" => call.replayed.push(said(Role::Assistant)),
        "tool" if message.get("tool_call_id").is_some_and(Value::is_string) => call.tool_results.push(text),
        "tool" => return Err(Refusal::field(&name(".tool_call_id"), "is required")),
        _ => {
            let roles = "must be one of system, developer, user, assistant, tool";
            return Err(Refusal::field(&name(".role"), roles));
        }
    }
    Ok(())
}

/// Text and number of pictures of a message in parts.
fn parts_of(parts: &[Value], name: &str) -> Result<(String, usize), Refusal> {
    let (mut text, mut pictures) = (String::new(), 0);
    for part in parts {
        let written = part.get("text").and_then(Value::as_str);
        match (part.get("type").and_then(Value::as_str), written) {
            (Some("text"), Some(written)) => text.push_str(written),
            (Some("image_url"), _) if part.pointer("/image_url/url").is_some_and(Value::is_string) => {
                pictures += 1
            }
            _ => return Err(Refusal::field(name, "has a part that is neither text nor image_url")),
        }
    }
    Ok((text, pictures))
}

fn include_usage(fields: &Map<String, Value>, stream: bool) -> Result<bool, Refusal> {
    match fields.get("stream_options") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Object(options)) if stream => flag(options, "include_usage"),
        Some(Value::Object(_)) => {
            Err(Refusal::field("stream_options", "is only allowed when stream is true"))
        }
        Some(_) => Err(Refusal::field("stream_options", "must be an object")),
    }
}

fn tool(fields: &Map<String, Value>) -> Result<Option<&str>, Refusal> {
    let tools = match fields.get("tools") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(tools)) => tools,
        Some(_) => return Err(Refusal::field("tools", "must be an array")),
    };
    let name = |tool: &Value| tool.pointer("/function/name").is_some_and(Value::is_string);
    if !tools.iter().all(name) {
        return Err(Refusal::field("tools", "must be functions with a name"));
    }
    Ok(tools.first().and_then(|tool| tool.pointer("/function/name")).and_then(Value::as_str))
}

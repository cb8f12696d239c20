//! A request of Responses in the words of Chat Completions, for a provider that takes a client's own body.
//!
//! Parameters of both are passed on as they are, also those that we do not know; those that have another name or form there are
//! translated. The messages are the conversation's, as the provider's code writes them, but where a tool's answer must name its call.

use chat::{Caller, Content, ConversationId, Message, PageRequest, Part, Role};
use engine::{AssistantView, Extension};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::OWN;
use crate::app::App;
use crate::error::ApiError;
use crate::openai::item::Told;
use crate::openai::parameters::{Fields, Parameters};

/// What means something to Responses alone.
const NOT_PASSED: &[&str] = &["truncation", "include", "max_tool_calls", "prompt", "text", "reasoning"];
/// The longest history that a tool's answer is told with.
const MESSAGES_MAX: u32 = 100;

/// A body of Chat Completions without messages.
#[derive(Debug)]
pub(super) struct Passed(Fields);

#[derive(Deserialize)]
struct Text {
    format: Option<Fields>,
    verbosity: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Reasoning {
    effort: Option<Box<RawValue>>,
}

impl Passed {
    /// Translates the fields of a request; says what it cannot hold.
    pub(super) fn of(fields: &Fields, all: &Parameters) -> Result<(Self, Parameters), serde_json::Error> {
        let mut body = Fields::new();
        for (name, value) in fields.iter().filter(|(_, value)| value.get() != "null") {
            let raw = value.get();
            match name.as_str() {
                "tools" => {
                    let tools: Vec<Fields> = serde_json::from_str(raw)?;
                    let tools = tools.into_iter().map(beneath_its_type).collect::<Result<Vec<_>, _>>()?;
                    body.insert(name.clone(), to_raw_value(&tools)?);
                }
                "tool_choice" if raw.starts_with('{') => {
                    body.insert(name.clone(), to_raw_value(&beneath_its_type(serde_json::from_str(raw)?)?)?);
                }
                "text" => {
                    let Text { format, verbosity } = serde_json::from_str(raw)?;
                    if let Some(format) = format {
                        body.insert("response_format".to_owned(), to_raw_value(&beneath_its_type(format)?)?);
                    }
                    body.extend(verbosity.map(|value| ("verbosity".to_owned(), value)));
                }
                "reasoning" => {
                    let Reasoning { effort } = serde_json::from_str(raw)?;
                    body.extend(effort.map(|value| ("reasoning_effort".to_owned(), value)));
                }
                "max_output_tokens" => {
                    body.insert("max_completion_tokens".to_owned(), value.clone());
                }
                "user" | "metadata" => {
                    body.insert(name.clone(), value.clone());
                }
                other if OWN.contains(&other) || NOT_PASSED.contains(&other) => {}
                _ => {
                    body.insert(name.clone(), value.clone());
                }
            }
        }
        let is_left = |name: &&String| matches!(name.as_str(), "truncation" | "include" | "max_tool_calls");
        let ignored = all.ignored.iter().filter(is_left).cloned().collect();
        let is_needed = |name: &&String| match name.as_str() {
            "tools" => !functions_only(fields),
            "text.format" => false,
            _ => true,
        };
        let needs = all.needs.iter().filter(is_needed).cloned().collect();
        Ok((Self(body), Parameters { ignored, needs }))
    }

    /// The body, with messages where a tool has answered.
    pub(super) async fn extension(
        mut self,
        app: &App,
        caller: &Caller,
        view: &AssistantView,
        conversation: Option<ConversationId>,
        spoken: (Option<Vec<Told>>, Option<&str>),
    ) -> Result<Extension, ApiError> {
        let needs = ["tools", "response_format"].into_iter().find(|name| self.0.contains_key(*name));
        let (tools, instructions) = spoken;
        let mut needs = needs.map(str::to_owned);
        if let Some(told) = tools {
            let history = match conversation {
                Some(id) => {
                    let limit = view.context_messages.clamp(1, MESSAGES_MAX);
                    let page = PageRequest { limit, cursor: None };
                    app.engine.messages(caller, id, true, page).await?.items
                }
                None => Vec::new(),
            };
            let messages = messages(&history, &told, instructions);
            self.0.insert("messages".to_owned(), to_raw_value(&messages).map_err(ApiError::internal)?);
            needs.get_or_insert_with(|| "input".to_owned());
        }
        let body = serde_json::to_string(&self.0).map_err(ApiError::internal)?;
        Ok(Extension { body: body.into(), needs })
    }
}

/// Responses has what belongs to a type beside it, Chat Completions beneath it.
fn beneath_its_type(mut fields: Fields) -> Result<Fields, serde_json::Error> {
    let Some(kind) = fields.shift_remove("type") else { return Ok(fields) };
    let name: String = serde_json::from_str(kind.get())?;
    let mut outer = Fields::new();
    outer.insert("type".to_owned(), kind);
    if !fields.is_empty() {
        outer.insert(name, to_raw_value(&fields)?);
    }
    Ok(outer)
}

/// Other tools are OpenAI's own: no other server has them, and Chat Completions has no words for them.
fn functions_only(fields: &Fields) -> bool {
    #[derive(Deserialize)]
    struct Tool {
        r#type: String,
    }
    let tools = fields.get("tools").and_then(|raw| serde_json::from_str::<Vec<Tool>>(raw.get()).ok());
    tools.is_some_and(|tools| tools.iter().all(|tool| tool.r#type == "function"))
}

/// A message of Chat Completions.
#[derive(Debug, Default, Serialize)]
struct Spoken {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Call {
    id: String,
    r#type: &'static str,
    function: Function,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    arguments: String,
}

/// The conversation (newest message first) and what was told after it.
fn messages(history: &[Message], told: &[Told], instructions: Option<&str>) -> Vec<Spoken> {
    let system = instructions.map(|text| Spoken {
        role: "system",
        content: Some(text.to_owned()),
        ..Spoken::default()
    });
    let mut all: Vec<_> = system.into_iter().collect();
    for (age, message) in history.iter().enumerate().rev() {
        // Only the last reply's calls are answered now: of earlier ones it is no longer known what came of which.
        all.extend(spoken(message.role, &message.content, age == 0));
    }
    for one in told {
        match one {
            Told::Result { call_id, text } => all.push(Spoken {
                role: "tool",
                content: Some(text.clone()),
                tool_call_id: Some(call_id.clone()),
                ..Spoken::default()
            }),
            Told::Call(_) | Told::Said(..) => {
                let (role, content) = one.in_words();
                let next = spoken(role, &content, true);
                match (all.last_mut(), next) {
                    // Calls that were made together stand in one message.
                    (Some(last), Some(next))
                        if !last.tool_calls.is_empty() && !next.tool_calls.is_empty() =>
                    {
                        last.tool_calls.extend(next.tool_calls);
                    }
                    (_, next) => all.extend(next),
                }
            }
        }
    }
    all
}

fn spoken(role: Role, content: &Content, with_calls: bool) -> Option<Spoken> {
    let role = match role {
        Role::User => "user",
        Role::Assistant | Role::Operator => "assistant",
        Role::System => "system",
    };
    let mut text = content.text().into_owned();
    let mut tool_calls = Vec::new();
    for part in &content.parts {
        match part {
            Part::ToolCall { id, name, arguments } if with_calls => tool_calls.push(Call {
                id: id.clone(),
                r#type: "function",
                function: Function { name: name.clone(), arguments: arguments.clone() },
            }),
            Part::ToolCall { name, arguments, .. } => {
                text.push_str(&format!("\n[called {name} with {arguments}]"));
            }
            Part::Image { url } => text.push_str(&format!("\n[image: {url}]")),
            Part::Text { .. } | Part::Citation { .. } => {}
        }
    }
    let content = (!text.is_empty()).then_some(text);
    let says_something = content.is_some() || !tool_calls.is_empty();
    says_something.then_some(Spoken { role, content, tool_calls, tool_call_id: None })
}

//! The request of Chat Completions as a turn.

use chat::{Caller, Content, ErrorCode, Metadata, Part, Role, TurnError, UserId};
use engine::{Ask, AssistantView, Prompt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body::{whole_given, word};
use crate::error::ApiError;
use crate::openai::said::{self, Said};
use crate::routes::chats::{check_metadata, user_of};
use crate::text::NOT_BLANK;

/// A completion to be made. These are the fields that the gateway itself understands; others reach a provider of the same dialect as
/// they are, and are ignored by name (`x-ignored-parameters`) or refused elsewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewChatCompletion", extend("additionalProperties" = true))]
#[serde(expecting = "a JSON object")]
pub(crate) struct Wanted {
    /// The assistant to ask.
    #[schemars(extend("pattern" = NOT_BLANK))]
    model: String,
    /// The whole transcript; the last message is from the user.
    #[schemars(length(min = 1))]
    messages: Vec<OneMessage>,
    /// Whether to answer with an event stream. False when left out.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// How many answers: more than one only from a provider of the same dialect.
    #[serde(default, deserialize_with = "whole_given")]
    #[schemars(range(min = 1))]
    n: Option<u64>,
    /// The end user, for the provider and for lists.
    user: Option<UserId>,
    /// Free words about the turn: at most 16 KiB as JSON.
    metadata: Option<std::collections::BTreeMap<String, String>>,
    /// Whether the turn is kept, in a conversation of its own. False when left out.
    store: Option<bool>,
}

/// What a stream tells.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ChatStreamOptions", extend("additionalProperties" = true))]
struct StreamOptions {
    /// Whether the last chunk tells what was used.
    include_usage: Option<bool>,
}

/// A message of the transcript.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ChatMessage", extend("additionalProperties" = true), extend("anyOf" = [
    {"title": "What an assistant said, or what reaches a provider of the same dialect alone",
     "properties": {"role": {"enum": ["assistant", "tool", "function"]}}},
    {"title": "What an assistant is told", "required": ["content"],
     "properties": {"role": {"enum": ["system", "developer", "user"]},
                    "content": said::not_empty()}},
]))]
#[serde(expecting = "a message: an object with `role` and `content`")]
struct OneMessage {
    /// Who speaks.
    #[serde(deserialize_with = "word")]
    role: MessageRole,
    /// What is said.
    #[serde(default)]
    #[schemars(with = "Option<Said>")]
    content: Said,
    /// What the assistant said in place of an answer.
    refusal: Option<String>,
    /// The tools that the assistant called: for a provider of the same dialect alone.
    tool_calls: Option<Vec<ToolCall>>,
    /// The same, as it was once written.
    #[schemars(with = "Option<serde_json::Value>")]
    function_call: Option<Box<RawValue>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "ChatRole")]
#[serde(rename_all = "lowercase")]
enum MessageRole {
    /// Instructions to the assistant.
    System,
    /// The same, by its newer name.
    Developer,
    /// The end user.
    User,
    /// The assistant.
    Assistant,
    /// What came of a tool: for a provider of the same dialect alone.
    Tool,
    /// The same, by its older name.
    Function,
}

/// A tool that the assistant called.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ChatToolCallGiven")]
struct ToolCall {
    #[serde(default)]
    id: String,
    function: Option<Function>,
}

/// The function, and what it was called with.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ChatToolCallFunctionGiven")]
struct Function {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
}

impl Wanted {
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    pub(super) fn include_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// The turn to ask for, and the field that only a provider can honour that is given the client's own body.
    pub(super) fn into_ask(
        self,
        view: &AssistantView,
        caller: &Caller,
    ) -> Result<(Ask, Option<String>), ApiError> {
        if self.n == Some(0) {
            return Err(ApiError::invalid("n", "`n` must be at least 1"));
        }
        let strings = self.metadata.unwrap_or_default().into_iter();
        let metadata: Metadata = strings.map(|(name, text)| (name, text.into())).collect();
        check_metadata(&metadata)?;
        let needs = self.messages.iter().enumerate().find_map(|(place, message)| message.needs(place));
        let prompt = if view.passes_through {
            let messages = self.messages.into_iter().map(OneMessage::content).collect();
            recorded(messages).ok_or_else(no_messages)?
        } else if let Some(field) = needs {
            return Err(super::unsupported(&view.name, &field));
        } else {
            spoken(self.messages)?
        };
        let ask = Ask {
            assistant: Some(view.name.clone()),
            conversation_id: None,
            own_conversation: false,
            prompt,
            user: user_of(caller, self.user)?,
            stream: self.stream.unwrap_or(false),
            store: self.store.unwrap_or(false),
            context_messages: None,
            search_filters: None,
            metadata,
            when_busy: None,
            idempotency: None,
            extension: None,
            instructions: None,
            lease: None,
        };
        Ok((ask, needs))
    }
}

fn no_messages() -> ApiError {
    TurnError::new(ErrorCode::InvalidValue, "`messages` must not be empty").about("messages").into()
}

/// What any assistant understands.
fn spoken(messages: Vec<OneMessage>) -> Result<Prompt, ApiError> {
    let mut transcript = Vec::with_capacity(messages.len());
    for (place, message) in messages.into_iter().enumerate() {
        let (role, content) = message.content();
        if content.is_empty() {
            // Clients keep a reply that said nothing, and send it back.
            if role == Role::Assistant {
                continue;
            }
            let field = format!("messages[{place}].content");
            return Err(ApiError::invalid(&field, format!("`{field}` must not be empty")));
        }
        transcript.push((role, content));
    }
    match transcript.last() {
        Some((Role::User, _)) => Ok(Prompt::Transcript(transcript)),
        Some(_) => Err(ApiError::invalid("messages", "the last of `messages` must be from the user")),
        None => Err(no_messages()),
    }
}

/// What is kept of messages that reach the provider as they are: the turn's own message is the last one that the assistant did
/// not say.
fn recorded(mut messages: Vec<(Role, Content)>) -> Option<Prompt> {
    let last = messages
        .iter()
        .rposition(|(role, _)| *role == Role::User)
        .or_else(|| messages.len().checked_sub(1))?;
    let (_, content) = messages.remove(last);
    messages.push((Role::User, content));
    Some(Prompt::Transcript(messages))
}

impl OneMessage {
    /// What in it is neither words nor an image.
    fn needs(&self, place: usize) -> Option<String> {
        let field = if matches!(self.role, MessageRole::Tool | MessageRole::Function) {
            "role"
        } else if self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty()) {
            "tool_calls"
        } else if self.function_call.is_some() {
            "function_call"
        } else if self.content.other.is_some() {
            "content"
        } else {
            return None;
        };
        Some(format!("messages[{place}].{field}"))
    }

    fn content(self) -> (Role, Content) {
        let role = match self.role {
            MessageRole::System | MessageRole::Developer => Role::System,
            // A tool answers in the client's place.
            MessageRole::User | MessageRole::Tool | MessageRole::Function => Role::User,
            MessageRole::Assistant => Role::Assistant,
        };
        let mut content = self.content.content;
        content.parts.extend(self.refusal.map(|text| Part::Text { text }));
        content.parts.extend(self.tool_calls.unwrap_or_default().into_iter().filter_map(|call| {
            let Function { name, arguments } = call.function?;
            Some(Part::ToolCall { id: call.id, name, arguments })
        }));
        (role, content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(json: &str) -> Vec<OneMessage> {
        crate::body::parse(json).unwrap()
    }

    #[test]
    fn the_last_word_of_the_client_is_the_turns_message() {
        let all = r#"[{"role":"developer","content":"be short"},{"role":"user","content":"a"},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"1","content":"sunny"}]"#;
        let contents: Vec<_> = messages(all).into_iter().map(OneMessage::content).collect();
        let Some(Prompt::Transcript(kept)) = recorded(contents) else { panic!() };
        let texts: Vec<_> = kept.iter().map(|(role, content)| (role.as_str(), content.text())).collect();
        assert_eq!(
            texts,
            [
                ("system", "be short".into()),
                ("user", "a".into()),
                ("assistant", "".into()),
                ("user", "sunny".into())
            ]
        );
        assert!(matches!(&kept[2].1.parts[0], Part::ToolCall { name, .. } if name == "f"));
        assert_eq!(messages(all)[2].needs(2).as_deref(), Some("messages[2].tool_calls"));
        assert!(recorded(Vec::new()).is_none());
    }

    #[test]
    fn an_assistant_is_told_words() {
        let words = |json: &str| spoken(messages(json)).map_err(|error| error.code());
        assert!(words(r#"[{"role":"user","content":"a"},{"role":"assistant","content":""},{"role":"user","content":"b"}]"#).is_ok());
        for wrong in [
            "[]",
            r#"[{"role":"user","content":""}]"#,
            r#"[{"role":"assistant","content":"a"}]"#,
            r#"[{"role":"system","content":"a"}]"#,
        ] {
            assert_eq!(words(wrong), Err(ErrorCode::InvalidValue), "{wrong}");
        }
    }
}

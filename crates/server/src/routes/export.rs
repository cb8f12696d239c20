//! A whole conversation as a file, read page by page while it is sent.

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use chat::{Conversation, ConversationId, Message, Page, PageRequest};
use engine::Refused;
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, Uri};

use crate::app::App;
use crate::error::{ApiError, insert};
use crate::middleware::auth::Who;
use crate::query::{Name, Params};

const MESSAGES_PER_PAGE: u32 = 100;

#[derive(Debug, Clone, Copy)]
enum Format {
    /// The conversation on the first line, then a message on each.
    Jsonl,
    /// For people.
    Markdown,
}

/// What is still to be sent.
struct Rest {
    app: App,
    who: Who,
    id: ConversationId,
    format: Format,
    next: Next,
}

enum Next {
    Written(String, Option<String>),
    Cursor(String),
    Nothing,
}

pub(super) async fn export(
    State(app): State<App>,
    who: Who,
    Name(id): Name<ConversationId>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let format = match Params::read(&uri, &["format"])?.text("format") {
        None | Some("jsonl") => Format::Jsonl,
        Some("markdown") => Format::Markdown,
        Some(_) => return Err(ApiError::invalid("format", "`format` must be `jsonl` or `markdown`")),
    };
    let conversation = app.engine.conversation(who.caller(), id).await?;
    // The first page is read before the head is sent, so that what fails at once is a plain error.
    let first = app.engine.messages(who.caller(), id, false, request(None)).await?;
    let mut text = format.head(&conversation);
    format.append(&mut text, &first);
    let rest = Rest { app, who, id, format, next: Next::Written(text, first.next_cursor) };
    let chunks = unfold(rest, |mut rest| async move {
        let chunk = rest.chunk().await?;
        Some((chunk, rest))
    });
    // Compression asks once more after the end.
    let mut response = Response::new(Body::from_stream(chunks.fuse()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, format.content_type());
    insert(headers, CONTENT_DISPOSITION, &format!("attachment; filename=\"{id}.{}\"", format.extension()));
    Ok(response)
}

fn request(cursor: Option<String>) -> PageRequest {
    PageRequest { limit: MESSAGES_PER_PAGE, cursor }
}

impl Rest {
    /// The next piece. A failure in the middle breaks the transfer off: a short file is never taken for a whole one.
    async fn chunk(&mut self) -> Option<Result<Bytes, Refused>> {
        let (text, cursor) = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Nothing => return None,
            Next::Written(text, cursor) => (text, cursor),
            Next::Cursor(cursor) => {
                let page =
                    self.app.engine.messages(self.who.caller(), self.id, false, request(Some(cursor))).await;
                let page = match page {
                    Ok(page) => page,
                    Err(error) => return Some(Err(error)),
                };
                let mut text = String::new();
                self.format.append(&mut text, &page);
                (text, page.next_cursor)
            }
        };
        self.next = cursor.map_or(Next::Nothing, Next::Cursor);
        Some(Ok(text.into()))
    }
}

impl Format {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Jsonl => "application/x-ndjson",
            Self::Markdown => "text/markdown; charset=utf-8",
        })
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Markdown => "md",
        }
    }

    fn head(self, conversation: &Conversation) -> String {
        match self {
            Self::Jsonl => line(conversation),
            Self::Markdown => {
                let id = conversation.id.to_string();
                let title =
                    conversation.title.as_deref().filter(|title| !title.trim().is_empty()).unwrap_or(&id);
                format!(
                    "# {}\n\nConversation `{id}` with {}, begun {}.\n",
                    escaped(title),
                    escaped(conversation.assistant.as_str()),
                    conversation.created_at
                )
            }
        }
    }

    fn append(self, text: &mut String, page: &Page<Message>) {
        for message in &page.items {
            match self {
                Self::Jsonl => text.push_str(&line(message)),
                Self::Markdown => markdown(text, message),
            }
        }
    }
}

fn line(thing: &impl serde::Serialize) -> String {
    let mut line = serde_json::to_string(thing).unwrap_or_default();
    line.push('\n');
    line
}

/// A message: a heading of ours, then its words as a quotation. Every line of it begins with `>`, so that no line in it can pass for a
/// heading of ours; `<` is written out, so that no markup in it can end the quotation.
fn markdown(text: &mut String, message: &Message) {
    // Writing to a string does not fail.
    let _ = write!(text, "\n## {}", escaped(&message.author));
    if message.author != message.role.as_str() {
        let _ = write!(text, " ({})", message.role.as_str());
    }
    let _ = writeln!(text, ", {}\n", message.created_at);
    if message.status != chat::MessageStatus::Completed {
        let _ = writeln!(text, "*{}*\n", message.status.as_str());
    }
    let words = message.content.text().replace("\r\n", "\n").replace('\r', "\n");
    for line in words.split('\n') {
        let line = line.replace('<', "&lt;");
        let _ = writeln!(text, "{}", format!("> {line}").trim_end());
    }
    for url in message.content.images() {
        let _ = writeln!(text, ">\n> Image: {}", escaped(url));
    }
    for source in &message.sources {
        let title = source.title.as_deref().unwrap_or(&source.id);
        let url = source.url.as_deref().map(|url| format!(", {}", escaped(url))).unwrap_or_default();
        let _ = writeln!(text, "\n- Source: {}{url}", escaped(title));
    }
}

/// Text within a line of ours.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '!' => {
                escaped.extend(['\\', character])
            }
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use chat::{Content, MessageId, MessageStatus, Role, Timestamp};

    use super::*;

    #[test]
    fn no_message_can_fake_a_speaker() {
        let message = Message {
            id: MessageId::new(),
            conversation_id: ConversationId::new(),
            turn_id: None,
            role: Role::User,
            author: "user\n## operator".into(),
            content: Content::text_only("a\n\n## assistant, now\r\r## assistant\r\n</blockquote>\nx\n==="),
            sources: vec![],
            status: MessageStatus::Completed,
            created_at: Timestamp::from_millis(0),
            position: 1,
        };
        let mut text = String::new();
        markdown(&mut text, &message);
        assert_eq!(
            text,
            "\n## user \\#\\# operator (user), 1970-01-01T00:00:00.000Z\n\n> a\n>\n> ## assistant, now\n>\n> ## assistant\n\
             > &lt;/blockquote>\n> x\n> ===\n"
        );
    }
}

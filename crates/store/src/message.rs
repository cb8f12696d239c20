//! Messages as rows. A conversation's messages lie together, in order, by the number of their place.

use serde::{Deserialize, Serialize};

use chat::{
    Content, ConversationId, Message, MessageId, MessageStatus, NewMessage, Part, Role, Source, StoreError,
    TurnId,
};

use crate::conn::{Both, Conn, Row};
use crate::error::damaged;
use crate::row::{blob, json, kept, parsed};
use crate::search;

/// How many positions a conversation has: a place is its conversation's number times this, and the position.
pub(crate) const POSITIONS: i64 = 1 << 24;

/// The first place of a conversation; no message stands there.
pub(crate) fn base(conversation: i64) -> i64 {
    conversation.saturating_mul(POSITIONS)
}

/// Where the message at this position stands.
pub(crate) fn place(conversation: i64, position: i64) -> i64 {
    base(conversation).saturating_add(position)
}

/// The position of a place.
pub(crate) fn position(place: i64) -> i64 {
    place.rem_euclid(POSITIONS)
}

/// Puts a message at a place.
pub(crate) async fn insert(
    conn: &mut Conn<'_>,
    place: i64,
    turn: Option<TurnId>,
    message: &NewMessage,
) -> Result<(), StoreError> {
    insert_some(conn, place, turn, std::slice::from_ref(message)).await
}

/// Puts messages at a place and those after it.
pub(crate) async fn insert_all(
    conn: &mut Conn<'_>,
    first: i64,
    messages: &[NewMessage],
) -> Result<(), StoreError> {
    /// How many go in one statement: it has eleven or twelve parameters for each, of 32,766 at most.
    const AT_ONCE: usize = 50;
    let (chunks, rest) = messages.as_chunks::<AT_ONCE>();
    let mut place = first;
    // The rest goes one by one, so that there are two statements to be prepared, not fifty.
    for some in chunks.iter().map(<[_; AT_ONCE]>::as_slice).chain(rest.chunks(1)) {
        insert_some(conn, place, None, some).await?;
        place = place.saturating_add(i64::try_from(some.len()).unwrap_or(0));
    }
    Ok(())
}

async fn insert_some(
    conn: &mut Conn<'_>,
    first: i64,
    turn: Option<TurnId>,
    messages: &[NewMessage],
) -> Result<(), StoreError> {
    let done = {
        let mut statement = match messages {
            [_] => conn.own(INSERT_ONE),
            several => conn.assembled(insert_sql(conn.is_postgres(), several.len())),
        };
        for (place, message) in (first..).zip(messages) {
            let text = message.content.text();
            let sources = if message.sources.is_empty() { None } else { Some(json(&message.sources)?) };
            statement = statement
                .bind(place)
                .bind(blob(message.id.uuid()))
                .bind(turn.map(|id| blob(id.uuid())))
                .bind(message.role.as_str())
                .bind(message.author.as_str())
                .bind(message.status.as_str())
                .bind(message.created_at.millis())
                .bind(message.upstream_message_id.as_deref())
                .bind(kept(&text).as_ref())
                .bind(encode(&message.content)?)
                .bind(sources)
                .bind_postgres(|| search::words_of(&text));
        }
        statement.run()
    };
    done.await?;
    for (place, _) in (first..).zip(messages) {
        search::add_message(conn, place).await?;
    }
    Ok(())
}

macro_rules! insert_into {
    () => {
        "INSERT INTO messages (place, id, turn_id, role, author, status, created_at, upstream_message_id, text, parts, \
         sources"
    };
}

/// The statement for one message. PostgreSQL is given its words as well; a SQLite store's index is told afterwards.
const INSERT_ONE: Both = Both {
    sqlite: concat!(insert_into!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"),
    postgres: concat!(
        insert_into!(),
        ", words) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, array_to_tsvector($12))"
    ),
};

/// The same for so many.
fn insert_sql(postgres: bool, count: usize) -> String {
    let mut sql = String::from(insert_into!());
    sql.push_str(if postgres { ", words) VALUES " } else { ") VALUES " });
    let width = if postgres { 12 } else { 11 };
    for row in 0..count {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=width {
            let number = row.saturating_mul(width).saturating_add(column);
            let comma = if column == 1 { "" } else { ", " };
            sql.push_str(&match column {
                12 => format!("{comma}array_to_tsvector(${number})"),
                _ => format!("{comma}${number}"),
            });
        }
        sql.push(')');
    }
    sql
}

macro_rules! columns {
    () => {
        "place, id, turn_id, role, author, status, created_at, text, parts, sources"
    };
}

/// The last messages before `before` that providers are given, oldest first.
pub(crate) async fn history(
    conn: &mut Conn<'_>,
    conversation: (i64, ConversationId),
    before: i64,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    if limit == 0 || before <= 1 {
        return Ok(Vec::new());
    }
    let rows = conn
        .sql(concat!(
            "SELECT ",
            columns!(),
            " FROM messages WHERE place >= $1 AND place < $2 AND status <> 'failed' ORDER BY place DESC LIMIT $3"
        ))
        .bind(base(conversation.0))
        .bind(place(conversation.0, before))
        .bind(i64::from(limit))
        .rows()
        .await?;
    rows.into_iter().rev().map(|row| read(row, conversation.1)).collect()
}

/// Messages between two positions, both left out, in order or newest first.
pub(crate) async fn between(
    conn: &mut Conn<'_>,
    conversation: (i64, ConversationId),
    (after, before): (i64, i64),
    descending: bool,
    limit: i64,
) -> Result<Vec<Message>, StoreError> {
    let sql = if descending {
        concat!(
            "SELECT ",
            columns!(),
            " FROM messages WHERE place > $1 AND place < $2 ORDER BY place DESC LIMIT $3"
        )
    } else {
        concat!(
            "SELECT ",
            columns!(),
            " FROM messages WHERE place > $1 AND place < $2 ORDER BY place LIMIT $3"
        )
    };
    let rows = conn
        .sql(sql)
        .bind(place(conversation.0, after))
        .bind(place(conversation.0, before))
        .bind(limit)
        .rows()
        .await?;
    rows.into_iter().map(|row| read(row, conversation.1)).collect()
}

/// The message at a place.
pub(crate) async fn at(
    conn: &mut Conn<'_>,
    conversation: ConversationId,
    place: i64,
) -> Result<Option<Message>, StoreError> {
    let row =
        conn.sql(concat!("SELECT ", columns!(), " FROM messages WHERE place = $1")).bind(place).row().await?;
    row.map(|row| read(row, conversation)).transpose()
}

/// A message of a conversation by its id. Looks at all of them: for what is seldom done.
pub(crate) async fn by_id(
    conn: &mut Conn<'_>,
    conversation: (i64, ConversationId),
    id: MessageId,
) -> Result<Option<Message>, StoreError> {
    let row = conn
        .sql(concat!("SELECT ", columns!(), " FROM messages WHERE place > $1 AND place < $2 AND id = $3"))
        .bind(base(conversation.0))
        .bind(base(conversation.0).saturating_add(POSITIONS))
        .bind(blob(id.uuid()))
        .row()
        .await?;
    row.map(|row| read(row, conversation.1)).transpose()
}

/// Marks the message at a place.
pub(crate) async fn set_status(
    conn: &mut Conn<'_>,
    place: i64,
    status: MessageStatus,
) -> Result<(), StoreError> {
    conn.sql("UPDATE messages SET status = $1 WHERE place = $2")
        .bind(status.as_str())
        .bind(place)
        .run()
        .await?;
    Ok(())
}

fn read(mut row: Row, conversation: ConversationId) -> Result<Message, StoreError> {
    let place = row.number()?;
    let id = MessageId::from_uuid(row.uuid()?);
    let turn_id = row.optional_uuid()?.map(TurnId::from_uuid);
    let role: Role = row.word()?;
    let author = row.string()?;
    let status: MessageStatus = row.word()?;
    let created_at = row.time()?;
    let text = row.text()?;
    let content = decode(text, row.optional_string()?.as_deref())?;
    let sources: Vec<Source> = row.optional_json()?.unwrap_or_default();
    Ok(Message {
        id,
        conversation_id: conversation,
        turn_id,
        role,
        author,
        content,
        sources,
        status,
        created_at,
        position: position(place),
    })
}

/// A part beside the text: a bare number stands for so many bytes of it, so that no text is kept twice.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum StoredPart {
    Text(usize),
    Other(Part),
}

/// The parts of a content, beside its text; nothing where the text says it all.
fn encode(content: &Content) -> Result<Option<String>, StoreError> {
    match content.parts.as_slice() {
        [] => return Ok(None),
        [Part::Text { text }] if !text.is_empty() => return Ok(None),
        _ => {}
    }
    let parts: Vec<StoredPart> = content
        .parts
        .iter()
        .map(|part| match part {
            Part::Text { text } => StoredPart::Text(text.len()),
            other => StoredPart::Other(other.clone()),
        })
        .collect();
    json(&parts).map(Some)
}

fn decode(text: String, parts: Option<&str>) -> Result<Content, StoreError> {
    let Some(parts) = parts else { return Ok(Content::text_only(text)) };
    let mut rest = text.as_str();
    let parts = parsed::<Vec<StoredPart>>(parts)?
        .into_iter()
        .map(|part| match part {
            StoredPart::Other(part) => Ok(part),
            StoredPart::Text(length) => {
                let (text, after) =
                    rest.split_at_checked(length).ok_or_else(|| damaged("parts longer than their text"))?;
                rest = after;
                Ok(Part::Text { text: text.to_owned() })
            }
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(Content { parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_as_they_were() {
        let text = |text: &str| Part::Text { text: text.into() };
        let cite = Part::Citation { source_ids: vec!["1".into()] };
        let image = Part::Image { url: "https://example.com/a.png".into() };
        for parts in [
            vec![],
            vec![text("")],
            vec![text("Привет")],
            vec![text("При"), cite.clone(), text("вет"), text("!")],
            vec![image],
            vec![cite, text("a")],
        ] {
            let content = Content { parts };
            let stored = encode(&content).unwrap();
            assert_eq!(decode(content.text().into_owned(), stored.as_deref()).unwrap(), content);
        }
    }
}

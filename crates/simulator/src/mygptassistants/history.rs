//! Reading back: one conversation, and the list of them [D].

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;

use super::{DIALECT, key, no_conversation};
use crate::conversations::{Message, Role, Summary};
use crate::exchange::{Exchange, Refusal, Reply, Stop, run};
use crate::script::Script;
use crate::text::excerpt;
use crate::world::World;

/// The most conversations on a page [D].
const LIMIT_MAX: usize = 100;

/// `GET /chat/{bot}/conversations/{conversation}`
pub(super) async fn read(
    State(world): State<Arc<World>>,
    Path((bot, conversation)): Path<(String, String)>,
    request: Request,
) -> Response {
    let answer = |exchange: &mut Exchange| {
        exchange.assistant(&bot)?;
        let found = exchange.world.conversations.read(&key(&bot, &conversation));
        let (summary, messages) = found.ok_or_else(no_conversation)?;
        let messages: Vec<_> = messages.iter().map(message).collect();
        let data = json!({
            "conversationId": summary.id,
            "messages": messages,
            "metadata": {"createdAt": date(summary.created_ms), "messageCount": summary.messages},
        });
        success(exchange, data)
    };
    run(world, &DIALECT, |_| Some(bot.clone()), request, answer).await
}

/// `GET /chat/{bot}/conversations?page=&limit=&since=`
pub(super) async fn list(
    State(world): State<Arc<World>>,
    Path(bot): Path<String>,
    request: Request,
) -> Response {
    let answer = |exchange: &mut Exchange| {
        exchange.assistant(&bot)?;
        let wanted = wanted(exchange)?;
        let mut found = exchange.world.conversations.list(DIALECT.name, &bot);
        if let Some(since) = wanted.since {
            found.retain(|summary| timestamp(summary.updated_ms) > since);
        }
        let total = found.len();
        let skipped = (wanted.page - 1).saturating_mul(wanted.limit);
        let page: Vec<_> = found.iter().skip(skipped).take(wanted.limit).map(row).collect();
        let more = skipped.saturating_add(page.len()) < total && !page.is_empty();
        let data = json!({
            "conversations": page,
            "pagination": {"page": wanted.page, "limit": wanted.limit, "total": total, "hasMore": more},
        });
        success(exchange, data)
    };
    run(world, &DIALECT, |_| Some(bot.clone()), request, answer).await
}

struct Wanted {
    page: usize,
    limit: usize,
    since: Option<Timestamp>,
}

/// The query, checked; `limit` above 100 is refused, as the documents give it as the greatest and say no more [U].
fn wanted(exchange: &Exchange) -> Result<Wanted, Refusal> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(&exchange.head.uri);
    let Ok(Query(query)) = query else { return Err(Refusal::new(400, "the query cannot be read")) };
    let mut wanted = Wanted { page: 1, limit: 20, since: None };
    for (name, value) in &query {
        match name.as_str() {
            "page" => wanted.page = number(name, value, usize::MAX)?,
            "limit" => wanted.limit = number(name, value, LIMIT_MAX)?,
            "since" => {
                let since = since(value).ok_or_else(|| Refusal::field(name, "must be an ISO date"))?;
                wanted.since = Some(since);
            }
            _ => {}
        }
    }
    Ok(wanted)
}

/// A moment with its offset, or a day, which begins at midnight UTC.
fn since(value: &str) -> Option<Timestamp> {
    let day = || value.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    value.parse().ok().or_else(|| Some(day()?.timestamp()))
}

fn number(name: &str, value: &str, max: usize) -> Result<usize, Refusal> {
    let number = value.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| Refusal::field(name, &format!("must be a number from 1 to {max}")))
}

fn success(exchange: &Exchange, data: serde_json::Value) -> Result<Reply, Stop> {
    let body = json!({"success": true, "data": data});
    Ok(Reply { status: 200, script: Script::json(exchange.plan.framing, &body) })
}

fn message(message: &Message) -> serde_json::Value {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    json!({"id": message.id, "role": role, "content": message.text, "timestamp": date(message.at_ms)})
}

fn row(summary: &Summary) -> serde_json::Value {
    json!({
        "id": summary.id,
        "preview": excerpt(&summary.preview),
        "messageCount": summary.messages,
        "createdAt": date(summary.created_ms),
        "updatedAt": date(summary.updated_ms),
    })
}

fn timestamp(milliseconds: u64) -> Timestamp {
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

fn date(milliseconds: u64) -> String {
    timestamp(milliseconds).to_string()
}

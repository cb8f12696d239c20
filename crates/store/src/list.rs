//! Lists that are paged: conversations by their last change, messages by their position.

use chat::{
    AssistantName, Conversation, ConversationFilter, ConversationId, Message, Page, PageRequest, StoreError,
    TenantId, UserId,
};
use uuid::Uuid;

use crate::conn::{Conn, Statement};
use crate::conversation::{self, Kept};
use crate::message;
use crate::row::blob;
use crate::search;

/// See [`chat::ConversationStore::messages`].
pub(crate) async fn messages(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    id: ConversationId,
    descending: bool,
    page: &PageRequest,
) -> Result<Page<Message>, StoreError> {
    let order = if descending { "d" } else { "a" };
    let cursor = match &page.cursor {
        Some(cursor) => Some(position_of(cursor, order, id)?),
        None => None,
    };
    let kept = conversation::find(conn, tenant, id).await?;
    let bounds = match (cursor, descending) {
        (Some(position), true) => (0, position),
        (Some(position), false) => (position, message::POSITIONS),
        (None, _) => (0, message::POSITIONS),
    };
    let limit = i64::from(page.limit);
    let mut items = message::between(conn, kept.ids(), bounds, descending, limit.saturating_add(1)).await?;
    let more = cut(&mut items, page.limit);
    let next_cursor = items.last().filter(|_| more).map(|last| {
        // A cursor is of one conversation's list: in another one it would point somewhere else.
        format!("{order}{:x}_{}", last.position, id.uuid().simple())
    });
    Ok(Page { items, next_cursor })
}

fn position_of(cursor: &str, order: &str, id: ConversationId) -> Result<i64, StoreError> {
    let (digits, of) =
        cursor.strip_prefix(order).and_then(|text| text.split_once('_')).ok_or(StoreError::Cursor)?;
    if Uuid::try_parse(of).ok() != Some(id.uuid()) {
        return Err(StoreError::Cursor);
    }
    let position = plain_hex(digits).and_then(|digits| i64::from_str_radix(digits, 16).ok());
    position.filter(|position| (0..message::POSITIONS).contains(position)).ok_or(StoreError::Cursor)
}

fn plain_hex(digits: &str) -> Option<&str> {
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(digits)
}

/// Leaves at most `limit` items; whether there were more.
fn cut<T>(items: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    more
}

/// Where a page of conversations ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    updated_at: i64,
    id: ConversationId,
}

impl Cursor {
    fn print(self) -> String {
        format!("c{}_{}", self.updated_at, self.id.uuid().simple())
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        let (time, id) =
            text.strip_prefix('c').and_then(|text| text.split_once('_')).ok_or(StoreError::Cursor)?;
        let updated_at = time.parse().map_err(|_| StoreError::Cursor)?;
        let id = Uuid::try_parse(id).map_err(|_| StoreError::Cursor)?;
        Ok(Self { updated_at, id: ConversationId::from_uuid(id) })
    }
}

/// See [`chat::ConversationStore::conversations`].
pub(crate) async fn conversations(
    conn: &mut Conn<'_>,
    tenant: &TenantId,
    filter: &ConversationFilter,
    page: &PageRequest,
) -> Result<Page<Conversation>, StoreError> {
    let cursor = page.cursor.as_deref().map(Cursor::parse).transpose()?;
    let Some(words) = words(filter, conn.is_postgres()) else {
        return Ok(Page { items: Vec::new(), next_cursor: None });
    };
    let mut found = Vec::new();
    for scope in scopes(filter) {
        let query = Query { tenant, filter, scope, words: &words, cursor };
        found.extend(query.run(conn, i64::from(page.limit).saturating_add(1)).await?);
    }
    found.sort_by_key(|kept| std::cmp::Reverse((kept.conversation.updated_at, kept.conversation.id.uuid())));
    let mut items: Vec<Conversation> = found.into_iter().map(|kept| kept.conversation).collect();
    let more = cut(&mut items, page.limit);
    let next_cursor = items
        .last()
        .filter(|_| more)
        .map(|last| Cursor { updated_at: last.updated_at.millis(), id: last.id }.print());
    Ok(Page { items, next_cursor })
}

/// The words asked for; none when nothing can match them.
fn words(filter: &ConversationFilter, postgres: bool) -> Option<Vec<String>> {
    let Some(words) = filter.words.as_deref().filter(|words| !words.trim().is_empty()) else {
        return Some(Vec::new());
    };
    Some(search::queries(words, postgres)).filter(|words| !words.is_empty())
}

/// Which assistants one query looks at. Each has an index in the list's order, so that several are several queries: a filter
/// over all conversations would read a million to find ten.
#[derive(Debug, Clone, Copy)]
enum Scope<'a> {
    All,
    One(&'a AssistantName),
    /// A user has few conversations: the user's index is used, and the assistants only looked at.
    Among(&'a [AssistantName]),
}

fn scopes(filter: &ConversationFilter) -> Vec<Scope<'_>> {
    match (&filter.assistant, &filter.assistants) {
        (Some(one), Some(these)) if !these.contains(one) => Vec::new(),
        (Some(one), _) => vec![Scope::One(one)],
        (None, Some(these)) if filter.user.is_some() && !these.is_empty() => vec![Scope::Among(these)],
        (None, Some(these)) => {
            let mut these: Vec<_> = these.iter().collect();
            these.sort_unstable();
            these.dedup();
            these.into_iter().map(Scope::One).collect()
        }
        (None, None) => vec![Scope::All],
    }
}

struct Query<'a> {
    tenant: &'a TenantId,
    filter: &'a ConversationFilter,
    scope: Scope<'a>,
    words: &'a [String],
    cursor: Option<Cursor>,
}

/// What is bound to the next placeholder.
enum Bound<'a> {
    Text(&'a str),
    Number(i64),
    Id(ConversationId),
}

fn bind<'c>(statement: Statement<'c>, bound: Bound<'_>) -> Statement<'c> {
    match bound {
        Bound::Text(text) => statement.bind(text),
        Bound::Number(number) => statement.bind(number),
        Bound::Id(id) => statement.bind(blob(id.uuid())),
    }
}

impl Query<'_> {
    async fn run(&self, conn: &mut Conn<'_>, limit: i64) -> Result<Vec<Kept>, StoreError> {
        let (sql, bounds) = self.sql(conn.is_postgres(), limit);
        let rows = bounds.into_iter().fold(conn.assembled(sql), bind).rows();
        rows.await?.into_iter().map(|mut row| conversation::read(&mut row)).collect()
    }

    /// The index to read the list off. SQLite has no statistics to choose by and takes the wrong one at times; a search may
    /// better begin with the words.
    fn index(&self) -> &'static str {
        match (self.words.is_empty(), &self.filter.user, self.scope) {
            (false, _, _) => "",
            (true, Some(_), _) => "INDEXED BY conversations_of_user",
            (true, None, Scope::One(_)) => "INDEXED BY conversations_of_assistant",
            (true, None, _) => "INDEXED BY conversations_changed",
        }
    }

    fn sql(&self, postgres: bool, limit: i64) -> (String, Vec<Bound<'_>>) {
        let words = if postgres { search::CONDITION.postgres } else { search::CONDITION.sqlite };
        let mut bounds = Vec::new();
        let mut bind = |bound| {
            bounds.push(bound);
            format!("${}", bounds.len())
        };
        let mut conditions = vec![format!("c.tenant = {}", bind(Bound::Text(self.tenant.as_str())))];
        match self.scope {
            Scope::All => {}
            // With a user as well, the user's index is the better one: an expression is in no index.
            Scope::One(one) if self.filter.user.is_some() => {
                conditions.push(format!("COALESCE(c.assistant, '') = {}", bind(Bound::Text(one.as_str()))));
            }
            Scope::One(one) => conditions.push(format!("c.assistant = {}", bind(Bound::Text(one.as_str())))),
            Scope::Among(these) => {
                let list: Vec<String> = these.iter().map(|one| bind(Bound::Text(one.as_str()))).collect();
                conditions.push(format!("COALESCE(c.assistant, '') IN ({})", list.join(", ")));
            }
        }
        if let Some(user) = &self.filter.user {
            conditions.push(format!("c.user_id = {}", bind(Bound::Text(UserId::as_str(user)))));
        }
        if let Some(since) = self.filter.since {
            conditions.push(format!("c.updated_at >= {}", bind(Bound::Number(since.millis()))));
        }
        if let Some(until) = self.filter.until {
            conditions.push(format!("c.updated_at <= {}", bind(Bound::Number(until.millis()))));
        }
        if let Some(Cursor { updated_at, id }) = self.cursor {
            let (time, id) = (bind(Bound::Number(updated_at)), bind(Bound::Id(id)));
            conditions.push(format!("(c.updated_at, c.id) < ({time}, {id})"));
        }
        for word in self.words {
            conditions.push(words.replace("{}", &bind(Bound::Text(word))));
        }
        let limit = bind(Bound::Number(limit));
        let sql = format!(
            "SELECT {} FROM conversations c {} WHERE {} ORDER BY c.updated_at DESC, c.id DESC LIMIT {limit}",
            conversation::COLUMNS,
            if postgres { "" } else { self.index() },
            conditions.join(" AND "),
        );
        (sql, bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_printed() {
        let cursor = Cursor { updated_at: 1_700_000_000_120, id: ConversationId::new() };
        assert_eq!(Cursor::parse(&cursor.print()).unwrap(), cursor);
        for text in ["", "c", "c1", "c1_", "cx_0", "a1f", "c1_00000000000000000000000000000000x"] {
            assert!(matches!(Cursor::parse(text), Err(StoreError::Cursor)), "{text:?}");
        }
        let (id, other) = (ConversationId::new(), ConversationId::new());
        let of = |text: &str, of: ConversationId| position_of(&format!("{text}_{}", of.uuid()), "a", id);
        assert_eq!(of("a1f", id).unwrap(), 31);
        assert!(matches!(of("a1f", other), Err(StoreError::Cursor)));
        assert!(matches!(position_of("a1f", "a", id), Err(StoreError::Cursor)));
        for text in ["", "d1f", "a-1", "a+1", "a", "affffffffff"] {
            assert!(matches!(of(text, id), Err(StoreError::Cursor)), "{text:?}");
        }
    }

    /// A list of ten among a million costs what it costs among ten: every one is read off an index, in its order.
    #[test]
    fn lists_are_read_off_an_index() {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        crate::migrate::sqlite(&mut connection).unwrap();
        let tenant: TenantId = "acme".parse().unwrap();
        let names: Vec<AssistantName> = vec!["a".parse().unwrap(), "b".parse().unwrap()];
        let cursor = Some(Cursor { updated_at: 1, id: ConversationId::new() });
        let time = Some(chat::Timestamp::now());
        let all = ConversationFilter { since: time, until: time, ..ConversationFilter::default() };
        let of_user = ConversationFilter { user: Some("eve".parse().unwrap()), ..all.clone() };
        for (filter, scope, cursor, index) in [
            (&all, Scope::All, None, "conversations_changed"),
            (&all, Scope::All, cursor, "conversations_changed"),
            (&all, Scope::One(&names[0]), cursor, "conversations_of_assistant"),
            (&of_user, Scope::All, cursor, "conversations_of_user"),
            (&of_user, Scope::One(&names[0]), cursor, "conversations_of_user"),
            (&of_user, Scope::Among(&names), cursor, "conversations_of_user"),
        ] {
            let query = Query { tenant: &tenant, filter, scope, words: &[], cursor };
            let (sql, _) = query.sql(false, 11);
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = plan.raw_query();
            let mut steps: Vec<String> = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                steps.push(row.get("detail").unwrap());
            }
            assert_eq!(steps.len(), 1, "{steps:?}");
            assert!(steps[0].starts_with(&format!("SEARCH c USING INDEX {index} ")), "{steps:?}");
        }
    }
}

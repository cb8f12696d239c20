//! Many rows at once, by SQL alone.

/// What a database calls things.
pub struct Words {
    /// The numbers 1 to `{n}`, as `i` of a table.
    pub series: &'static str,
    /// The 16 bytes of an id for `i`, of a sort.
    pub id: fn(sort: &str, i: &str) -> String,
    /// A message's index of words; empty where another table has it.
    pub words: &'static str,
}

/// Statements that fill an empty store: `messages` messages, a tenth of them in one conversation, the others 30 to a conversation; as many
/// turns as a third of that, with ledger and idempotency record. Half of all is of the tenant `acme`.
pub fn statements(words: &Words, messages: u64) -> Vec<String> {
    let Words { series, id, .. } = words;
    let series = |n: u64| series.replace("{n}", &n.to_string());
    let (conversations, turns) = (messages / 30, messages / 3);
    let deep = messages / 10;
    let word = words.words;
    let text = |i: &str| format!("CASE WHEN {i} = 5 THEN 'hay needle' ELSE 'hay stack ' || {i} END");
    let columns = if word.is_empty() { "" } else { ", words" };
    let message = |n: u64, place: &str| {
        let words =
            if word.is_empty() { String::new() } else { format!(", {}", word.replace("{text}", &text("i"))) };
        format!(
            "INSERT INTO messages (place, id, role, author, status, created_at, text{columns}) \
             SELECT {place}, {}, 'user', 'user', 'completed', 1700000000000 + i, {}{words} FROM {}",
            id("m", place),
            text("i"),
            series(n)
        )
    };
    vec![
        format!(
            "INSERT INTO conversations (id, tenant, assistant, provider, user_id, metadata, message_count, preview, preview_position, \
             next_position, created_at, updated_at) \
             SELECT {}, CASE WHEN i % 2 = 0 THEN 'other' ELSE 'acme' END, CASE WHEN i % 10 = 1 THEN 'docs' ELSE 'support' END, 'tunnel', \
             'user-' || (i % (1 + {conversations} / 20)), '{{}}', 30, 'hay', 0, 30, 1700000000000 + i, 1700000000000 + i FROM {}",
            id("c", "i"),
            series(conversations)
        ),
        // One has many messages.
        format!(
            "UPDATE conversations SET message_count = {deep}, next_position = {deep} WHERE id = {}",
            id("c", "1")
        ),
        message(
            deep,
            &format!("((SELECT seq FROM conversations WHERE id = {}) * 16777216 + i)", id("c", "1")),
        ),
        message(messages - deep, "((i % ({c} - 1) + 2) * 16777216 + 100 + i / ({c} - 1))")
            .replace("{c}", &conversations.to_string()),
        format!(
            "INSERT INTO turns (id, tenant, conversation, place, status, open, queued, owner, asked_assistant, asked_provider, assistant, \
             provider, reply_id, key_id, created_at, reserved_seq, slices, metadata, request, in_flight, attempts, upstream) \
             SELECT {}, CASE WHEN i % 2 = 0 THEN 'other' ELSE 'acme' END, i % {conversations} + 1, i, \
             CASE WHEN i = 1 THEN 'in_progress' ELSE 'completed' END, CASE WHEN i = 1 THEN 1 ELSE 0 END, 0, \
             CASE WHEN i = 1 THEN 'a-dead-one' ELSE 'one' END, 'support', 'tunnel', 'support', 'tunnel', {}, {}, 1700000000000 + i, 0, 0, \
             '{{}}', '{{}}', '', '', '' FROM {}",
            id("t", "i"),
            id("r", "i"),
            id("k", "1"),
            series(turns)
        ),
        format!(
            "INSERT INTO ledger (turn_id, number, tenant, key_id, assistant, provider, at, outcome, answered) \
             SELECT {}, 0, 'acme', {}, 'support', 'tunnel', 1700000000000 + i, 'completed', 1 FROM {}",
            id("t", "i"),
            id("k", "1"),
            series(turns)
        ),
        format!(
            "INSERT INTO idempotency (tenant, key, fingerprint, subject, conversation_id, expires_at) \
             SELECT 'acme', 'key-' || i, {}, {}, {}, 9000000000000 FROM {}",
            id("f", "i"),
            id("t", "i"),
            id("c", "i"),
            series(turns)
        ),
    ]
}

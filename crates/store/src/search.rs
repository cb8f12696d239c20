//! Words to search for. They are cut here, so that both databases agree on what a word is and nothing that a user writes is
//! ever read as query syntax: a word is a run of letters and digits of any script, in lower case.

use chat::StoreError;

use crate::conn::{Both, Conn};

/// How many words a search looks at, and how many characters of each.
const WORDS_MAX: usize = 16;
const WORD_CHARS_MAX: usize = 64;

/// How many characters of a text PostgreSQL's index covers; its own limit is a megabyte of words.
const TEXT_CHARS_MAX: usize = 200_000;

/// Conversations, as `c`, with a word (`{}` is its parameter) in their title or in a message.
pub(crate) const CONDITION: Both = Both {
    sqlite: "c.seq IN (SELECT rowid >> 24 FROM search_messages WHERE search_messages MATCH {} \
             UNION ALL SELECT rowid FROM search_titles WHERE search_titles MATCH {})",
    // One list of both: with an OR between them PostgreSQL reads seven times as much, of a million messages, for a word in all of them.
    postgres: "c.seq IN (SELECT place >> 24 FROM messages WHERE words @@ CAST({} AS tsquery) \
               UNION ALL SELECT seq FROM conversations WHERE title_words @@ CAST({} AS tsquery))",
};

/// Queues a message for a SQLite store's index. PostgreSQL's is a column of the message's row.
pub(crate) async fn add_message(conn: &mut Conn<'_>, place: i64) -> Result<(), StoreError> {
    let Some(gathered) = conn.gathered() else { return Ok(()) };
    gathered.queued = true;
    conn.sql("INSERT INTO search_queue (place) VALUES ($1)").bind(place).run().await.map(drop)
}

/// Lets the index of a store in memory forget the messages between two places, both left out, so many at most and the first ones first:
/// before their rows go. That of a file knows them no more by then ([`crate::indexer::Indexer::forget`]).
pub(crate) async fn take_messages(
    conn: &mut Conn<'_>,
    (after, before): (i64, i64),
    limit: i64,
) -> Result<(), StoreError> {
    let Some(gathered) = conn.gathered() else { return Ok(()) };
    gathered.queued = true;
    conn.sql(
        "INSERT INTO search_queue (place, erased) SELECT place, text FROM messages WHERE place > $1 AND place < $2 \
         AND EXISTS (SELECT 1 FROM pragma_database_list WHERE name = 'search') ORDER BY place LIMIT $3",
    )
    .bind(after)
    .bind(before)
    .bind(limit)
    .run()
    .await
    .map(drop)
}

/// Puts a conversation's title as it stands into a SQLite file's index: after it was written.
pub(crate) async fn add_title(conn: &mut Conn<'_>, conversation: i64) -> Result<(), StoreError> {
    if conn.is_postgres() {
        return Ok(());
    }
    conn.sql(
        "INSERT INTO search_titles (rowid, title) SELECT seq, title FROM conversations \
         WHERE seq = $1 AND title IS NOT NULL",
    )
    .bind(conversation)
    .run()
    .await?;
    Ok(())
}

/// Takes a conversation's title as it stands from a SQLite file's index: before it changes or goes.
pub(crate) async fn take_title(conn: &mut Conn<'_>, conversation: i64) -> Result<(), StoreError> {
    if conn.is_postgres() {
        return Ok(());
    }
    conn.sql(
        "INSERT INTO search_titles (search_titles, rowid, title) SELECT 'delete', seq, title FROM conversations \
         WHERE seq = $1 AND title IS NOT NULL",
    )
    .bind(conversation)
    .run()
    .await?;
    Ok(())
}

/// What `words` asks for, one query for each word; the last may be the beginning of a word.
///
/// An empty list means that nothing can match: there is no word in it.
pub(crate) fn queries(words: &str, postgres: bool) -> Vec<String> {
    let words: Vec<String> =
        cut(words).take(WORDS_MAX).map(|word| word.chars().take(WORD_CHARS_MAX).collect()).collect();
    let last = words.len().saturating_sub(1);
    let quote = if postgres { '\'' } else { '"' };
    let prefix = if postgres { ":*" } else { "*" };
    words
        .iter()
        .enumerate()
        .map(|(index, word)| {
            // A cut word is the beginning of the one that was meant.
            let open = index == last || word.chars().count() == WORD_CHARS_MAX;
            format!("{quote}{word}{quote}{}", if open { prefix } else { "" })
        })
        .collect()
}

/// The different words of a text, for PostgreSQL's index.
pub(crate) fn words_of(text: &str) -> Vec<String> {
    let end = text.char_indices().nth(TEXT_CHARS_MAX).map_or(text.len(), |(end, _)| end);
    let mut words: Vec<String> = cut(text.get(..end).unwrap_or_default())
        // PostgreSQL takes no word longer than 2046 bytes; a longer one is found by its beginning.
        .map(|word| if word.len() > 2000 { word.chars().take(500).collect() } else { word })
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn cut(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_and_the_last_is_open() {
        assert_eq!(queries("Привет, МИР", false), [r#""привет""#, r#""мир"*"#]);
        assert_eq!(queries("it's \"a\" OR b:*", true), ["'it'", "'s'", "'a'", "'or'", "'b':*"]);
        assert!(queries(" !?*\"'() ", false).is_empty());
    }

    #[test]
    fn the_words_of_a_text_are_each_there_once() {
        assert_eq!(words_of("b a B, a-c"), ["a", "b", "c"]);
    }
}

//! What the works of one transaction on a SQLite file have in common, written once for all of them before it is committed.
//!
//! The search's index writes a segment of its own for each savepoint and each statement that has a trigger, and merges segments all
//! the time; a hundred messages at once make one segment. Sums of the ledger are mostly the same few rows.

use chat::{LedgerRow, StoreError};

use crate::conn::Conn;
use crate::ledger::Sums;
use crate::search;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    messages: Vec<(i64, String)>,
    sums: Sums,
}

impl Gathered {
    /// A message stands at this place, of which the search's index does not know yet.
    pub(crate) fn message(&mut self, place: i64, text: &str) {
        self.messages.push((place, text.to_owned()));
    }

    /// A call is in the ledger, and in no sum yet.
    pub(crate) fn call(&mut self, row: &LedgerRow) {
        self.sums.call(row);
    }
}

/// Writes what has been gathered so far; nothing on PostgreSQL, where nothing is.
pub(crate) async fn write(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    let Some(gathered) = conn.gathered() else { return Ok(()) };
    let Gathered { mut messages, sums } = std::mem::take(gathered);
    // The index takes what comes in this order together, and begins a segment at each step back.
    messages.sort_unstable_by_key(|(place, _)| *place);
    sums.write(conn).await?;
    // Last: any other statement could make the index write a segment early.
    for (place, text) in messages {
        search::add_message(conn, place, &text).await?;
    }
    Ok(())
}

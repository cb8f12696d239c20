//! What the works of one transaction on a SQLite file have in common, written once for all of them before it is committed.
//!
//! The search's index writes a segment of its own for each savepoint and each statement that has a trigger, and merges segments all
//! the time; a hundred messages at once make one segment. Sums of the ledger are mostly the same few rows.

use std::collections::HashMap;

use chat::{LedgerRow, StoreError};

use crate::conn::Conn;
use crate::ledger::{self, Day, Sum};
use crate::search;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    messages: Vec<(i64, String)>,
    sums: Vec<(Day, Sum)>,
}

impl Gathered {
    /// A message stands at this place, of which the search's index does not know yet.
    pub(crate) fn message(&mut self, place: i64, text: &str) {
        self.messages.push((place, text.to_owned()));
    }

    /// A call is in the ledger, and in no sum yet.
    pub(crate) fn call(&mut self, row: &LedgerRow) {
        self.sums.push((Day::of(row), Sum::of(row)));
    }
}

/// Writes what has been gathered so far; nothing on PostgreSQL, where nothing is.
pub(crate) async fn write(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    let Some(gathered) = conn.gathered() else { return Ok(()) };
    let Gathered { mut messages, sums } = std::mem::take(gathered);
    // The index takes what comes in this order together, and begins a segment at each step back.
    messages.sort_unstable_by_key(|(place, _)| *place);
    let mut days: HashMap<Day, Sum> = HashMap::new();
    for (day, sum) in sums {
        match days.get_mut(&day) {
            Some(all) => all.add(sum),
            None => drop(days.insert(day, sum)),
        }
    }
    for (day, sum) in days {
        ledger::add(conn, &day, &sum).await?;
    }
    // Last: any other statement could make the index write a segment early.
    for (place, text) in messages {
        search::add_message(conn, place, &text).await?;
    }
    Ok(())
}

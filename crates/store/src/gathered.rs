//! What the writes of one SQLite transaction have to say once, together, when all have been done.
//!
//! Sums of the ledger are mostly the same few rows; and the index of the search is told once.

use chat::{LedgerRow, StoreError};

use crate::conn::Conn;
use crate::ledger::Sums;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    sums: Sums,
    /// There is something new in the queue of the search's index.
    pub(crate) queued: bool,
}

impl Gathered {
    /// What there was before a write that was undone: its sums had been written.
    pub(crate) fn before(queued: bool) -> Self {
        Self { queued, ..Self::default() }
    }

    /// A call is in the ledger, and in no sum yet.
    pub(crate) fn call(&mut self, row: &LedgerRow) {
        self.sums.call(row);
    }
}

/// Writes it: before the commit, and before anything else that goes by it.
pub(crate) async fn write(conn: &mut Conn<'_>) -> Result<(), StoreError> {
    let Some(gathered) = conn.gathered() else { return Ok(()) };
    std::mem::take(&mut gathered.sums).write(conn).await
}

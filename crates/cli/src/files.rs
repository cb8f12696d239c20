//! How many files the process may have open, connections included, and how many of them are for clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process needs for itself: the store, the log, the configuration, admins.
const OWN: u64 = 128;
/// However few files there are, some clients are served.
const CLIENTS_MIN: u64 = 16;

/// Raises the limit as far as it may go without being asked; how many files there may be. None: no limit.
pub(crate) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // What is set for a session is often a thousand, for the sake of programs that can't count further.
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    }
}

/// How many connections of clients fit: each may need one more, to a provider.
pub(crate) fn clients(files: Option<u64>, most: usize) -> usize {
    let Some(files) = files else { return most };
    let fit = (files.saturating_sub(OWN) / 2).max(CLIENTS_MIN);
    usize::try_from(fit).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_files_for_their_turns() {
        assert_eq!(clients(None, 100), 100);
        assert_eq!(clients(Some(20_000), 32_768), 9936);
        assert_eq!(clients(Some(1 << 20), 32_768), 32_768);
        assert_eq!(clients(Some(10), 32_768), 16);
    }
}

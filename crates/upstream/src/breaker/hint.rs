//! What one process has learnt of an upstream and others that ask the same one may want to know.

use std::fmt;
use std::time::Duration;

/// What another process has learnt of an upstream. It is no more than a reason to be careful: the other's network may be at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Its breaker has opened, for so long. Nobody is refused for that: the next calls are the probe, and if the first of them to
    /// end has failed, the breaker opens here as well, without waiting for as many as it otherwise takes.
    Failing(Duration),
    /// The upstream asked to be left alone for so long. Who asks as the same client is meant, too: calls wait for the end of the
    /// pause, as if they had been told so themselves.
    Paused(Duration),
}

/// Is told what is learnt here. Called while a call is at work: it must not wait.
pub(crate) struct Listener(pub(crate) Box<dyn Fn(Hint) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

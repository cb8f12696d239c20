//! Turns that survive: the program killed, restarted, asked to leave, cut off from its store and from its clients.

pub mod bed;
mod cancel;
mod full;
mod kill;
mod leave;
mod lock;
mod resume;
pub mod stream;

use bed::{Bed, Gateway};
use stream::{Event, Stream, joined};

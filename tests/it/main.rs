//! One test binary.

mod cassette;
mod grammar;
mod providers;

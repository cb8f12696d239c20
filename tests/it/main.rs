//! One test binary.

mod simulator;

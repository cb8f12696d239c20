//! One test binary.

mod upstream;

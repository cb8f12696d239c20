//! One test binary.

#[cfg(test)]
mod upstream;

//! One test binary.

#[cfg(test)]
mod cassette;
#[cfg(test)]
mod grammar;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod upstream;

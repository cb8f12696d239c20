//! To be written.

use crate::{BuildError, Kind};

/// This kind's row.
pub(crate) const KIND: Kind = Kind {
    name: "unleash",
    default_base_url: "https://e-api.unleash.so",
    settings: || schemars::Schema::default(),
    build: |_, _, _| Err(BuildError::at("kind", "not there yet")),
};

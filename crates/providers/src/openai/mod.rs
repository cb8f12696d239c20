//! To be written.

use crate::{BuildError, Kind};

/// This kind's row.
pub(crate) const KIND: Kind = Kind {
    name: "openai",
    default_base_url: "https://api.openai.com/v1",
    settings: || schemars::Schema::default(),
    build: |_, _, _| Err(BuildError::at("kind", "not there yet")),
};

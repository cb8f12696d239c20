//! To be written.

use crate::{BuildError, Kind};

/// This kind's row.
pub(crate) const KIND: Kind = Kind {
    name: "gptunnel",
    default_base_url: "https://gptunnel.ru/v1",
    settings: || schemars::Schema::default(),
    build: |_, _, _| Err(BuildError::at("kind", "not there yet")),
};

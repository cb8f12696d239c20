//! What runs the gateway: the image, compose files and manifests say what is true of the program; nginx in front of it does as it is
//! told; backups come back.

mod backup;
mod facts;
pub mod nginx;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

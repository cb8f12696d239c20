//! The API's description: that it is whole, that it is the one checked in, that its examples are real.

mod document;
mod examples;
mod requests;
mod stage;

use std::path::{Path, PathBuf};

/// Whether files that are compared are to be written anew: `SWITCHBOARD_BLESS=1`.
fn blesses() -> bool {
    std::env::var_os("SWITCHBOARD_BLESS").is_some()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Compares a file that is checked in with what it should be.
fn compare(path: &str, wanted: &str) {
    if blesses() {
        std::fs::write(root().join(path), wanted).unwrap();
    }
    let kept = read(path);
    if let Some((number, (kept, wanted))) =
        kept.lines().zip(wanted.lines()).enumerate().find(|(_, (kept, wanted))| kept != wanted)
    {
        panic!(
            "{path}:{}: `{kept}` should be `{wanted}`; see it with SWITCHBOARD_BLESS=1 and `git diff`",
            number + 1
        );
    }
    assert_eq!(kept.len(), wanted.len(), "{path} has another length; SWITCHBOARD_BLESS=1 writes it anew");
}

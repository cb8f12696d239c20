//! Two programs behind nginx, on one PostgreSQL and one Redis, under many streams: restarted one after the other, and one of them
//! killed.
//!
//! `SWITCHBOARD_TEST_POSTGRES` and `SWITCHBOARD_TEST_REDIS` name servers; without them these tests say that they were skipped. With
//! `SWITCHBOARD_TEST_FULL` there are 500 streams at once, which takes a machine some minutes.

mod bed;
mod client;
mod kill;
mod restart;

use bed::Stage;
use client::{Clients, Told, question};

/// So many streams at once.
fn streams() -> usize {
    if std::env::var_os("SWITCHBOARD_TEST_FULL").is_some() { 500 } else { 60 }
}

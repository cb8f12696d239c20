//! Several gateways on one PostgreSQL: turns read, stopped and repeated where they do not run; gateways that go, and come back.
//!
//! `SWITCHBOARD_TEST_POSTGRES` names the server; without it these tests say that they were skipped.

mod bed;
mod following;
mod lapsing;
mod live;
mod one_turn;
mod programs;

use bed::{Bed, Replica, kept};

//! Other people's clients, the recipes of `docker/clients` and proxies in front, against the program over the simulator.
//!
//! What they need is installed by `tests/clients/install`, and `SWITCHBOARD_TEST_CLIENTS` names the folder (`tests/run` sees to both);
//! without it these tests say that they were skipped.

mod cutter;
mod official;
mod proxies;
mod proxy;
mod recipes;
mod stage;

use stage::{Stage, Tool, installed};

//! Real providers, the real engine and the real router against the simulator: what the contract says of each fault, each shape
//! and each framing, in one process.
#![cfg(test)]

mod bed;
mod expected;
mod ledger;
mod outage;
mod shapes;
mod stage;
mod table;
mod turns;

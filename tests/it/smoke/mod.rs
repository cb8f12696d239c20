//! The program end to end: the binary over real sockets, against the simulated providers.

mod chat;
mod commands;
mod demo;
pub mod program;
mod reload;
mod serve;
mod slow;
mod tls;

use program::{Events, Program, check_stream, client, get, post, text_of};

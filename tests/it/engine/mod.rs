//! One turn, start to finish, over a scripted provider and a real SQLite file.

mod busy;
mod conversations;
mod durable;
mod ends;
mod idempotency;
mod recovery;
mod turns;

//! One turn, start to finish, over a scripted provider and a real SQLite file.

mod attempts;
mod busy;
mod conversations;
mod durable;
mod ends;
mod faulty;
mod idempotency;
mod panics;
mod points;
mod recovery;
mod turns;

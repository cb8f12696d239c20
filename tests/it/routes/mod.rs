//! The routes, as a caller sees them: a file for each part of the API.

mod admin;
mod chat;
mod conversations;
mod edges;

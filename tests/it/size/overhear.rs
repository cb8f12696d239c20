//! What is said of the work on a database: the statements that SQLite ran, and what PostgreSQL told its driver beside the answers.

use std::fmt::Debug;
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static HEARD: Mutex<Vec<Heard>> = Mutex::new(Vec::new());

/// What was said.
#[derive(Debug, Clone)]
pub enum Heard {
    Statement(String),
    Notice(String),
}

/// Listens from now on.
pub fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Ear).expect("nobody else listens"));
    drop(taken());
}

/// What was said since the last time.
pub fn taken() -> Vec<Heard> {
    std::mem::take(&mut *HEARD.lock().unwrap())
}

struct Ear;

const STATEMENTS: &str = "sql";
const NOTICES: &str = "sqlx::postgres::notice";

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        [STATEMENTS, NOTICES].contains(&metadata.target())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        let heard = if event.metadata().target() == NOTICES {
            Heard::Notice(said.message)
        } else {
            Heard::Statement(said.statement)
        };
        HEARD.lock().unwrap().push(heard);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Said {
    message: String,
    statement: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

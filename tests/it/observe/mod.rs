//! What can be seen of a running gateway, and what must not: metrics, spans, the log, and secrets in none of them.

mod canary;
mod collector;
mod echo;
mod logs;
mod metrics;
mod schema;
mod served;
mod traces;

use collector::Collector;
use echo::Echo;
use served::Served;

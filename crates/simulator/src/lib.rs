//! The simulator: GPTunnel, MyGPTAssistants, Unleash, gigachat.ai and an OpenAI-compatible server, played on loopback.
//!
//! It is written from the providers' documents alone and shares no code with the adapters that talk to it, so that the
//! two cannot agree by accident. Tests and benchmarks run against it, `switchboard demo` and `switchboard simulate`
//! serve it, and it is there for the integration tests of whoever runs a gateway.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let journal = simulator::journal();
//! let options = simulator::Options { journal: journal.clone(), ..simulator::Options::default() };
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! simulator::serve(listener, options, std::future::pending::<()>()).await;
//! # Ok(()) }
//! ```
//!
//! # What it plays
//!
//! | provider | base URL | key | assistants |
//! |---|---|---|---|
//! | GPTunnel | `/gptunnel/v1` | `Authorization: sim-key`, bare | `ai08158128`, `ai4410207`, `translator` |
//! | MyGPTAssistants | `/mygptassistants/api/v1` | `Authorization: Bearer sim-key` | `bot_support`, `bot_sales`, `bot_123456` |
//! | Unleash | `/unleash` | `Bearer sim-key`, or `Bearer sim-key-impersonated` with `unleash-account` | none, `3f2b6c1e-8d4a-4f0b-9a67-2c5d1e7f9b03`, `b7d9e0a2-5c31-4e8f-8b64-90f1a3c2d7e5` |
//! | gigachat.ai | `/gigachat` | `Bearer sim-key` | `8fb205e5-ff46-4bf6-9d7b-4d770935a486`, `5a0c7d3e-1b92-4c56-a8ef-6d41b2f09c83` |
//! | OpenAI-compatible | `/openai/v1` | `Bearer sim-key` | `sim-model`, `sim-model-large`, `gpt-4o` |
//!
//! Requests are checked strictly against the documents and refused with the provider's documented error. Answers
//! depend on the seed, the provider, the assistant, the conversation and the message; they name how many earlier messages
//! the provider was given, and answer "what did I say first?" and "what is my name?" from them. Tokens are counted as a
//! quarter of the characters, rounded up. Where the documents are silent, each provider's file says what was chosen
//! and how well founded that is: \[D\] documented, \[P\] seen in the provider's own code, \[O\] seen in others' code, \[I\]
//! inferred, \[U\] unknown.
//!
//! `GET /_simulator/calls?upstream_id=…&provider=…` shows what was asked and how it ended (keys are not kept), `DELETE` forgets it,
//! `GET /_simulator/faults` lists the tables below, `POST /_simulator/release` lets go what `fault-hold-after-N` holds.
//!
//! # Faults
//!
//! The upstream id chooses what goes wrong: `assistantCode`, the bot's id, `assistantId`, the chatbot's id, `model`. An
//! id is one or more parts with `+` between them: at most one fault, one framing, any number of shapes, and an ordinary
//! assistant for the look of it. `-times-N` at the end of a fault or of `flaky-P` limits it to the first N calls of that id. `~label` at
//! the end of a part makes it another id of the same meaning, with counts of its own. Any other id is unknown to the
//! provider. `N` is a number, `MS` milliseconds, `S` seconds. A JSON answer counts pieces of 24 bytes.
//!
//! | id | effect |
//! |---|---|
//! | `fault-STATUS` | the provider's error body with a status from 400 to 599 |
//! | `fault-STATUS-retry-after-S` | the same with `Retry-After: S` |
//! | `fault-STATUS-reset-S` | the same with `X-RateLimit-Reset`: the Unix time in S seconds, in seconds |
//! | `fault-STATUS-reset-ms-S` | the same, in milliseconds |
//! | `fault-too-long` | 400 `context_length_exceeded` |
//! | `fault-content-filter` | 400 `content_filter` |
//! | `fault-code-N` | 200 with an integer `code` and no answer (GPTunnel's sibling API: 5 no balance, 6 busy, 1001 filtered) |
//! | `fault-success-false` | 200 with the provider's error body (MyGPTAssistants: `success: false`) |
//! | `fault-html-STATUS` | an HTML page with a status from 200 to 599 |
//! | `fault-redirect` | 302 to `/_simulator/redirected`, which writes down who follows |
//! | `fault-reset` | the connection is reset before the headers |
//! | `fault-close` | the connection is closed before the headers |
//! | `fault-silence` | the request is read and nothing is answered |
//! | `fault-slow-headers-MS` | the headers come after MS milliseconds |
//! | `fault-headers-only` | the headers, then nothing, for ever |
//! | `fault-reset-after-N` | the connection is reset after N pieces of text |
//! | `fault-cut-after-N` | the connection is closed after N pieces, without the end of the body |
//! | `fault-stall-after-N` | nothing more after N pieces, the connection stays open |
//! | `fault-hold-after-N` | nothing more after N pieces until `POST /_simulator/release?upstream_id=…` with this id |
//! | `fault-end-after-N` | a clean end of the body after N pieces, without the sign of completion |
//! | `fault-slow-text-MS` | the first text comes MS milliseconds after the headers |
//! | `fault-slow-pieces-MS` | MS milliseconds before each piece of text |
//! | `fault-pings-MS` | a comment (for JSON: white space) every MS milliseconds and never a text |
//! | `fault-garbage-after-N` | bytes that are neither JSON nor UTF-8 after N pieces, then the rest |
//! | `fault-error-after-N` | the provider's error as an event after N pieces, then a clean end |
//! | `fault-json-for-stream` | JSON, whatever was asked |
//! | `fault-stream-for-json` | a stream, whatever was asked |
//! | `fault-label-text` | the right body labelled `text/plain` |
//! | `fault-label-json` | the right body labelled `application/json` |
//! | `fault-label-events` | the right body labelled `text/event-stream` |
//! | `fault-label-none` | the right body without a label |
//! | `fault-text-as-events` | the bare text labelled `text/event-stream` |
//! | `fault-empty-body` | 200 and no bytes |
//! | `fault-empty-text` | a complete answer whose text is empty |
//! | `fault-no-text` | a complete answer without its text field, a stream without text |
//! | `fault-endless-line` | after the first piece of text a line that does not end (at most 1 GiB) |
//! | `fault-cumulative` | each piece repeats all of the text before it |
//! | `fault-final-differs` | where the end repeats the whole text, it is another text |
//! | `fault-huge-N` | a text of N bytes (at most 64 MiB) |
//! | `fault-big-frame` | a text of 1 MiB in one piece |
//! | `fault-finish-length` | the text is half as long and ends with `finish_reason: length` |
//! | `fault-finish-filter` | the text is half as long and ends with `finish_reason: content_filter` |
//! | `fault-framing-cr` | lines end in CR |
//! | `fault-framing-crlf` | lines end in CR LF |
//! | `fault-framing-bom` | a byte order mark in front |
//! | `fault-framing-no-space` | `data:` without a space |
//! | `fault-framing-several-data` | a JSON document over three `data:` lines |
//! | `fault-framing-comments` | comments, `id:` and `retry:` between and inside the events |
//! | `fault-framing-no-blank-end` | no blank line after the last event |
//! | `fault-framing-no-blanks` | no blank lines at all |
//! | `fault-framing-one-byte` | every byte in a write of its own |
//! | `fault-framing-split` | every character of several bytes in two writes |
//! | `flaky-P` | P of 100 calls fail: 429, 500, 502, 503, reset, close or cut-after-2, by the seed |
//!
//! # Shapes
//!
//! What the documents leave open has a default, and alternatives under ids of their own:
//!
//! | provider | id | the answer |
//! |---|---|---|
//! | all | `shape-no-memory` | earlier messages are not remembered (gigachat.ai: `memory_size` 0 taken as none \[U\]) |
//! | gptunnel | `shape-json` | `stream: true` is ignored and JSON answered \[U\] |
//! | gptunnel | `shape-ndjson` | a stream of one JSON document a line \[U\] |
//! | gptunnel | `shape-raw-text` | a stream of bare text \[U\] |
//! | gptunnel | `shape-no-usage` | no `usage` \[O\] |
//! | gptunnel | `shape-2024` | `spendTokenCount`, `historyMessageCount`, no `usage`, no `model` \[O\] |
//! | gptunnel | `shape-trailing-comma` | error bodies with the trailing comma of the documentation \[D\] |
//! | mygptassistants | `shape-bot-chunks` | `event: chunk` with `bot.text` and `history` \[I\] |
//! | mygptassistants | `shape-raw-data` | events whose data is bare text \[U\] |
//! | mygptassistants | `shape-raw-text` | a stream of bare text \[U\] |
//! | mygptassistants | `shape-no-id` | a stream that never says the `conversationId` \[I\] |
//! | mygptassistants | `shape-id-first` | a stream that says the `conversationId` in its first event \[U\] |
//! | mygptassistants | `shape-error-null` | `error: null` beside a success \[D\] |
//! | mygptassistants | `shape-flat` | `response` at the top of the answer \[D\] |
//! | mygptassistants | `shape-error-code` | errors as `{error:{code,message}}` \[P\] |
//! | mygptassistants | `shape-error-text` | errors as `{error:text,message,statusCode}` \[P\] |
//! | mygptassistants | `shape-error-message` | errors as `{message}` \[P\] |
//! | unleash | `shape-flat-message` | `role` and `parts` at the top of a `Message` event \[P\] |
//! | unleash | `shape-lower-case` | part types in lower case \[P\] |
//! | unleash | `shape-no-full` | no `Full` at the end of a stream \[U\] |
//! | unleash | `shape-done` | `[DONE]` at the end of a stream \[U\] |
//! | unleash | `shape-no-type` | an answer without `type` \[P\] |
//! | unleash | `shape-no-thread` | an answer without `threadId` \[U\] |
//! | unleash | `shape-header-id` | the request id in the header alone \[O\] |
//! | unleash | `shape-one-based` | `indices` counted from 1 \[U\] |
//! | unleash | `shape-references-last` | `References` behind the text, not before it \[U\] |
//! | unleash | `shape-2024` | the answer of `POST /chat` of 2024 \[P\] |
//! | gigachat | `shape-array` | rows of messages and of documents, mixed \[I\] |
//! | gigachat | `shape-documents` | the array of documents of the documentation \[D\], no answer |
//! | gigachat | `shape-json-string` | the answer is a JSON string \[U\] |
//! | gigachat | `shape-openai-chunks` | a stream of OpenAI's chunks \[I\] |
//! | gigachat | `shape-raw-text` | a stream of bare text \[I\] |
//! | gigachat | `shape-put-in-json` | `{}` instead of an empty body for a message put in \[U\] |
//! | gigachat | `shape-error-object` | errors as `{error:{message}}` \[U\] |

mod body;
mod chance;
mod connection;
mod control;
mod conversations;
mod deliver;
mod exchange;
mod faults;
mod gigachat;
mod gptunnel;
mod holds;
mod journal;
mod mygptassistants;
mod openai;
mod script;
mod tasks;
mod text;
mod unleash;
mod world;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

pub use faults::{SHAPES, TABLE};
pub use journal::{CALLS_MAX, Call, Journal, Outcome, Scheme, Totals, Usage};

/// The key that every provider accepts.
pub const KEY: &str = "sim-key";

/// A key of Unleash that demands the `unleash-account` header.
pub const KEY_IMPERSONATED: &str = "sim-key-impersonated";

/// The providers, in the order in which they are listed.
pub const PROVIDERS: [Provider; 5] = [
    Provider { name: "gptunnel", path: "/gptunnel/v1", assistants: gptunnel::DIALECT.assistants },
    Provider {
        name: "mygptassistants",
        path: "/mygptassistants/api/v1",
        assistants: mygptassistants::DIALECT.assistants,
    },
    Provider { name: "unleash", path: "/unleash", assistants: unleash::DIALECT.assistants },
    Provider { name: "gigachat", path: "/gigachat", assistants: gigachat::DIALECT.assistants },
    Provider { name: "openai", path: "/openai/v1", assistants: openai::DIALECT.assistants },
];

/// Where a provider is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name in the journal.
    pub name: &'static str,
    /// The path of its base URL, to be put after `http://` and the address; without a slash at the end.
    pub path: &'static str,
    /// The ids of the assistants that it always has. Unleash also answers without one.
    pub assistants: &'static [&'static str],
}

/// The path of a provider's base URL; nothing for a name that is not in [`PROVIDERS`].
#[must_use]
pub fn base_path(provider: &str) -> Option<&'static str> {
    PROVIDERS.iter().find(|known| known.name == provider).map(|known| known.path)
}

/// How the simulator is played.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Chooses the texts, the ids and what `flaky-P` does. The same seed and the same calls give the same answers.
    pub seed: u64,
    /// How fast the assistants speak.
    pub pace: Pace,
    /// Where calls are written down.
    pub journal: Journal,
}

/// How fast an answer comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// A few words every 30 to 60 ms; an answer in one piece after 0.6 s.
    #[default]
    Human,
    /// Without any pause, and without a timer.
    Instant,
    /// So long before each piece of text.
    Every(Duration),
}

/// A journal with nothing in it, to be handed to [`Options`] and read meanwhile.
#[must_use]
pub fn journal() -> Journal {
    Journal::default()
}

/// Plays all providers on one address until `shutdown`, then drops whatever connections are open.
pub async fn serve(listener: TcpListener, options: Options, shutdown: impl Future) {
    let world = Arc::new(world::World::new(options));
    let router = Router::new()
        .merge(control::router())
        .nest("/gptunnel/v1", gptunnel::router())
        .nest("/mygptassistants/api/v1", mygptassistants::router())
        .nest("/unleash", unleash::router())
        .nest("/gigachat", gigachat::router())
        .nest("/openai/v1", openai::router())
        .with_state(world);
    connection::accept(listener, router, shutdown).await;
}

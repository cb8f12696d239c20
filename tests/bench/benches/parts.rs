//! The parts, each by itself: `cargo bench --manifest-path tests/bench/Cargo.toml`.
//!
//! What counts is how a part compares with itself before a change; what it costs in the whole is told by `tests/bench/run`.

#[path = "../src/dialect.rs"]
#[expect(dead_code, reason = "shared with the benchmark of the whole, which needs all of it")]
mod dialect;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chat::{AttemptObserver, AttemptReport, Content, EventLog, Request, TurnId};
use dialect::DIALECTS;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use futures_util::{StreamExt, stream};
use tokio::runtime::Runtime;
use tower::service_fn;
use upstream::{Body, BreakerConfig, Client, Config, RetryConfig, Upstream};

/// Pieces of a stream.
const PIECES: usize = 200;

fn main() {
    divan::main();
}

/// A provider's stream of [`PIECES`] pieces.
fn events(dialect: &dialect::Dialect) -> Vec<u8> {
    let (mut bytes, mut all) = (dialect.begin().as_bytes().to_vec(), String::new());
    for number in 0..PIECES {
        let mut text = String::new();
        dialect::piece(&mut text, number, 1_760_000_000_000_000_000);
        all.push_str(&text);
        dialect.event(&mut bytes, &text);
    }
    bytes.extend_from_slice(dialect.end(if dialect.repeats() { &all } else { "" }).as_bytes());
    bytes
}

/// Bytes to frames, as they come from a socket.
#[divan::bench]
fn event_stream(bencher: Bencher<'_, '_>) {
    let bytes = Bytes::from(DIALECTS.first().map(events).unwrap_or_default());
    bencher.counter(BytesCount::new(bytes.len())).bench(|| {
        let mut reader = upstream::sse::Reader::default();
        let mut frames = 0;
        for piece in bytes.chunks(16 * 1024) {
            reader.push(&bytes.slice_ref(piece));
            while let Ok(Some(frame)) = reader.next_frame() {
                black_box(frame);
                frames += 1;
            }
        }
        frames
    });
}

/// A turn's log, written piece by piece and read by one reader as JSON.
#[divan::bench]
fn event_log(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(PIECES)).bench(|| {
        let (mut log, mut seen, mut out) = (EventLog::default(), 0, Vec::new());
        for _ in 0..PIECES {
            log.delta("a piece of about fifty bytes, which a reader sees.");
            while let Some((seq, event)) = log.next_after(seen) {
                seen = seq;
                let _ = serde_json::to_writer(&mut out, &event.data(seq));
            }
        }
        out
    });
}

/// What a key costs before it is looked up.
#[divan::bench]
fn key_check() -> [u8; 32] {
    server::hash_secret(black_box("swk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"))
}

#[derive(Debug)]
struct Nobody;

impl AttemptObserver for Nobody {
    fn began(&self) {}
    fn failed(&self, _: AttemptReport) {}
}

/// A way out on which every call is answered so.
fn upstream(answer: Bytes, content_type: &'static str) -> Option<Upstream> {
    let client = Client::new(service_fn(move |_| {
        let answer = answer.clone();
        async move {
            let pieces: Vec<_> = answer.chunks(16 * 1024).map(|piece| Ok(answer.slice_ref(piece))).collect();
            let mut response = http::Response::new(Body::new(stream::iter(pieces)));
            let label = http::HeaderValue::from_static(content_type);
            response.headers_mut().insert(http::header::CONTENT_TYPE, label);
            Ok(response)
        }
    }));
    let minute = Duration::from_secs(60);
    let config = Config {
        name: "bench".to_owned(),
        base_url: http::Uri::from_static("http://upstream.test/v1"),
        headers: http::HeaderMap::new(),
        connect_timeout: minute,
        headers_timeout: minute,
        idle_timeout: minute,
        retry: RetryConfig {
            attempts_max: 1,
            base: minute,
            cap: minute,
            budget_percent: 0,
            ambiguous: false,
        },
        breaker: BreakerConfig { window: minute, failures: 1.0, minimum: 10, cool_down: minute },
        max_concurrency: 10,
        requests_per_minute: 0,
        proxy: None,
        ca_file: None,
    };
    Upstream::with_client(config, client).ok()
}

/// A call through a provider's adapter: its request written, its answer read.
fn adapter(bencher: Bencher<'_, '_>, dialect: &dialect::Dialect, streamed: bool) {
    let (answer, content_type) = match streamed {
        true => (events(dialect), "text/event-stream"),
        false => (dialect.whole(&dialect::whole_text()).into_bytes(), "application/json"),
    };
    let settings = format!("api_key = \"a-key\"\n{}", dialect.settings).parse();
    let context = providers::Context { secrets: Arc::new([]), reply_bytes_max: 8 * 1024 * 1024 };
    let (Ok(settings), Some(upstream), Ok(runtime)) =
        (settings, upstream(answer.into(), content_type), Runtime::new())
    else {
        return;
    };
    let Ok(provider) = providers::build(dialect.kind, settings, upstream, context) else { return };
    let message = Content::text_only("A question of about one kilobyte. ".repeat(30));
    let request = || Request {
        turn_id: TurnId::new(),
        upstream_id: "bench".to_owned(),
        system: None,
        history: Vec::new(),
        message: message.clone(),
        user: None,
        thread: None,
        context_messages: 20,
        search_filters: None,
        metadata: chat::Metadata::new(),
        stream: streamed,
        extension: None,
        observer: Arc::new(Nobody),
        deadline: Instant::now() + Duration::from_secs(60),
    };
    let items = if streamed { PIECES } else { 1 };
    bencher.counter(ItemsCount::new(items)).with_inputs(request).bench_values(|request| {
        runtime.block_on(async {
            match provider.answer(request).await {
                Ok(mut pieces) => {
                    let mut count = 0;
                    while let Some(Ok(piece)) = pieces.next().await {
                        black_box(piece);
                        count += 1;
                    }
                    count
                }
                Err(_) => 0,
            }
        })
    });
}

#[divan::bench(args = DIALECTS.iter().map(|dialect| dialect.kind))]
fn adapter_whole(bencher: Bencher<'_, '_>, kind: &str) {
    if let Some(dialect) = DIALECTS.iter().find(|dialect| dialect.kind == kind) {
        adapter(bencher, dialect, false);
    }
}

#[divan::bench(args = DIALECTS.iter().map(|dialect| dialect.kind))]
fn adapter_stream(bencher: Bencher<'_, '_>, kind: &str) {
    if let Some(dialect) = DIALECTS.iter().find(|dialect| dialect.kind == kind) {
        adapter(bencher, dialect, true);
    }
}

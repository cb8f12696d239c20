//! Thousands of clients that connect and do not get on: nobody else notices, and each costs little.
//!
//! Of the full number, 9,500, only a part is staged where this is run with all other tests; `tests/full/slow.sh` stages them all.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::commands::{Folder, KEY};
use super::program::{client, post};
use super::{Program, get};

const SECRET: &str = "a-key-of-the-file";
/// What a connection may cost the gateway, in bytes of resident memory: several times what it does.
const CONNECTION_BYTES_MAX: u64 = 64 * 1024;

fn full() -> bool {
    std::env::var_os("SWITCHBOARD_TEST_FULL").is_some()
}

/// How many connections are staged: as many as this process may have files for, beside its own.
fn count() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let files: usize = files.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX);
    let wanted = if full() { 9_500 } else { 600 };
    assert!(files > wanted + 200, "raise the limit first: ulimit -n {}", wanted + 200);
    wanted
}

fn resident(gateway: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn files(gateway: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count()
}

async fn connections(gateway: &Program) -> usize {
    let metrics =
        client().get(format!("{}/metrics", gateway.admin)).send().await.unwrap().text().await.unwrap();
    let name = "switchboard_connections{listener=\"clients\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.parse().unwrap())
}

/// A gateway before a provider that stops talking in the middle.
async fn folder() -> (Folder, tokio_util::task::TaskTracker) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/openai/v1", listener.local_addr().unwrap());
    let options = simulator::Options { pace: simulator::Pace::Instant, ..simulator::Options::default() };
    let tracker = tokio_util::task::TaskTracker::new();
    tracker.spawn(simulator::serve(listener, options, std::future::pending::<()>()));
    let folder = Folder::with(&format!(
        "[providers.model]\nkind = \"openai\"\nbase_url = \"{base}\"\napi_key = \"{}\"\nidle_timeout = \"1h\"\n\
         total_timeout = \"1h\"\n\
         [assistants.support]\nprovider = \"model\"\nupstream_id = \"gpt-4o\"\n\
         [assistants.stuck]\nprovider = \"model\"\nupstream_id = \"fault-stall-2\"\n{KEY}",
        simulator::KEY
    ));
    (folder, tracker)
}

/// Connections of four sorts, in turn.
struct Slow {
    /// With the rest of what they will ever say.
    sockets: Vec<(TcpStream, &'static [u8])>,
}

impl Slow {
    /// Such that say nothing, send a head byte by byte, begin HTTP/2 and leave it, or read none of the events of this turn.
    async fn connect(gateway: &Program, count: usize, turn: &str) -> Self {
        let address = gateway.url.trim_start_matches("http://");
        let mut sockets = Vec::new();
        let events = format!(
            "GET /v1/chat/{turn}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\n\r\n"
        );
        for number in 0..count {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let rest: &[u8] = match number % 4 {
                0 => b"",
                1 => b"GET /v1/assistants HTTP/1.1\r\nhost: x\r\nx-slow: 0123456789012345678901234567890123456789",
                2 => b"PRI * HTTP/2.0\r\n\r\nSM",
                _ => {
                    socket.write_all(events.as_bytes()).await.unwrap();
                    b""
                }
            };
            sockets.push((socket, rest));
        }
        Self { sockets }
    }

    /// Each says one byte more, if it has one.
    async fn go_on(&mut self) {
        for (socket, rest) in &mut self.sockets {
            if let Some((first, others)) = rest.split_first() {
                // One that was let go is let go.
                let _ = socket.write_all(&[*first]).await;
                *rest = others;
            }
        }
    }
}

/// What others do meanwhile, and that it is done.
async fn others(gateway: &Program) {
    let client = client();
    let body = json!({"assistant": "support", "message": "Hello"});
    let turn = post(gateway, "/v1/chat", &body).await;
    assert_eq!(turn["status"], "completed");
    let body = json!({"assistant": "support", "message": "Hello", "stream": true}).to_string();
    let request = client.post(format!("{}/v1/chat", gateway.url)).bearer_auth(SECRET);
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("event: turn.completed\n"));
    assert_eq!(get(gateway, "/v1/conversations").await.0, 200);
}

/// A turn that runs on without a word.
async fn stuck(gateway: &Program) -> String {
    let body = json!({"assistant": "stuck", "message": "Hello", "stream": true}).to_string();
    let request = client().post(format!("{}/v1/chat", gateway.url)).bearer_auth(SECRET);
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    answer.headers()["x-turn-id"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_cost_little_and_bother_nobody() {
    let (folder, _provider) = folder().await;
    let gateway = Program::serve(&folder.file(), SECRET).await;
    let turn = stuck(&gateway).await;
    for _ in 0..20 {
        others(&gateway).await;
    }
    let (before, count) = (resident(&gateway), count());
    let mut slow = Slow::connect(&gateway, count, &turn).await;
    while connections(&gateway).await < count {}
    let each = resident(&gateway).saturating_sub(before) / count as u64;
    println!("{count} connections, {each} bytes each");
    assert!(each < CONNECTION_BYTES_MAX, "{each} bytes");
    assert!(files(&gateway) < count + 100);
    for _ in 0..10 {
        slow.go_on().await;
        others(&gateway).await;
    }
    let each = resident(&gateway).saturating_sub(before) / count as u64;
    println!("{each} bytes each, with what others did meanwhile");
    assert!(each < CONNECTION_BYTES_MAX, "{each} bytes");
    drop(slow);
    while connections(&gateway).await > 50 {}
    others(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_bound_idle_connections_make_room() {
    let (folder, _provider) = folder().await;
    // Of these 128 are the gateway's own, and half of the others are for clients.
    let mut gateway = Program::serve_with_files(&folder.file(), SECRET, 500).await;
    let turn = stuck(&gateway).await;
    // A hundred that read an event stream, or don't, and stay.
    let _readers = Slow::connect(&gateway, 400, &turn).await;
    let told = gateway
        .logged("as many connections are open as there may be: idle ones are closed for new ones")
        .await;
    assert_eq!(told["connections"], 186);
    for _ in 0..10 {
        others(&gateway).await;
    }
    assert!(connections(&gateway).await <= 186);
    assert!(files(&gateway) < 500);
}

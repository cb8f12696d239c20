//! Event streams through nginx and Caddy, as `docker/clients` configures them: unbuffered though buffering is on, resumable, and no
//! request sent twice.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::proxy::{Kind, Proxy, changed};
use super::stage::HELD;
use super::{Stage, installed};
use crate::crash::bed::SECRET;
use crate::crash::stream::{Event, Stream, joined, whole};

/// A gateway whose replies are held back after their first piece, and a proxy before it.
async fn behind(kind: Kind, changes: &[(&str, &str)]) -> Option<(Stage, Proxy)> {
    let stage = Stage::open(("unleash", HELD)).await?;
    let address = stage.gateway.url.strip_prefix("http://").unwrap().to_owned();
    let proxy = Proxy::start(kind, &[&address], changes).await;
    Some((stage, proxy))
}

async fn ask(proxy: &Proxy, path: &str, body: &Value) -> reqwest::Response {
    let request = proxy.client.post(format!("{}{path}", proxy.url)).bearer_auth(SECRET);
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

fn turn() -> Value {
    json!({"assistant": "support", "message": "Hello there.", "stream": true})
}

fn is_text(event: &Event) -> bool {
    event.kind == "message.delta"
}

/// The simulator says the second piece only when the first has been read on this side of the proxy.
async fn piece_by_piece(kind: Kind) {
    let Some((stage, proxy)) = behind(kind, &[]).await else { return };
    let mut stream = Stream::new(ask(&proxy, "/v1/chat", &turn()).await);
    let mut events = Vec::new();
    while !events.iter().any(is_text) {
        events.push(stream.next().await.expect("the first piece"));
    }
    assert!(stage.bed.journal.calls_for(HELD).iter().all(|call| call.outcome == simulator::Outcome::Open));
    stage.release().await;
    events.extend(stream.rest().await);
    assert_eq!(whole(&events)["status"], "completed");

    // In OpenAI's dialect as well.
    let body = json!({"model": "support", "messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let mut answer = ask(&proxy, "/openai/v1/chat/completions", &body).await;
    let mut bytes = Vec::new();
    while !says_something(&bytes) {
        bytes.extend(answer.chunk().await.unwrap().expect("the first piece"));
    }
    stage.release().await;
    bytes.extend(answer.bytes().await.unwrap());
    assert!(bytes.ends_with(b"data: [DONE]\n\n"), "{}", String::from_utf8_lossy(&bytes));
}

/// Whether there is a chunk with text among these.
fn says_something(chunks: &[u8]) -> bool {
    let is_text = |line: &str| line.contains("\"content\":\"") && !line.contains("\"content\":\"\"");
    String::from_utf8_lossy(chunks).lines().any(is_text)
}

/// A reader that lost its connection to the proxy reads on from what it saw.
async fn reads_on(kind: Kind) {
    let Some((stage, proxy)) = behind(kind, &[]).await else { return };
    let mut stream = Stream::new(ask(&proxy, "/v1/chat", &turn()).await);
    let mut events = Vec::new();
    while !events.iter().any(is_text) {
        events.push(stream.next().await.expect("the first piece"));
    }
    drop(stream);
    let id = events[0].turn()["id"].as_str().unwrap().to_owned();
    let url = format!("{}/v1/chat/{id}/events", proxy.url);
    let last = events.last().unwrap().id.to_string();
    let request = proxy.client.get(&url).bearer_auth(SECRET).header("last-event-id", last);
    let stream = Stream::new(request.send().await.unwrap());
    stage.release().await;
    events.extend(stream.rest().await);
    let text = whole(&events)["message"]["text"].as_str().unwrap().to_owned();
    assert_eq!(joined(&events), text);
    assert_eq!(stage.bed.journal.calls_for(HELD).len(), 1, "one turn");
}

#[tokio::test]
async fn text_comes_piece_by_piece_through_nginx() {
    assert!(!changed("nginx.conf", &[]).contains("proxy_buffering"), "buffering is as it is by default: on");
    piece_by_piece(Kind::Nginx).await;
}

#[tokio::test]
async fn text_comes_piece_by_piece_through_caddy() {
    piece_by_piece(Kind::Caddy).await;
}

#[tokio::test]
async fn a_reader_reads_on_through_nginx() {
    reads_on(Kind::Nginx).await;
}

#[tokio::test]
async fn a_reader_reads_on_through_caddy() {
    reads_on(Kind::Caddy).await;
}

/// What shows that the tests above can fail: where its wish is ignored, nginx holds a stream back, its head and all.
#[tokio::test]
async fn without_its_header_nginx_would_hold_a_stream_back() {
    let ignoring = "proxy_set_header Connection \"\";\nproxy_ignore_headers X-Accel-Buffering;";
    let changes = [("proxy_set_header Connection \"\";", ignoring)];
    let Some((stage, proxy)) = behind(Kind::Nginx, &changes).await else { return };
    let turn = turn();
    let mut asking = std::pin::pin!(ask(&proxy, "/v1/chat", &turn));
    tokio::select! {
        answer = &mut asking => panic!("it was passed on: {answer:?}"),
        // Without the proxy the first piece is seen.
        () = first_piece(&stage) => {}
    }
    stage.release().await;
    let all = Stream::new(asking.await).rest().await;
    assert_eq!(whole(&all)["status"], "completed");
}

/// Waits until a reader at the gateway itself has read the first piece of the only turn.
async fn first_piece(stage: &Stage) {
    stage.bed.journal.wait_for(HELD, |calls| !calls.is_empty()).await;
    let (_, list) = stage.gateway.get("/v1/conversations").await;
    let conversation = list["data"][0]["id"].as_str().unwrap();
    let (_, messages) = stage.gateway.get(&format!("/v1/conversations/{conversation}/messages")).await;
    let turn = messages["data"][0]["turn_id"].as_str().unwrap();
    let mut stream = stage.gateway.resume(turn, 0).await.unwrap();
    while stream.next().await.unwrap().kind != "message.delta" {}
}

#[tokio::test]
async fn heartbeats_keep_a_silent_stream_alive() {
    // The gateway's are every 200 ms here.
    let Some((stage, proxy)) =
        behind(Kind::Nginx, &[("proxy_read_timeout 16m;", "proxy_read_timeout 2s;")]).await
    else {
        return;
    };
    let mut answer = ask(&proxy, "/v1/chat", &turn()).await;
    let mut text = Vec::new();
    // More than two seconds of them.
    while String::from_utf8_lossy(&text).lines().filter(|line| line.starts_with(':')).count() < 12 {
        text.extend(answer.chunk().await.unwrap().expect("it goes on"));
    }
    stage.release().await;
    text.extend(answer.bytes().await.unwrap());
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("event: turn.completed"), "{text}");
}

#[test]
fn nginx_waits_longer_than_the_gateway() {
    let recipe = changed("nginx.conf", &[]);
    let minutes = recipe.split("proxy_read_timeout ").nth(1).unwrap().split("m;").next().unwrap();
    let waits = std::time::Duration::from_secs(60 * minutes.parse::<u64>().unwrap());
    assert!(waits > server::Config::default().heartbeat);
    // As config/reference.toml has it: a whole answer is silent until it is there.
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/reference.toml");
    let reference = std::fs::read_to_string(reference).unwrap();
    assert!(reference.contains("total_timeout = \"15m\""));
    assert!(waits > std::time::Duration::from_secs(15 * 60));
}

/// An address that takes requests and dies over each, having counted it.
async fn dying(running: &mut JoinSet<()>, count: &Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::clone(count);
    running.spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && !asked.ends_with(b"}") {
                assert!(socket.read_buf(&mut asked).await.unwrap() > 0);
            }
            count.fetch_add(1, Ordering::SeqCst);
            let _ = socket.shutdown().await;
        }
    });
    address
}

/// How often a request is sent when there are two gateways and both die of it.
async fn sent(kind: Kind, method: http::Method, body: &'static str) -> usize {
    let (count, mut running) = (Arc::default(), JoinSet::new());
    let (first, second) = (dying(&mut running, &count).await, dying(&mut running, &count).await);
    let proxy = Proxy::start(kind, &[&first, &second], &[]).await;
    let request = proxy.client.request(method, format!("{}/v1/chat", proxy.url)).body(body);
    assert_eq!(request.send().await.unwrap().status(), 502);
    count.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_post_is_not_sent_twice_when_the_gateway_dies() {
    if installed().is_none() {
        return;
    }
    for kind in [Kind::Nginx, Kind::Caddy] {
        assert_eq!(sent(kind, http::Method::POST, "{\"message\": \"a\"}").await, 1, "{kind:?}");
    }
    assert_eq!(sent(Kind::Nginx, http::Method::GET, "").await, 2, "there was another to send it to");
}

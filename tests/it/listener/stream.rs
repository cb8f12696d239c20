//! Event streams over HTTP/1.1, which are written without the library: nobody can tell.

use engine::{OnDisconnect, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{connect, read_to_end, running, running_as, tls, turn};
use crate::gateway::{KEY, Plan};

const LIVE: &str = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// A request for a stream, with these lines in its head.
fn ask(version: &str, lines: &str) -> String {
    let body = turn().to_string();
    format!(
        "POST /v1/chat HTTP/{version}\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\n{lines}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads until this has come; all that was read.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(end) {
        let count = socket.read_buf(&mut got).await.unwrap();
        assert!(count > 0, "{:?}", String::from_utf8_lossy(&got));
    }
    String::from_utf8(got).unwrap()
}

/// An answer's head, without what differs from one to the next, and what its chunks say.
fn taken_apart(answer: &str) -> (String, String) {
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let lines = head.lines().map(|line| match line.split_once(": ") {
        Some((name @ ("x-request-id" | "x-turn-id" | "date"), value)) => {
            let shape = value.chars().map(|c| if c.is_alphanumeric() { 'x' } else { c });
            format!("{name}: {}\n", shape.collect::<String>())
        }
        _ => format!("{line}\n"),
    });
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let (chunk, after) = after.split_at(usize::from_str_radix(size, 16).unwrap());
        rest = after.strip_prefix("\r\n").unwrap();
        body.push_str(chunk);
        if chunk.is_empty() {
            assert_eq!(rest, "");
            return (lines.collect(), body);
        }
    }
}

/// The kinds of a body's events.
fn kinds(body: &str) -> Vec<&str> {
    body.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

/// Whoever offers another protocol is left to the library.
#[tokio::test]
async fn the_answer_is_what_the_library_would_write() {
    let running = running(|_| {}).await;
    for close in ["", "connection: close\r\n", "Connection: x, Close\r\n"] {
        let mut answers = Vec::new();
        for offer in ["", "upgrade: x\r\n"] {
            let mut socket = connect(&running).await;
            socket.write_all(ask("1.1", &format!("{close}{offer}")).as_bytes()).await.unwrap();
            let answer = match close {
                "" => read_until(&mut socket, "\r\n0\r\n\r\n").await,
                _ => read_to_end(socket).await,
            };
            answers.push(answer);
        }
        let [ours, theirs] = [&answers[0], &answers[1]].map(|answer| taken_apart(answer));
        assert_eq!(ours.0, theirs.0);
        assert_eq!(kinds(&ours.1), kinds(&theirs.1));
        assert!(ours.1.contains("event: turn.completed\n"), "{}", ours.1);
    }
    running.leave().await;
}

#[tokio::test]
async fn what_is_asked_behind_a_stream_is_answered_after_it() {
    let running = running(|_| {}).await;
    let mut calls = running.gateway.script.by_hand();
    // With the request, while it streams, after it; and more of it than is read ahead.
    let padded = LIVE.replace("host: x", &format!("host: x\r\nx-pad: {}", "y".repeat(5000)));
    for (with_it, meanwhile, after) in [
        (LIVE, "", ""),
        ("", LIVE, ""),
        ("", "", LIVE),
        (&padded, "", ""),
        ("", &padded, ""),
        ("G", "", &LIVE[1..]),
    ] {
        let mut socket = connect(&running).await;
        socket.write_all(format!("{}{with_it}", ask("1.1", "")).as_bytes()).await.unwrap();
        let call = calls.recv().await.unwrap();
        call.say("one");
        read_until(&mut socket, "one").await;
        socket.write_all(meanwhile.as_bytes()).await.unwrap();
        call.say("two");
        read_until(&mut socket, "two").await;
        call.end();
        if with_it.len() + meanwhile.len() < LIVE.len() {
            read_until(&mut socket, "\r\n0\r\n\r\n").await;
        }
        socket.write_all(after.as_bytes()).await.unwrap();
        let rest = read_to_end(socket).await;
        let (_, answer) = rest.split_at(rest.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("{rest:?}")));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{rest:?}");
        assert!(answer.contains("connection: close\r\n"), "{rest:?}");
    }
    running.leave().await;
}

#[tokio::test]
async fn streams_follow_each_other_on_one_connection() {
    let running = running(|_| {}).await;
    let mut socket = connect(&running).await;
    let ask = ask("1.1", "");
    // All at once: each waits for the one before.
    socket.write_all(ask.repeat(3).as_bytes()).await.unwrap();
    socket.write_all(LIVE.as_bytes()).await.unwrap();
    let answers = read_to_end(socket).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 4, "{answers}");
    assert_eq!(answers.matches("event: turn.completed\n").count(), 3, "{answers}");
    running.leave().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once() {
    let settings = Settings { on_disconnect: OnDisconnect::Cancel, ..Settings::default() };
    let running = running_as(Plan { settings, ..Plan::default() }).await;
    let mut calls = running.gateway.script.by_hand();
    let mut socket = connect(&running).await;
    socket.write_all(ask("1.1", "").as_bytes()).await.unwrap();
    let call = calls.recv().await.unwrap();
    call.say("one");
    read_until(&mut socket, "one").await;
    drop(socket);
    // Nothing more is said, so that no write could fail. Its turn ends with its last reader.
    call.pieces.closed().await;
    running.leave().await;
}

#[tokio::test]
async fn a_process_that_leaves_asks_for_the_connection_back() {
    let running = running(|_| {}).await;
    let mut calls = running.gateway.script.by_hand();
    // Before the head is written, it says so; afterwards the connection ends with the stream all the same.
    for before in [false, true] {
        let mut socket = connect(&running).await;
        if before {
            running.shutdown.leave.cancel();
        }
        socket.write_all(ask("1.1", "").as_bytes()).await.unwrap();
        let call = calls.recv().await.unwrap();
        call.say("one");
        let head = read_until(&mut socket, "one").await;
        assert_eq!(head.contains("connection: close\r\n"), before, "{head}");
        if before {
            running.shutdown.finish.cancel();
        }
        call.end();
        if before {
            let rest = read_to_end(socket).await;
            assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
        }
    }
    running.serving.await.unwrap();
}

#[tokio::test]
async fn older_clients_have_no_chunks() {
    let running = running(|_| {}).await;
    let mut socket = connect(&running).await;
    socket.write_all(ask("1.0", "").as_bytes()).await.unwrap();
    let answer = read_to_end(socket).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && !answer.contains("transfer-encoding"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.starts_with("id: 1\nevent: ") && body.ends_with("\n\n"), "{body}");
    running.leave().await;
}

#[tokio::test]
async fn who_asks_for_the_head_gets_the_head() {
    let running = running(|_| {}).await;
    let _calls = running.gateway.script.by_hand();
    let mut watched = connect(&running).await;
    watched.write_all(ask("1.1", "").as_bytes()).await.unwrap();
    let head = read_until(&mut watched, "\r\n\r\n").await;
    let turn = head.lines().find_map(|line| line.strip_prefix("x-turn-id: ")).unwrap();
    let mut socket = connect(&running).await;
    let ask = format!("HEAD /v1/chat/{turn}/events HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n\r\n{LIVE}");
    socket.write_all(ask.as_bytes()).await.unwrap();
    let answers = read_to_end(socket).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answers}");
    assert!(!answers.contains("event: "), "{answers}");
    running.shutdown.now.cancel();
    running.serving.await.unwrap();
}

#[tokio::test]
async fn over_tls_as_well() {
    let running = running(|config| config.tls = Some(tls::certificate())).await;
    let pem = std::fs::read(tls::certificate().certificate).unwrap();
    let root = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).http1_only();
    let client = client.resolve("localhost", running.address).build().unwrap();
    let url = format!("https://localhost:{}/v1/chat", running.address.port());
    let mut calls = running.gateway.script.by_hand();
    for _ in 0..2 {
        let ask = client.post(&url).header("content-type", "application/json").bearer_auth(KEY);
        let mut answer = ask.body(turn().to_string()).send().await.unwrap();
        let call = calls.recv().await.unwrap();
        // Far more than a record holds.
        let long = "long".repeat(100_000);
        let mut got = Vec::new();
        for word in ["one", &long, "two"] {
            call.say(word);
            while !String::from_utf8_lossy(&got).contains(word) {
                got.extend_from_slice(&answer.chunk().await.unwrap().unwrap());
            }
        }
        call.end();
        let rest = answer.text().await.unwrap();
        assert!(rest.contains("event: turn.completed\n"), "{rest}");
    }
    running.leave().await;
}

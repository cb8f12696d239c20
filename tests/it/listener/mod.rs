//! Connections over real sockets: protocols, clocks, bounds, and how the process leaves.

mod refused;
mod slow;
mod stream;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use server::{Config, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::gateway::{Gateway, KEY, Plan, request};

struct Running {
    gateway: Gateway,
    address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

async fn running(change: impl FnOnce(&mut Config)) -> Running {
    let mut config = Config::default();
    change(&mut config);
    running_as(Plan { config, ..Plan::default() }).await
}

/// The same, on addresses of its own.
async fn running_as(plan: Plan) -> Running {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { listen: any, admin_listen: Some(any), ..plan.config };
    let gateway = Gateway::new(Plan { config, ..plan });
    let bound = gateway.server.bind().await.unwrap();
    let (address, shutdown) = (bound.address, Shutdown::default());
    assert_ne!(bound.admin_address, Some(address));
    let serving = TaskTracker::new().spawn(bound.serve(shutdown.clone()));
    Running { gateway, address, shutdown, serving }
}

fn turn() -> Value {
    json!({"assistant": "support", "message": "hi", "store": false, "stream": true})
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn leave(self) {
        self.shutdown.finish.cancel();
        self.serving.await.unwrap();
    }

    fn ask(&self, client: &reqwest::Client) -> reqwest::RequestBuilder {
        let request = client.post(self.url("/v1/chat")).header("content-type", "application/json");
        request.bearer_auth(KEY).body(turn().to_string())
    }
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address).await.unwrap()
}

#[tokio::test]
async fn http_1_and_http_2_without_tls() {
    let running = running(|_| {}).await;
    let one = reqwest::Client::builder().no_proxy().http1_only().build().unwrap();
    let two = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for (client, version) in [(one, http::Version::HTTP_11), (two, http::Version::HTTP_2)] {
        let answer = running.ask(&client).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert!(answer.text().await.unwrap().contains("event: turn.completed\n"));
    }
    running.leave().await;
}

#[tokio::test]
async fn a_stream_is_finished_before_the_process_leaves() {
    let running = running(|_| {}).await;
    let mut calls = running.gateway.script.by_hand();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answer = running.ask(&client).send().await.unwrap();
    answer.chunk().await.unwrap();
    let call = calls.recv().await.unwrap();
    let idle = connect(&running).await;
    running.shutdown.finish.cancel();
    // Connections that do nothing are closed; new ones are refused once the listener is gone.
    assert_eq!(read_to_end(idle).await, "");
    call.say("to the end");
    call.end();
    let rest = answer.text().await.unwrap();
    assert!(rest.contains("to the end") && rest.contains("event: turn.completed\n"), "{rest}");
    running.serving.await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn now_means_now() {
    let running = running(|_| {}).await;
    let mut calls = running.gateway.script.by_hand();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answer = running.ask(&client).send().await.unwrap();
    answer.chunk().await.unwrap();
    let _call = calls.recv().await.unwrap();
    running.shutdown.finish.cancel();
    running.shutdown.now.cancel();
    running.serving.await.unwrap();
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(broken.is_err(), "a stream that was broken off is not ended in order");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_disconnected_and_its_turn_goes_on() {
    let running = running(|config| config.write_timeout = Duration::from_millis(200)).await;
    let mut calls = running.gateway.script.by_hand();
    let mut stuck = connect(&running).await;
    let body = turn().to_string();
    let head = format!(
        "POST /v1/chat HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stuck.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let call = calls.recv().await.unwrap();
    let mebibyte = "x".repeat(1 << 20);
    for _ in 0..7 {
        call.say(&mebibyte);
    }
    // The connection is not read, and yet the server is left with none: it has closed it.
    running.shutdown.finish.cancel();
    running.serving.await.unwrap();
    assert_eq!(running.gateway.engine.running(), 1);
    call.end();
    drop(stuck);
}

#[tokio::test]
async fn heads_and_bodies_must_arrive_in_time() {
    let running = running(|config| {
        config.header_timeout = Duration::from_millis(100);
        config.body_timeout = Duration::from_millis(100);
    })
    .await;
    let mut slow_head = connect(&running).await;
    slow_head.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    assert!(!read_to_end(slow_head).await.contains("200 OK"));
    let mut slow_body = connect(&running).await;
    let head = format!(
        "POST /v1/chat HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    slow_body.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(slow_body).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("did not arrive in time"), "{answer}");
    running.leave().await;
}

/// Clients send a head and its body one after the other, and keep the connection for the next request whatever is answered.
#[tokio::test]
async fn who_is_refused_before_the_body_was_read_can_go_on() {
    let running = running(|_| {}).await;
    let mut client = connect(&running).await;
    let body = turn().to_string();
    let head = |end: &str| {
        format!(
            "POST /v1/chat HTTP/1.1\r\nhost: x\r\nx-api-key: not-a-key\r\n{end}content-length: {}\r\n\r\n",
            body.len()
        )
    };
    client.write_all(head("").as_bytes()).await.unwrap();
    // By the time that another is answered the head has been read.
    let mut other = connect(&running).await;
    other.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_end(other).await.contains("200 OK"));
    client.write_all(body.as_bytes()).await.unwrap();
    client.write_all(head("connection: close\r\n").as_bytes()).await.unwrap();
    client.write_all(body.as_bytes()).await.unwrap();
    let answers = read_to_end(client).await;
    assert_eq!(answers.matches("HTTP/1.1 401").count(), 2, "{answers}");

    // A body that does not come is not waited for for ever, and the client is told that the connection ends.
    let mut silent = connect(&running).await;
    silent.write_all(head("").as_bytes()).await.unwrap();
    let answer = read_to_end(silent).await;
    assert!(answer.contains("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
    running.leave().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let running = running(|config| config.connections_max = 1).await;
    let mut calls = running.gateway.script.by_hand();
    let client = reqwest::Client::builder().no_proxy().http1_only().build().unwrap();
    let mut first = running.ask(&client).send().await.unwrap();
    let call = calls.recv().await.unwrap();
    let mut second = connect(&running).await;
    second.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let answered = TaskTracker::new().spawn(read_to_end(second));
    // Still served on the one place there is: a connection that is at work makes room for nobody.
    for word in ["one", "two", "three"] {
        call.say(word);
        while !String::from_utf8_lossy(&first.chunk().await.unwrap().unwrap()).contains(word) {}
    }
    assert!(!answered.is_finished());
    call.end();
    first.text().await.unwrap();
    assert!(answered.await.unwrap().starts_with("HTTP/1.1 200"));
    running.leave().await;
}

#[tokio::test]
async fn idle_connections_make_room_the_one_that_waits_longest_first() {
    let running = running(|config| config.connections_max = 3).await;
    let mut idle = Vec::new();
    for said in ["GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", "GET /li", ""] {
        let mut socket = connect(&running).await;
        socket.write_all(said.as_bytes()).await.unwrap();
        if said.ends_with("\r\n\r\n") {
            let mut bytes = [0; 12];
            socket.read_exact(&mut bytes).await.unwrap();
        }
        idle.push(socket);
    }
    let one_more = async || {
        let mut socket = connect(&running).await;
        socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        read_to_end(socket).await
    };
    // Nothing else ends the idle ones for half a minute.
    for _ in 0..10 {
        assert!(one_more().await.starts_with("HTTP/1.1 200"));
    }
    let mut first = idle.remove(0);
    let mut rest = Vec::new();
    let _ = first.read_to_end(&mut rest).await;
    assert!(!rest.is_empty(), "the rest of its answer, and then its end");
    // One place was enough for all of them: the others were not closed in vain.
    for mut socket in idle {
        let whole = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let _ = socket.write_all(whole.as_bytes()).await;
        let answer = read_to_end(socket).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{answer:?}");
    }
    running.leave().await;
}

#[tokio::test]
async fn a_client_that_leaves_leaves_its_turn_running() {
    let running = running(|_| {}).await;
    let mut calls = running.gateway.script.by_hand();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answer = running.ask(&client).send().await.unwrap();
    let id = answer.headers()["x-turn-id"].to_str().unwrap().to_owned();
    answer.chunk().await.unwrap();
    let call = calls.recv().await.unwrap();
    let path = format!("/v1/chat/{id}/events");
    let watching = running.gateway.open(request(Method::GET, &path, KEY, "")).await;
    drop((answer, client));
    call.say("to the end");
    call.end();
    let events = crate::gateway::whole(watching).await.events();
    assert_eq!(events.last().unwrap().2["turn"]["message"]["text"], "to the end");
    running.leave().await;
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_neither_waited_for_nor_asked_for() {
    let running = running(|_| {}).await;
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut socket = connect(&running).await;
        let head = format!(
            "POST /v1/chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             {expect}content-length: 2000000\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to_end(socket).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("body_too_large"), "{answer}");
    }
    running.leave().await;
}

/// What a connection still gives until it ends, in whatever way.
async fn read_to_end(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = socket.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

//! Clients that keep a connection and do not get on with it.

use std::time::Duration;

use engine::{OnDisconnect, Settings};
use http::Version;
use server::Config;
use tokio::io::AsyncWriteExt;

use super::{connect, read_to_end, running, running_as};
use crate::gateway::Plan;

const BRIEF: Duration = Duration::from_millis(100);

#[tokio::test]
async fn whoever_does_not_get_on_is_let_go() {
    let running = running(|config| {
        config.header_timeout = BRIEF;
        config.write_timeout = 2 * BRIEF;
    })
    .await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for said in ["", "P", "PRI * HTTP", preface, "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut socket = connect(&running).await;
        socket.write_all(said.as_bytes()).await.unwrap();
        // Ends: the test would hang if it did not.
        let got = read_to_end(socket).await;
        assert!(!got.contains("200 OK"), "{said:?}: {got:?}");
    }
    running.leave().await;
}

#[tokio::test]
async fn an_http_2_connection_may_idle_no_longer_than_another() {
    // The keep-alive clock is far away: the client answers it in any case.
    let running = running(|config| config.header_timeout = BRIEF).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for _ in 0..2 {
        let answer = client.get(running.url("/livez")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
        // The server closes the connection, as its gauge shows; the client makes another.
        while !open_connections(&running).await.is_empty() {}
    }
    running.leave().await;
}

/// The sockets that the clients' listener has open.
async fn open_connections(running: &super::Running) -> Vec<String> {
    tokio::task::yield_now().await;
    let local = format!(":{:04X}", running.address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let open = table.lines().skip(1).filter(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // 01 is an established connection.
        fields[1].ends_with(&local) && fields[3] == "01"
    });
    open.map(str::to_owned).collect()
}

#[tokio::test]
async fn an_http_2_stream_that_is_not_read_is_reset_and_the_others_go_on() {
    let config = Config { write_timeout: 4 * BRIEF, ..Config::default() };
    // The end of the stream is seen by what it ends: its turn.
    let settings = Settings { on_disconnect: OnDisconnect::Cancel, ..Settings::default() };
    let running = running_as(Plan { config, settings, ..Plan::default() }).await;
    let mut calls = running.gateway.script.by_hand();
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .http2_initial_stream_window_size(1024)
        .http2_initial_connection_window_size(1 << 20)
        .build()
        .unwrap();
    let stuck = running.ask(&client).send().await.unwrap();
    let stuck_call = calls.recv().await.unwrap();
    let mut read = running.ask(&client).send().await.unwrap();
    let read_call = calls.recv().await.unwrap();
    for _ in 0..4 {
        stuck_call.say(&"x".repeat(1 << 19));
    }
    // The other stream is read all the while, word by word.
    let mut number = 0;
    while !stuck_call.pieces.is_closed() {
        number += 1;
        let word = format!("word {number}.");
        read_call.say(&word);
        let mut got = String::new();
        while !got.contains(&word) {
            got.push_str(std::str::from_utf8(&read.chunk().await.unwrap().unwrap()).unwrap());
        }
    }
    assert!(stuck.bytes().await.is_err(), "a stream that was reset is no whole answer");
    read_call.end();
    assert!(read.text().await.unwrap().contains("event: turn.completed\n"));
    running.leave().await;
}

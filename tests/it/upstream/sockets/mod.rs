//! What connections do, over real sockets: small servers that say exactly what they are told to.

mod authority;
mod http2;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use upstream::{BuildError, Call, Clock, Config, Failure, Repeat, Upstream};

use super::{MINUTE, call, config, refused, text};

/// A listener, and a configuration that leads there.
async fn listener() -> (TcpListener, Config) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config();
    config.retry.attempts_max = 1;
    config.base_url = format!("http://{}/v1/", listener.local_addr().unwrap()).parse().unwrap();
    (listener, config)
}

fn open(config: Config) -> Upstream {
    Upstream::open(config).unwrap()
}

/// Reads one request: its head and the two bytes of its body.
async fn request(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n{}") {
        assert!(socket.read_buf(&mut request).await.unwrap() > 0, "the request ends early");
    }
    String::from_utf8(request).unwrap()
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Orderly,
    Reset,
}

impl End {
    async fn make(self, mut socket: TcpStream) {
        match self {
            Self::Orderly => socket.shutdown().await.unwrap(),
            Self::Reset => {
                socket.set_zero_linger().unwrap();
                drop(socket);
            }
        }
    }
}

const LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
const IN_A_CHUNK: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nhello";
const TO_THE_CLOSE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello";

#[tokio::test]
async fn a_body_that_ends_short_is_broken_and_one_that_ends_with_its_connection_is_whole() {
    for (answer, end, clean) in [
        (LENGTH, End::Orderly, false),
        (LENGTH, End::Reset, false),
        (CHUNKED, End::Orderly, false),
        (CHUNKED, End::Reset, false),
        (IN_A_CHUNK, End::Orderly, false),
        (IN_A_CHUNK, End::Reset, false),
        (TO_THE_CLOSE, End::Orderly, true),
        (TO_THE_CLOSE, End::Reset, false),
    ] {
        let (listener, config) = listener().await;
        let upstream = open(config);
        let (read, was_read) = oneshot::channel();
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            socket.write_all(answer.as_bytes()).await.unwrap();
            was_read.await.unwrap();
            end.make(socket).await;
        };
        let ask = async {
            let mut response = upstream.send(call(MINUTE)).await.unwrap();
            let mut piece = response.body.next().await.unwrap().unwrap().to_vec();
            while piece.len() < 5 {
                piece.extend(response.body.next().await.unwrap().unwrap());
            }
            read.send(()).unwrap();
            (piece, response.body.next().await)
        };
        let ((), (piece, rest)) = tokio::join!(serve, ask);
        assert_eq!(piece, b"hello");
        let as_expected = if clean { rest.is_none() } else { matches!(rest, Some(Err(Failure::Broken))) };
        assert!(as_expected, "{end:?} after {answer:?}: {rest:?}");
        assert_eq!(upstream.status().in_flight, 0);
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_head_is_broken_and_only_harmless_calls_are_sent_again() {
    for (answer, end) in [("", End::Orderly), ("", End::Reset), ("HTTP/1.1 200 OK\r\ncont", End::Orderly)] {
        for (repeat, attempts) in [(Repeat::Harmless, 1), (Repeat::Always, 2)] {
            let (listener, mut config) = listener().await;
            config.retry.attempts_max = 2;
            config.retry.base = Duration::ZERO;
            let upstream = open(config);
            let serve = async {
                for _ in 0..attempts {
                    let (mut socket, _) = listener.accept().await.unwrap();
                    request(&mut socket).await;
                    socket.write_all(answer.as_bytes()).await.unwrap();
                    end.make(socket).await;
                }
            };
            let (result, ()) = tokio::join!(upstream.send(Call { repeat, ..call(MINUTE) }), serve);
            assert!(matches!(result, Err(Failure::Broken)), "{end:?} after {answer:?}: {result:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_http_or_not_encoded_as_it_says_is_unreadable_and_not_asked_for_again() {
    let zipped = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-encoding: gzip\r\n";
    for (answer, head_comes) in [
        ("nonsense\r\n\r\n".to_owned(), false),
        ("SSH-2.0-OpenSSH_9.6\r\n".to_owned(), false),
        ("HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello".to_owned(), false),
        (format!("{zipped}content-length: 15\r\n\r\n{{\"text\":\"hello\"}}"), true),
        (format!("{zipped}\r\nplain"), true),
        // The first bytes of something that was compressed, and its clean end.
        (format!("{zipped}content-length: 2\r\n\r\n\x1f\x08"), true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n".to_owned(), true),
    ] {
        let (listener, mut config) = listener().await;
        config.retry.attempts_max = 2;
        config.retry.base = Duration::ZERO;
        let upstream = open(config);
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            socket.write_all(answer.as_bytes()).await.unwrap();
            End::Orderly.make(socket).await;
        };
        let ask = async {
            let response = upstream.send(Call { repeat: Repeat::Always, ..call(MINUTE) }).await;
            assert_eq!(response.is_ok(), head_comes, "{answer:?}: {response:?}");
            match response {
                Ok(response) => response.whole(1000).await.unwrap_err(),
                Err(failure) => failure,
            }
        };
        let ((), failure) = tokio::join!(serve, ask);
        assert!(matches!(failure, Failure::Unreadable), "{answer:?}: {failure:?}");
    }
}

#[tokio::test]
async fn what_came_before_the_coding_broke_is_given_first_however_it_came() {
    let (head, text) = CHUNKED.split_at(CHUNKED.len() - "5\r\nhello\r\n".len());
    for parts in [vec![head, text, "zz\r\n"], vec![CHUNKED, "zz\r\n"], vec![head, "5\r\nhello\r\nzz\r\n"]] {
        let (listener, config) = listener().await;
        let upstream = open(config);
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            for part in parts {
                socket.write_all(part.as_bytes()).await.unwrap();
            }
            socket
        };
        let ask = async {
            let mut body = upstream.send(call(MINUTE)).await.unwrap().body;
            let piece = body.next().await.unwrap().unwrap();
            (piece, body.next().await, body.next().await)
        };
        let (_socket, (piece, broken, after)) = tokio::join!(serve, ask);
        assert_eq!(piece, "hello");
        assert!(matches!(broken, Some(Err(Failure::Unreadable))) && after.is_none(), "{broken:?}, {after:?}");
    }
}

#[tokio::test]
async fn after_a_kept_connection_that_broke_a_new_one_is_made() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let (listener, mut config) = listener().await;
    config.retry.attempts_max = 2;
    config.retry.base = Duration::ZERO;
    let upstream = open(config);
    let serve = async {
        let mut kept = Vec::new();
        for _ in 0..3 {
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            kept.push(socket);
        }
        for socket in &mut kept {
            socket.write_all(ANSWER).await.unwrap();
        }
        // Whichever is used again breaks once it was asked, as the others would.
        let asked = kept.into_iter().map(|mut socket| {
            Box::pin(async move {
                request(&mut socket).await;
                socket
            })
        });
        let (socket, _, others) = futures_util::future::select_all(asked).await;
        End::Reset.make(socket).await;
        let (mut socket, _) = listener.accept().await.unwrap();
        request(&mut socket).await;
        socket.write_all(ANSWER).await.unwrap();
        drop(others);
    };
    let ask = async {
        let three = futures_util::future::join_all((0..3).map(|_| upstream.send(call(MINUTE)))).await;
        for response in three {
            assert_eq!(text(response.unwrap()).await, "hello");
        }
        let again = upstream.send(Call { repeat: Repeat::Always, ..call(MINUTE) }).await;
        assert_eq!(text(again.unwrap()).await, "hello");
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let (listener, config) = listener().await;
    drop(listener);
    let result = open(config).send(call(MINUTE)).await;
    assert!(matches!(result, Err(Failure::Unreachable)), "{result:?}");
}

#[tokio::test]
async fn a_connection_that_is_never_ready_runs_out_of_its_clock() {
    let (listener, mut config) = listener().await;
    // TLS is part of the connection; nobody answers its greeting.
    config.base_url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    config.connect_timeout = Duration::from_millis(50);
    let result = open(config).send(call(MINUTE)).await;
    assert!(matches!(result, Err(Failure::TimedOut(Clock::Connect))), "{result:?}");
}

#[tokio::test]
async fn silence_runs_out_of_its_clocks() {
    let (listener, mut config) = listener().await;
    config.headers_timeout = Duration::from_millis(50);
    config.idle_timeout = Duration::from_millis(50);
    let upstream = open(config);
    let result = upstream.send(call(MINUTE)).await;
    assert!(matches!(result, Err(Failure::TimedOut(Clock::Headers))), "{result:?}");
    let serve = async {
        let (_silent, _) = listener.accept().await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        request(&mut socket).await;
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        // The reader goes away.
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    };
    let ask = async {
        let call = Call { headers_clock: false, ..call(MINUTE) };
        let result = upstream.send(call).await.unwrap().whole(100).await;
        assert!(matches!(result, Err(Failure::TimedOut(Clock::Idle))), "{result:?}");
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_request_is_what_was_asked_for() {
    let (listener, mut config) = listener().await;
    config.headers.insert("x-fixed", "fixed".parse().unwrap());
    config.headers.insert("x-both", "fixed".parse().unwrap());
    let upstream = open(config);
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let first = request(&mut socket).await;
        let answer = "HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 5\r\n\r\nhello";
        socket.write_all(answer.as_bytes()).await.unwrap();
        let second = request(&mut socket).await;
        socket.write_all(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        (first, second)
    };
    let ask = async {
        let mut first = call(MINUTE);
        first.path = "/assistant/%D0%B6?page=1".to_owned();
        first.headers.insert("x-both", "call".parse().unwrap());
        assert_eq!(text(upstream.send(first).await.unwrap()).await, "hello");
        // Redirects are not followed.
        assert_eq!(refused(upstream.send(call(MINUTE)).await), 302);
    };
    let ((first, second), ()) = tokio::join!(serve, ask);
    assert!(first.starts_with("POST /v1/assistant/%D0%B6?page=1 HTTP/1.1\r\n"), "{first}");
    for header in
        ["user-agent: switchboard/", "x-fixed: fixed\r\n", "x-both: call\r\n", "content-length: 2\r\n"]
    {
        assert_eq!(first.matches(header).count(), 1, "{header} in {first}");
    }
    assert_eq!(first.matches("x-both").count(), 1);
    assert!(!second.contains("cookie") && !second.contains("referer"), "{second}");
}

#[tokio::test]
async fn dropping_a_call_or_its_body_closes_the_connection() {
    let (listener, config) = listener().await;
    let upstream = open(config);
    for answer in ["", CHUNKED] {
        let (arrived, has_arrived) = oneshot::channel();
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            socket.write_all(answer.as_bytes()).await.unwrap();
            arrived.send(()).unwrap();
            assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
        };
        let ask = async {
            if answer.is_empty() {
                tokio::select! {
                    _ = upstream.send(call(MINUTE)) => panic!("there is no answer"),
                    _ = has_arrived => {}
                }
            } else {
                drop(upstream.send(call(MINUTE)).await.unwrap());
            }
        };
        tokio::join!(serve, ask);
        assert_eq!(upstream.status().in_flight, 0);
    }
}

#[tokio::test]
async fn a_proxy_is_asked_where_there_is_one() {
    let (listener, mut config) = listener().await;
    config.proxy = Some(format!("http://{}", listener.local_addr().unwrap()));
    config.base_url = "http://upstream.test/v1".parse().unwrap();
    let upstream = open(config);
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let request = request(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        request
    };
    let (request, result) = tokio::join!(serve, upstream.send(call(MINUTE)));
    assert!(request.starts_with("POST http://upstream.test/v1/chat HTTP/1.1\r\n"), "{request}");
    assert_eq!(result.unwrap().whole(0).await.unwrap(), Bytes::new());
}

#[test]
fn what_cannot_be_used_is_refused() {
    let with = |change: fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        Upstream::open(config).unwrap_err()
    };
    for url in ["ftp://upstream.test", "/v1", "upstream.test", "https://upstream.test/v1?a=b"] {
        let mut config = config();
        config.base_url = url.parse().unwrap();
        assert!(matches!(Upstream::open(config), Err(BuildError::BaseUrl)), "{url}");
    }
    assert!(matches!(with(|config| config.proxy = Some("::".to_owned())), BuildError::Proxy(_)));
    for file in ["/nowhere", "Cargo.toml"] {
        let mut config = config();
        config.ca_file = Some(file.into());
        assert!(matches!(Upstream::open(config), Err(BuildError::Authorities(_))), "{file}");
    }
}

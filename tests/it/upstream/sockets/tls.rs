//! HTTP/1.1 over TLS: who is believed, how answers end, and connections that are used again.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{HandshakeKind, version};
use tokio_rustls::server::TlsStream;
use upstream::{Call, Failure, Repeat, Upstream};

use super::super::{MINUTE, call, text};
use super::authority::Authority;
use super::{CHUNKED, IN_A_CHUNK, LENGTH, TO_THE_CLOSE, listener, open};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A listener, and an upstream there that believes this authority.
async fn trusting(authority: &Authority, host: &str) -> (TcpListener, Upstream) {
    let (listener, mut config) = listener().await;
    let port = listener.local_addr().unwrap().port();
    config.base_url = format!("https://{host}:{port}/v1").parse().unwrap();
    config.ca_file = Some(authority.file.path().to_owned());
    (listener, open(config))
}

async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor) -> TlsStream<TcpStream> {
    let (socket, _) = listener.accept().await.unwrap();
    acceptor.accept(socket).await.unwrap()
}

/// Reads one request: its head and the two bytes of its body.
async fn request<S: AsyncReadExt + Unpin>(socket: &mut S) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n{}") {
        assert!(socket.read_buf(&mut request).await.unwrap() > 0, "the request ends early");
    }
    String::from_utf8(request).unwrap()
}

async fn answer(socket: &mut TlsStream<TcpStream>, bytes: &[u8]) {
    socket.write_all(bytes).await.unwrap();
    socket.flush().await.unwrap();
}

#[tokio::test]
async fn a_server_is_told_its_name_and_spoken_to_in_http_1_also_where_it_speaks_both() {
    let authority = Authority::new();
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        for (protocols, agreed) in [
            (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
            (&["http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let server = authority.server("localhost", protocols, versions, |_| {});
            let acceptor = TlsAcceptor::from(Arc::new(server));
            let (listener, upstream) = trusting(&authority, "localhost").await;
            let serve = async {
                let mut socket = accept(&listener, &acceptor).await;
                let (_, session) = socket.get_ref();
                assert_eq!((session.server_name(), session.alpn_protocol()), (Some("localhost"), agreed));
                let first = request(&mut socket).await;
                answer(&mut socket, HELLO).await;
                request(&mut socket).await;
                answer(&mut socket, HELLO).await;
                first
            };
            let ask = async {
                for _ in 0..2 {
                    assert_eq!(text(upstream.send(call(MINUTE)).await.unwrap()).await, "hello");
                }
            };
            let (first, ()) = tokio::join!(serve, ask);
            let port = listener.local_addr().unwrap().port();
            assert!(first.starts_with("POST /v1/chat HTTP/1.1\r\n"), "{first}");
            assert!(first.contains(&format!("host: localhost:{port}\r\n")), "{first}");
        }
    }
}

#[tokio::test]
async fn who_is_not_vouched_for_is_unreachable_and_told_so() {
    let (authority, stranger) = (Authority::new(), Authority::named("stranger"));
    let both = [&version::TLS13, &version::TLS12];
    for (whose, name, host, year, told) in [
        (&authority, "localhost", "localhost", 4096, None),
        (&authority, "127.0.0.1", "127.0.0.1", 4096, None),
        (&stranger, "localhost", "localhost", 4096, Some("UnknownCA")),
        (&authority, "other.test", "localhost", 4096, Some("BadCertificate")),
        (&authority, "localhost", "127.0.0.1", 4096, Some("BadCertificate")),
        (&authority, "localhost", "localhost", 2001, Some("CertificateExpired")),
    ] {
        let server =
            whose.server(name, &[], &both, |params| params.not_after = rcgen::date_time_ymd(year, 1, 1));
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (listener, upstream) = trusting(&authority, host).await;
        let serve = async {
            let (socket, _) = listener.accept().await.unwrap();
            match acceptor.accept(socket).await {
                Ok(mut socket) => {
                    request(&mut socket).await;
                    answer(&mut socket, HELLO).await;
                    None
                }
                Err(error) => Some(error.to_string()),
            }
        };
        let (error, result) = tokio::join!(serve, upstream.send(call(MINUTE)));
        match told {
            None => assert_eq!(text(result.unwrap()).await, "hello"),
            Some(told) => {
                assert!(matches!(result, Err(Failure::Unreachable)), "{name} at {host}: {result:?}");
                assert!(
                    error.as_ref().is_some_and(|error| error.contains(told)),
                    "{name} at {host}: {error:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn where_nobody_speaks_tls_there_is_no_connection() {
    let authority = Authority::new();
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let (listener, upstream) = trusting(&authority, "localhost").await;
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.read_buf(&mut Vec::new()).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
        };
        let ((), result) = tokio::join!(serve, upstream.send(call(MINUTE)));
        assert!(matches!(result, Err(Failure::Unreachable)), "{answer:?}: {result:?}");
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// As TLS has it.
    Said,
    /// Only the socket ends.
    Cut,
    /// What comes is no TLS.
    Noise,
}

impl End {
    async fn make(self, socket: &mut TlsStream<TcpStream>) {
        match self {
            Self::Said => socket.shutdown().await.unwrap(),
            Self::Cut => socket.get_mut().0.shutdown().await.unwrap(),
            Self::Noise => socket.get_mut().0.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap(),
        }
    }
}

#[tokio::test]
async fn an_answer_to_the_end_of_its_connection_is_whole_only_where_the_server_says_so() {
    let authority = Authority::new();
    let acceptor = authority.localhost(&[]);
    for (said, end, rest) in [
        (TO_THE_CLOSE, End::Said, "None"),
        (TO_THE_CLOSE, End::Cut, "Some(Err(Broken))"),
        (TO_THE_CLOSE, End::Noise, "Some(Err(Unreadable))"),
        (LENGTH, End::Said, "Some(Err(Broken))"),
        (LENGTH, End::Cut, "Some(Err(Broken))"),
        (CHUNKED, End::Said, "Some(Err(Broken))"),
        (CHUNKED, End::Cut, "Some(Err(Broken))"),
        (IN_A_CHUNK, End::Noise, "Some(Err(Unreadable))"),
    ] {
        let (listener, upstream) = trusting(&authority, "localhost").await;
        let (read, was_read) = oneshot::channel();
        let serve = async {
            let mut socket = accept(&listener, &acceptor).await;
            request(&mut socket).await;
            answer(&mut socket, said.as_bytes()).await;
            was_read.await.unwrap();
            end.make(&mut socket).await;
        };
        let ask = async {
            let mut response = upstream.send(call(MINUTE)).await.unwrap();
            assert_eq!(response.body.next().await.unwrap().unwrap(), "hello");
            read.send(()).unwrap();
            response.body.next().await
        };
        let ((), found) = tokio::join!(serve, ask);
        assert_eq!(format!("{found:?}"), rest, "{end:?} after {said:?}");
        assert_eq!(upstream.status().in_flight, 0);
    }
    // Without a head there is no answer, however it ends.
    for (end, failure) in [(End::Said, "Broken"), (End::Cut, "Broken"), (End::Noise, "Unreadable")] {
        let (listener, upstream) = trusting(&authority, "localhost").await;
        let serve = async {
            let mut socket = accept(&listener, &acceptor).await;
            request(&mut socket).await;
            end.make(&mut socket).await;
        };
        let ((), result) = tokio::join!(serve, upstream.send(call(MINUTE)));
        assert_eq!(format!("{:?}", result.unwrap_err()), failure, "{end:?}");
    }
}

#[tokio::test]
async fn a_session_is_taken_up_again() {
    let authority = Authority::new();
    for version in [&version::TLS13, &version::TLS12] {
        let server = authority.server("localhost", &[], &[version], |_| {});
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (listener, upstream) = trusting(&authority, "localhost").await;
        let serve = async {
            let mut kinds = Vec::new();
            for _ in 0..3 {
                let mut socket = accept(&listener, &acceptor).await;
                request(&mut socket).await;
                kinds.push(socket.get_ref().1.handshake_kind().unwrap());
                answer(
                    &mut socket,
                    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
                )
                .await;
            }
            kinds
        };
        let ask = async {
            for _ in 0..3 {
                assert_eq!(text(upstream.send(call(MINUTE)).await.unwrap()).await, "hello");
            }
        };
        let (kinds, ()) = tokio::join!(serve, ask);
        assert_eq!(kinds[0], HandshakeKind::Full);
        assert_eq!(kinds[1..], [HandshakeKind::Resumed; 2]);
    }
}

/// What a server does to a connection that nobody uses for the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Idle {
    /// Nothing.
    Silent,
    /// Sends what is TLS's own business.
    NewKeys,
    /// Says what nobody asked for.
    Talk,
    Close(End),
}

#[tokio::test]
async fn a_connection_is_used_again_while_it_is_whole_and_silent() {
    let authority = Authority::new();
    let acceptor = authority.localhost(&["http/1.1"]);
    for idle in [
        Idle::Silent,
        Idle::NewKeys,
        Idle::Talk,
        Idle::Close(End::Said),
        Idle::Close(End::Cut),
        Idle::Close(End::Noise),
    ] {
        let kept = matches!(idle, Idle::Silent | Idle::NewKeys);
        let (listener, upstream) = trusting(&authority, "localhost").await;
        let (was_read, read) = oneshot::channel();
        let (done, was_done) = oneshot::channel();
        let serve = async {
            let mut socket = accept(&listener, &acceptor).await;
            request(&mut socket).await;
            answer(&mut socket, HELLO).await;
            read.await.unwrap();
            match idle {
                Idle::Silent => {}
                Idle::NewKeys => {
                    socket.get_mut().1.refresh_traffic_keys().unwrap();
                    // What is sealed next is sent with it.
                    let (io, session) = socket.get_mut();
                    let mut bytes = Vec::new();
                    while session.wants_write() {
                        session.write_tls(&mut bytes).unwrap();
                    }
                    assert!(!bytes.is_empty());
                    io.write_all(&bytes).await.unwrap();
                }
                Idle::Talk => answer(&mut socket, b"HTTP/1.1 408 Request Timeout\r\n\r\n").await,
                Idle::Close(end) => end.make(&mut socket).await,
            }
            done.send(()).unwrap();
            if kept {
                request(&mut socket).await;
                answer(&mut socket, HELLO).await;
            } else {
                let mut socket = accept(&listener, &acceptor).await;
                request(&mut socket).await;
                answer(&mut socket, HELLO).await;
            }
        };
        let ask = async {
            assert_eq!(text(upstream.send(call(MINUTE)).await.unwrap()).await, "hello");
            was_read.send(()).unwrap();
            was_done.await.unwrap();
            // The runtime looks at its sockets.
            tokio::task::yield_now().await;
            assert_eq!(text(upstream.send(call(MINUTE)).await.unwrap()).await, "hello");
        };
        tokio::join!(serve, ask);
    }
}

#[tokio::test]
async fn events_come_one_by_one_however_they_are_cut() {
    let authority = Authority::new();
    let acceptor = authority.localhost(&[]);
    let (listener, upstream) = trusting(&authority, "localhost").await;
    let (read, mut was_read) = tokio::sync::mpsc::unbounded_channel();
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        // What the server seals goes to the socket byte by byte.
        let (near, mut far) = duplex(64 * 1024);
        let dribble = async {
            let (mut from_client, mut to_client) = socket.split();
            let (mut from_server, mut to_server) = split(&mut far);
            let out = async {
                let mut byte = [0];
                while from_server.read(&mut byte).await.unwrap() > 0 {
                    to_client.write_all(&byte).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = out => {}
                _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            }
        };
        let speak = async {
            let mut socket = acceptor.accept(near).await.unwrap();
            request(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            for event in ["b\r\ndata: one\n\n\r\n", "b\r\ndata: two\n\n\r\n"] {
                socket.write_all(event.as_bytes()).await.unwrap();
                socket.flush().await.unwrap();
                was_read.recv().await.unwrap();
            }
            // Records that end within a chunk.
            for piece in ["d\r\nda", "ta: three\n", "\n\r\n0\r\n\r", "\n"] {
                socket.write_all(piece.as_bytes()).await.unwrap();
                socket.flush().await.unwrap();
            }
            was_read.recv().await.unwrap();
        };
        tokio::select! {
            () = dribble => {}
            () = speak => {}
        }
    };
    let ask = async {
        let mut body = upstream.send(call(MINUTE)).await.unwrap().body;
        for (event, is_waited_for) in [("one", true), ("two", true), ("three", false)] {
            let mut came = Vec::new();
            while !came.ends_with(b"\n\n") {
                came.extend(body.next().await.unwrap().unwrap());
            }
            assert_eq!(String::from_utf8(came).unwrap(), format!("data: {event}\n\n"));
            if is_waited_for {
                read.send(()).unwrap();
            }
        }
        assert!(body.next().await.is_none());
        read.send(()).unwrap();
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn large_requests_and_answers_are_whole() {
    let authority = Authority::new();
    for version in [&version::TLS13, &version::TLS12] {
        let acceptor = TlsAcceptor::from(Arc::new(authority.server("localhost", &[], &[version], |_| {})));
        let (listener, upstream) = trusting(&authority, "localhost").await;
        let large: Bytes = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let serve = async {
            let mut socket = accept(&listener, &acceptor).await;
            let (mut came, mut head) = (Vec::new(), None);
            while head.is_none_or(|head: usize| came.len() < head + large.len()) {
                assert!(socket.read_buf(&mut came).await.unwrap() > 0, "the request ends early");
                head = head.or_else(|| came.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4));
            }
            assert!(came[head.unwrap()..] == large);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", large.len());
            answer(&mut socket, head.as_bytes()).await;
            answer(&mut socket, &large).await;
        };
        let ask = async {
            let response = upstream.send(Call { body: large.clone(), ..call(MINUTE) }).await.unwrap();
            assert!(response.whole(large.len()).await.unwrap() == large);
        };
        tokio::join!(serve, ask);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_wait_for_the_request_is_taken() {
    let authority = Authority::new();
    let acceptor = authority.localhost(&[]);
    let (listener, upstream) = trusting(&authority, "localhost").await;
    let (refused, was_refused) = oneshot::channel();
    let serve = async {
        let mut socket = accept(&listener, &acceptor).await;
        assert!(socket.read_buf(&mut Vec::new()).await.unwrap() > 0);
        answer(&mut socket, b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\n\r\ntoo much").await;
        socket.shutdown().await.unwrap();
        // The rest is not read.
        was_refused.await.unwrap();
    };
    let ask = async {
        let body = Bytes::from(vec![b'x'; 20_000_000]);
        match upstream.send(Call { body, ..call(MINUTE) }).await {
            Err(Failure::Refused(refusal)) => {
                assert_eq!((refusal.status.as_u16(), &refusal.body[..]), (413, &b"too much"[..]));
            }
            other => panic!("{other:?}"),
        }
        refused.send(()).unwrap();
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_dropped_call_or_body_ends_its_connection_as_tls_has_it() {
    let authority = Authority::new();
    let acceptor = authority.localhost(&[]);
    let (listener, upstream) = trusting(&authority, "localhost").await;
    for said in ["", CHUNKED] {
        let (arrived, has_arrived) = oneshot::channel();
        let serve = async {
            let mut socket = accept(&listener, &acceptor).await;
            request(&mut socket).await;
            answer(&mut socket, said.as_bytes()).await;
            arrived.send(()).unwrap();
            // An end that is only the socket's would be an error.
            assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
        };
        let ask = async {
            if said.is_empty() {
                tokio::select! {
                    _ = upstream.send(call(MINUTE)) => panic!("there is no answer"),
                    _ = has_arrived => {}
                }
            } else {
                drop(upstream.send(Call { repeat: Repeat::Always, ..call(MINUTE) }).await.unwrap());
            }
        };
        tokio::join!(serve, ask);
        assert_eq!(upstream.status().in_flight, 0);
    }
}

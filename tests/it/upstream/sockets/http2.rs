//! HTTP/2, to a TLS upstream that speaks nothing else.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::version::TLS13;
use upstream::{Config, Failure};

use super::super::{MINUTE, call, text};
use super::authority::Authority;
use super::{listener, open};

#[tokio::test]
async fn a_server_of_http_2_alone_is_spoken_to_in_it_and_a_dropped_body_cancels_its_stream_alone() {
    let authority = Authority::new();
    let acceptor = authority.localhost(&["h2"]);
    let (listener, config) = listener().await;
    let port = listener.local_addr().unwrap().port();
    let base_url = format!("https://localhost:{port}/v1").parse().unwrap();
    let upstream =
        open(Config { base_url, ca_file: Some(authority.file.path().to_owned()), ..config.clone() });

    // Each body says one thing and goes on until it is dropped, which its guard tells.
    let (dropped, mut drops) = tokio::sync::mpsc::unbounded_channel();
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        assert_eq!(request.version(), http::Version::HTTP_2);
        let guard = Guard(dropped.clone());
        let rest = stream::pending().map(move |piece: Result<Frame<Bytes>, Infallible>| {
            let _ = &guard;
            piece
        });
        let pieces = stream::iter([Ok(Frame::data(Bytes::from_static(b"hello")))]).chain(rest);
        async { Ok::<_, Infallible>(hyper::Response::new(StreamBody::new(pieces))) }
    });
    let (finished, was_finished) = oneshot::channel::<()>();
    let serve = async {
        // It is asked for HTTP/1.1 once, and never again.
        let (socket, _) = listener.accept().await.unwrap();
        acceptor.accept(socket).await.unwrap_err();
        let (socket, _) = listener.accept().await.unwrap();
        let socket = TokioIo::new(acceptor.accept(socket).await.unwrap());
        let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(socket, answer);
        tokio::select! {
            _ = connection => panic!("the connection ended"),
            () = async { was_finished.await.unwrap() } => {}
        }
    };
    let ask = async {
        let mut first = upstream.send(call(MINUTE)).await.unwrap();
        let mut second = upstream.send(call(MINUTE)).await.unwrap();
        assert_eq!(first.body.next().await.unwrap().unwrap(), "hello");
        drop(first);
        drops.recv().await.unwrap();
        assert_eq!(second.body.next().await.unwrap().unwrap(), "hello");
        finished.send(()).unwrap();
        second
    };
    let ((), mut second) = tokio::join!(serve, ask);
    // The server is gone.
    assert!(matches!(second.body.next().await, Some(Err(Failure::Broken))));
}

/// Tells when it is dropped.
struct Guard(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Instead of refusing a client that does not offer what it speaks, such a server goes on as if both had agreed.
#[tokio::test]
async fn a_server_that_begins_http_2_without_having_agreed_on_it_is_spoken_to_in_it() {
    let authority = Authority::new();
    let servers = [&["h2"][..], &[]]
        .map(|protocols| Arc::new(authority.server("localhost", protocols, &[&TLS13], |_| {})));
    let (listener, mut config) = listener().await;
    config.base_url =
        format!("https://localhost:{}/v1", listener.local_addr().unwrap().port()).parse().unwrap();
    config.ca_file = Some(authority.file.path().to_owned());
    let upstream = open(config);
    let answer = service_fn(|request: hyper::Request<Incoming>| async move {
        assert_eq!(request.version(), http::Version::HTTP_2);
        Ok::<_, Infallible>(hyper::Response::new(http_body_util::Full::new(Bytes::from_static(b"hello"))))
    });
    let serve = async {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await.unwrap();
            let offered = hello.client_hello().alpn().is_some_and(|mut all| all.any(|one| one == b"h2"));
            let server = Arc::clone(if offered { &servers[0] } else { &servers[1] });
            let socket = TokioIo::new(hello.into_stream(server).await.unwrap());
            let served = http2::Builder::new(TokioExecutor::new()).serve_connection(socket, answer).await;
            assert_eq!(served.is_ok(), offered);
        }
    };
    let ask = async {
        for _ in 0..2 {
            assert_eq!(text(upstream.send(call(MINUTE)).await.unwrap()).await, "hello");
        }
    };
    tokio::select! {
        () = serve => {}
        () = ask => {}
    }
}

//! HTTP/2 to a TLS upstream whose authority stands in `ca_file`.

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
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use upstream::{Config, Failure};

use super::super::{MINUTE, call};
use super::{listener, open};

/// A server's side of TLS, and the authority that a client must know for it.
fn certificate() -> (TlsAcceptor, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    (TlsAcceptor::from(Arc::new(server)), file)
}

#[tokio::test]
async fn tls_brings_http_2_and_a_dropped_body_cancels_its_stream_alone() {
    let (acceptor, authority) = certificate();
    let (listener, config) = listener().await;
    let port = listener.local_addr().unwrap().port();
    let base_url = format!("https://localhost:{port}/v1").parse().unwrap();
    let upstream = open(Config { base_url, ca_file: Some(authority.path().to_owned()), ..config.clone() });

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

#[tokio::test]
async fn a_server_that_no_authority_vouches_for_is_unreachable() {
    let (acceptor, _) = certificate();
    let (listener, mut config) = listener().await;
    let port = listener.local_addr().unwrap().port();
    config.base_url = format!("https://localhost:{port}").parse().unwrap();
    let upstream = open(config);
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        acceptor.accept(socket).await.unwrap_err();
    };
    let (result, ()) = tokio::join!(upstream.send(call(MINUTE)), serve);
    assert!(matches!(result, Err(Failure::Unreachable)), "{result:?}");
}

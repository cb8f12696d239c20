//! TLS: both protocols over it, and certificates that change.

use std::net::SocketAddr;
use std::path::PathBuf;

use server::{Config, Tls};
use tokio::io::AsyncWriteExt;

use super::{connect, read_to_end, running};
use crate::gateway::{Gateway, Plan};

/// A certificate for `localhost` that signs itself, good until the year 2126, and its key: known to all, of use to none.
pub(super) fn certificate() -> Tls {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("it/listener");
    Tls { certificate: folder.join("localhost.pem"), key: folder.join("localhost.key") }
}

#[tokio::test]
async fn tls_with_both_protocols_and_a_reload() {
    let running = running(|config| config.tls = Some(certificate())).await;
    let pem = std::fs::read(certificate().certificate).unwrap();
    let root = reqwest::Certificate::from_pem(&pem).unwrap();
    let builder = || reqwest::Client::builder().no_proxy().tls_certs_only([root.clone()]);
    let url = format!("https://localhost:{}/livez", running.address.port());
    let resolve =
        |builder: reqwest::ClientBuilder| builder.resolve("localhost", running.address).build().unwrap();
    let two = resolve(builder()).get(&url).send().await.unwrap();
    assert_eq!((two.status().as_u16(), two.version()), (200, http::Version::HTTP_2));
    let one = resolve(builder().http1_only()).get(&url).send().await.unwrap();
    assert_eq!((one.status().as_u16(), one.version()), (200, http::Version::HTTP_11));
    running.gateway.server.reload_tls().unwrap();
    assert_eq!(resolve(builder()).get(&url).send().await.unwrap().status(), 200);
    // Plain text at a TLS port is turned away.
    let mut plain = connect(&running).await;
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(!read_to_end(plain).await.contains("200 OK"));
    running.leave().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: Some(Tls { certificate: "nowhere.pem".into(), key: "nowhere.key".into() }),
        ..Config::default()
    };
    let gateway = Gateway::new(Plan { config, ..Plan::default() });
    let problem = gateway.server.bind().await.unwrap_err().to_string();
    assert!(problem.contains("nowhere.pem"), "{problem}");
}

//! Certificates that change while the gateway runs.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Program;
use super::commands::{ASSISTANT, Folder, KEY};
use super::program::client;

const SECRET: &str = "a-key-of-the-file";
const RELOADED: &str = "the configuration was read again";
const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";

type Pair = CertifiedKey<KeyPair>;

fn pair() -> Pair {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn write(folder: &Path, pair: &Pair) {
    std::fs::write(folder.join("tls.crt"), pair.cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), pair.signing_key.serialize_pem()).unwrap();
}

/// A client that believes all of these, and speaks this protocol.
async fn connect(gateway: &Program, pairs: &[&Pair], protocol: &str) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    pairs.iter().for_each(|pair| roots.add(pair.cert.der().clone()).unwrap());
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let socket = TcpStream::connect(gateway.url.trim_start_matches("http://")).await.unwrap();
    let name = "localhost".try_into().unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}

fn shows(stream: &TlsStream<TcpStream>, pair: &Pair) -> bool {
    stream.get_ref().1.peer_certificates().unwrap()[0] == *pair.cert.der()
}

async fn asked(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(REQUEST).await.unwrap();
    let mut bytes = [0; 15];
    stream.read_exact(&mut bytes).await.unwrap();
    let mut rest = [0; 4096];
    let _ = stream.read(&mut rest).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn metrics(gateway: &Program) -> String {
    client().get(format!("{}/metrics", gateway.admin)).send().await.unwrap().text().await.unwrap()
}

fn folder(tls: &Path) -> Folder {
    let folder = Folder::with("");
    let table = format!(
        "[server.tls]\ncertificate = \"{0}/tls.crt\"\nkey = \"{0}/tls.key\"\n{ASSISTANT}{KEY}",
        tls.display()
    );
    folder.write(&table);
    folder
}

#[tokio::test]
async fn a_new_pair_is_taken_up_and_a_broken_one_is_not() {
    let tls = tempfile::tempdir().unwrap();
    let (first, second) = (pair(), pair());
    write(tls.path(), &first);
    let folder = folder(tls.path());
    let mut gateway = Program::serve(&folder.file(), SECRET).await;
    let all = [&first, &second];
    for protocol in ["h2", "http/1.1"] {
        let stream = connect(&gateway, &all, protocol).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    }
    let mut before = connect(&gateway, &all, "http/1.1").await;
    assert!(shows(&before, &first));
    assert_eq!(asked(&mut before).await, "HTTP/1.1 200 OK");

    // A certificate whose key is another's, and one that is none.
    std::fs::write(tls.path().join("tls.crt"), second.cert.pem()).unwrap();
    let problem = gateway.logged("wrong in the configuration").await;
    assert_eq!(problem["key"], "server.tls.certificate", "{problem}");
    std::fs::write(tls.path().join("tls.crt"), "no certificate").unwrap();
    gateway.logged("wrong in the configuration").await;
    assert!(metrics(&gateway).await.contains("switchboard_config_last_reload_successful 0"));
    assert!(shows(&connect(&gateway, &all, "http/1.1").await, &first), "the one before stays");

    write(tls.path(), &second);
    gateway.logged(RELOADED).await;
    assert!(shows(&connect(&gateway, &all, "http/1.1").await, &second));
    assert!(metrics(&gateway).await.contains("switchboard_config_last_reload_successful 1"));
    assert_eq!(asked(&mut before).await, "HTTP/1.1 200 OK", "a running connection stays");
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_that_is_mounted_is_changed_by_its_link() {
    use std::os::unix::fs::symlink;
    // As Kubernetes does it: the files are links through a link to a folder, which is renamed over.
    let tls = tempfile::tempdir().unwrap();
    let (first, second) = (pair(), pair());
    for (name, pair) in [("..1", &first), ("..2", &second)] {
        std::fs::create_dir(tls.path().join(name)).unwrap();
        write(&tls.path().join(name), pair);
    }
    symlink("..1", tls.path().join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), tls.path().join(name)).unwrap();
    }
    let folder = folder(tls.path());
    let mut gateway = Program::serve(&folder.file(), SECRET).await;
    assert!(shows(&connect(&gateway, &[&first, &second], "h2").await, &first));
    symlink("..2", tls.path().join("..data_tmp")).unwrap();
    std::fs::rename(tls.path().join("..data_tmp"), tls.path().join("..data")).unwrap();
    std::fs::remove_dir_all(tls.path().join("..1")).unwrap();
    gateway.logged(RELOADED).await;
    assert!(shows(&connect(&gateway, &[&first, &second], "h2").await, &second));
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_named_before_anything_starts() {
    let tls = tempfile::tempdir().unwrap();
    write(tls.path(), &pair());
    std::fs::write(tls.path().join("tls.key"), pair().signing_key.serialize_pem()).unwrap();
    let folder = folder(tls.path());
    let checked =
        super::program::run(super::program::command(&["check", "--config"]).arg(folder.file()), "").await;
    assert_eq!(checked.0.code(), Some(1));
    assert!(checked.1.contains("server.tls.certificate: cannot be used"), "{}", checked.1);
}

//! nginx, with the configuration that is shipped, in front of two listeners that play gateways.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::read;
use crate::smoke::program::PATIENCE;

/// What a request's path makes a gateway do.
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";

/// A listener in a gateway's place.
struct Gateway {
    address: String,
    /// The first lines of the requests that came.
    asked: Arc<Mutex<Vec<String>>>,
    /// Lets a stream go on to its next event.
    goes_on: Arc<Semaphore>,
    _serving: JoinSet<()>,
}

impl Gateway {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (asked, goes_on) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let (seen, gate) = (Arc::clone(&asked), Arc::clone(&goes_on));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut answering = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                answering.spawn(answer(stream, Arc::clone(&seen), Arc::clone(&gate)));
            }
        });
        Self { address, asked, goes_on, _serving: serving }
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Reads one request and does what its path says.
async fn answer(stream: TcpStream, asked: Arc<Mutex<Vec<String>>>, goes_on: Arc<Semaphore>) {
    let mut stream = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
            return;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        if first.is_empty() {
            first = line;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(first);
    match path.as_str() {
        "/stream" => {
            stream.write_all(CHUNKED.as_bytes()).await.unwrap();
            for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
                stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
                goes_on.acquire().await.unwrap().forget();
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        // It has taken the request, and nobody knows what came of it.
        "/cut" => {}
        "/busy" => {
            let busy =
                "HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(busy.as_bytes()).await.unwrap();
        }
        _ => {
            let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwhole";
            stream.write_all(whole.as_bytes()).await.unwrap();
        }
    }
}

/// A private nginx. Ends with the test.
pub struct Nginx {
    folder: tempfile::TempDir,
    child: Child,
    /// Whatever host it asks, nginx answers.
    pub client: reqwest::Client,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers would outlive a master that is killed.
        if let Some(id) = self.child.id() {
            let _ = std::process::Command::new("kill").args(["-TERM", &id.to_string()]).status();
        }
    }
}

impl Nginx {
    /// In front of the gateways at these addresses.
    pub async fn start(gateways: [&str; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Its workers are another user.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let here = folder.path().display().to_string();
        let config = read("docker/nginx/nginx.conf")
            .replace("/tmp/", &format!("{here}/"))
            .replace("listen 8080 ", &format!("listen unix:{here}/socket "))
            .replace("/dev/stdout", "/dev/null")
            .replace("worker_processes auto", "worker_processes 2")
            .replace("worker_rlimit_nofile 65536;", "")
            .replace("worker_connections 16384", "worker_connections 4096");
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        list(folder.path(), gateways, ["", ""]);
        // Where Debian has it, which is not on everybody's path.
        let program = Path::new("/usr/sbin/nginx");
        let mut command = Command::new(if program.exists() { program } else { Path::new("nginx") });
        command.arg("-p").arg(&here).arg("-c").arg(folder.path().join("nginx.conf"));
        let child = command.args(["-g", "daemon off;"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.expect("nginx is installed (`tests/run` does it)");
        let client = reqwest::Client::builder().unix_socket(folder.path().join("socket")).timeout(PATIENCE);
        let mut nginx = Self { folder, child, client: client.build().unwrap() };
        let socket = nginx.folder.path().join("socket");
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let up = async {
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                assert!(nginx.child.try_wait().unwrap().is_none(), "nginx refuses its configuration");
                ticks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, up).await.expect("nginx listens");
        nginx
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("http://switchboard{path}")).send().await.unwrap()
    }

    async fn post(&self, path: &str) -> reqwest::Response {
        self.client.post(format!("http://switchboard{path}")).body("{}").send().await.unwrap()
    }
}

/// Writes the list of gateways as it is shipped, with these addresses and flags. Debian's nginx is older than `resolve`.
fn list(folder: &Path, [one, two]: [&str; 2], [flag_one, flag_two]: [&str; 2]) {
    let shipped = read("docker/nginx/gateways.conf");
    assert_eq!(shipped.matches(" resolve ").count(), 2);
    let text = shipped
        .replace("gateway-1:8080 resolve ", &format!("{one} {flag_one} "))
        .replace("gateway-2:8080 resolve ", &format!("{two} {flag_two} "));
    std::fs::write(folder.join("gateways.conf"), text).unwrap();
    // What only a newer one knows goes, too.
    let config = std::fs::read_to_string(folder.join("nginx.conf")).unwrap();
    let known: Vec<_> = config.lines().filter(|line| !line.trim_start().starts_with("resolver ")).collect();
    std::fs::write(folder.join("nginx.conf"), known.join("\n")).unwrap();
}

/// Nobody listens there.
async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn events_pass_as_they_are_written() {
    let gateway = Gateway::start().await;
    let nginx = Nginx::start([&gateway.address, &gateway.address]).await;
    let mut events = nginx.post("/stream").await.bytes_stream();
    for number in 1..=3 {
        // The next one is written only when this one has come.
        let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("it is not held back");
        assert_eq!(event.unwrap().unwrap(), format!("data: {number}\n\n"));
        gateway.goes_on.add_permits(1);
    }
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_post_that_may_have_arrived_is_not_sent_again() {
    for (path, status) in [("/cut", 502), ("/busy", 503)] {
        let (one, two) = (Gateway::start().await, Gateway::start().await);
        let nginx = Nginx::start([&one.address, &two.address]).await;
        assert_eq!(nginx.post(path).await.status(), status);
        assert_eq!(one.count() + two.count(), 1, "POST {path}");
    }
    // So that this test can fail: what can do no harm is asked for twice.
    let (one, two) = (Gateway::start().await, Gateway::start().await);
    let nginx = Nginx::start([&one.address, &two.address]).await;
    assert_eq!(nginx.get("/cut").await.status(), 502);
    assert_eq!((one.count(), two.count()), (1, 1));
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_passed_over() {
    let (gone, here) = (nobody().await, Gateway::start().await);
    let nginx = Nginx::start([&gone, &here.address]).await;
    for number in 1..=20 {
        let answer = nginx.post("/v1/chat").await;
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "whole"));
        assert_eq!(here.count(), number);
    }
}

#[tokio::test]
async fn a_gateway_is_taken_out_while_its_streams_go_on() {
    let (one, two) = (Gateway::start().await, Gateway::start().await);
    let nginx = Nginx::start([&one.address, &two.address]).await;
    let mut stream = nginx.post("/stream").await.bytes_stream();
    assert_eq!(stream.next().await.unwrap().unwrap(), "data: 1\n\n");
    let flags = if one.count() == 1 { ["down", ""] } else { ["", "down"] };
    let (out, other) = if one.count() == 1 { (&one, &two) } else { (&two, &one) };
    list(nginx.folder.path(), [&one.address, &two.address], flags);
    let id = nginx.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().await.unwrap().success());
    // Until the new workers have taken over.
    let taken_over = async {
        let mut in_a_row = 0;
        while in_a_row < 40 {
            let before = other.count();
            assert_eq!(nginx.post("/v1/chat").await.status(), 200);
            in_a_row = if other.count() > before { in_a_row + 1 } else { 0 };
        }
    };
    tokio::time::timeout(PATIENCE, taken_over).await.expect("it takes the list up");
    out.goes_on.add_permits(3);
    let rest: Vec<_> = stream.map(|piece| piece.unwrap()).collect().await;
    assert_eq!(rest.concat(), b"data: 2\n\ndata: 3\n\n");
}

//! A TCP proxy that cuts its first connection once it has passed on a piece of text.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Passes connections on to an address. Ends with the test.
pub struct Cutter {
    pub url: String,
    was_cut: oneshot::Receiver<()>,
    _running: JoinSet<()>,
}

impl Cutter {
    pub async fn before(gateway: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let to: SocketAddr = gateway.strip_prefix("http://").unwrap().parse().unwrap();
        let (cut, was_cut) = oneshot::channel();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            pass_until_text(&mut client, to).await;
            drop(client);
            let _ = cut.send(());
            let mut later = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                later.spawn(async move {
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { url, was_cut, _running: running }
    }

    /// Waits until the first connection is cut.
    pub async fn was_cut(&mut self) {
        (&mut self.was_cut).await.unwrap();
    }
}

async fn pass_until_text(client: &mut TcpStream, to: SocketAddr) {
    let mut server = TcpStream::connect(to).await.unwrap();
    let (mut asked, mut answered, mut seen) = ([0; 4096], [0; 4096], Vec::new());
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let read = read.unwrap();
                assert!(read > 0, "the client left: {}", String::from_utf8_lossy(&seen));
                server.write_all(&asked[..read]).await.unwrap();
            }
            read = server.read(&mut answered) => {
                let read = read.unwrap();
                assert!(read > 0, "no text: {}", String::from_utf8_lossy(&seen));
                client.write_all(&answered[..read]).await.unwrap();
                seen.extend_from_slice(&answered[..read]);
                let text = String::from_utf8_lossy(&seen);
                if text.split("event: message.delta").nth(1).is_some_and(|rest| rest.contains("\n\n")) {
                    return;
                }
            }
        }
    }
}

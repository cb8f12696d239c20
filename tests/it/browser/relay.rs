//! Between the gateway and its provider: passes some of the answer, and the rest once it is told to.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub struct Relay {
    pub address: SocketAddr,
    /// Lets the rest of one connection's answer pass.
    pub open: Arc<Notify>,
}

impl Relay {
    /// Passes `bytes` of each connection's answer.
    pub async fn open(provider: SocketAddr, bytes: usize, serving: &mut JoinSet<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(Notify::new());
        let gate = Arc::clone(&open);
        serving.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                passing.spawn(pass(client, provider, bytes, Arc::clone(&gate)));
            }
        });
        Self { address, open }
    }
}

async fn pass(client: TcpStream, provider: SocketAddr, bytes: usize, gate: Arc<Notify>) {
    let provider = TcpStream::connect(provider).await.unwrap();
    let (mut asks, mut is_told) = client.into_split();
    let (mut answers, mut is_asked) = provider.into_split();
    let asking = async {
        let _ = copy(&mut asks, &mut is_asked).await;
    };
    let answering = async {
        let mut first = (&mut answers).take(bytes as u64);
        let _ = copy(&mut first, &mut is_told).await;
        gate.notified().await;
        let _ = copy(&mut answers, &mut is_told).await;
        let _ = is_told.shutdown().await;
    };
    tokio::join!(asking, answering);
}

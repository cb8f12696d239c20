//! A TCP proxy that does to a connection what networks do: pass, be slow, stall, break.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They arrive.
    Pass,
    /// They arrive so much later, each way.
    Slow(Duration),
    /// They wait. Connections are taken all the same: nobody is told.
    Stall,
    /// Connections break, and new ones do at once.
    Cut,
}

/// Stands before a server, on an address of its own.
pub struct Proxy {
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Chunks that clients sent, whatever became of them.
    asked: AtomicUsize,
    connected: AtomicUsize,
}

impl Proxy {
    pub async fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let weather = watch::Sender::new(Weather::Pass);
        let shared = Arc::new(Shared { asked: AtomicUsize::new(0), connected: AtomicUsize::new(0) });
        let (following, counting, target) = (weather.subscribe(), Arc::clone(&shared), target.to_owned());
        let tracker = TaskTracker::new();
        tracker.clone().spawn(async move {
            // Ends with the runtime of its test.
            while let Ok((client, _)) = listener.accept().await {
                counting.connected.fetch_add(1, Ordering::SeqCst);
                let (weather, target, counting) = (following.clone(), target.clone(), Arc::clone(&counting));
                tracker.spawn(async move { connect(client, &target, weather, &counting).await });
            }
        });
        Self { address, weather, shared }
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How often clients sent something.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// How often clients connected.
    pub fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::SeqCst)
    }
}

async fn connect(client: TcpStream, target: &str, weather: watch::Receiver<Weather>, shared: &Shared) {
    if *weather.borrow() == Weather::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let mut cut = weather.clone();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = cut.wait_for(|weather| *weather == Weather::Cut) => {}
        () = carry(&mut from_client, &mut to_server, weather.clone(), Some(&shared.asked)) => {}
        () = carry(&mut from_server, &mut to_client, weather, None) => {}
    }
}

async fn carry(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut weather: watch::Receiver<Weather>,
    count: Option<&AtomicUsize>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length) = from.read(&mut buffer).await else { return };
        if length == 0 {
            return;
        }
        if let Some(count) = count {
            count.fetch_add(1, Ordering::SeqCst);
        }
        let Ok(now) = weather.wait_for(|weather| *weather != Weather::Stall).await.map(|now| *now) else {
            return;
        };
        if let Weather::Slow(by) = now {
            // The delay is what this is for.
            let _ = tokio::time::timeout(by, std::future::pending::<()>()).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

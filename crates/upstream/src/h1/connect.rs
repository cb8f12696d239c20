//! To a connection: every address of a name, one after the other and soon side by side.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How long an address may take before the next one is tried beside it (RFC 8305 says 250 ms).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// A connection to the first address that takes one.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = tokio::net::lookup_host((host, port)).await?.collect::<Vec<SocketAddr>>().into_iter();
    let mut trying = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(address) = addresses.next() {
            trying.push(TcpStream::connect(address));
        }
        if trying.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(tried) = trying.next() => match tried {
                Ok(socket) => {
                    // A request is one small write, and its answer is waited for.
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Err(error) => last = error,
            },
            () = sleep(NEXT_AFTER), if addresses.len() > 0 => {}
        }
    }
}

//! The stand-in for the providers: answers without thinking, says in each piece when it was written.
//!
//! The upstream id says what is answered: `bench-PIECES-MS` is a stream of so many pieces so many milliseconds apart,
//! `bench-0-0` a whole answer. The first part of the path is the provider's kind.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::dialect::{self, DIALECTS, Dialect};
use crate::{tasks, tls};

/// Requests beyond this are refused, in bytes.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// The wall clock, which both ends of the benchmark share, in nanoseconds.
pub(crate) fn nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos())
}

/// Serves until it is killed or its standard input ends, over TLS if it is told where its certificate is. Prints the port it was given.
pub(crate) fn serve(threads: usize, tls: Option<&Path>) -> anyhow::Result<()> {
    let acceptor = tls.map(tls::acceptor).transpose()?;
    // Whoever started it holds the other end: no stand-in outlives its benchmark.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::abort();
    });
    let whole: Arc<Vec<Vec<u8>>> = Arc::new(DIALECTS.iter().map(whole).collect());
    let mut inboxes = Vec::new();
    for _ in 0..threads.max(1) {
        let (sender, mut inbox) = mpsc::unbounded_channel::<std::net::TcpStream>();
        inboxes.push(sender);
        let (whole, acceptor) = (Arc::clone(&whole), acceptor.clone());
        std::thread::spawn(move || {
            tasks::block_on(async move {
                let clock = Arc::new(Clock::new()?);
                let running = Arc::clone(&clock);
                tasks::spawn(async move { running.run().await });
                while let Some(socket) = inbox.recv().await {
                    if let Ok(socket) = TcpStream::from_std(socket) {
                        let (whole, acceptor) = (Arc::clone(&whole), acceptor.clone());
                        let clock = Arc::clone(&clock);
                        // A gateway that left is no mistake.
                        tasks::spawn(async move {
                            match acceptor {
                                Some(acceptor) => {
                                    converse(acceptor.accept(socket).await.ok()?, &whole, &clock).await.ok()
                                }
                                None => converse(socket, &whole, &clock).await.ok(),
                            }
                        });
                    }
                }
                anyhow::Ok(())
            })
        });
    }
    tasks::block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        let mut next = 0_usize;
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            socket.set_nodelay(true)?;
            next = next.wrapping_add(1);
            if let Some(inbox) = inboxes.get(next % inboxes.len()) {
                let _ = inbox.send(socket.into_std()?);
            }
        }
    })?
}

/// A whole answer with its head.
fn whole(dialect: &Dialect) -> Vec<u8> {
    let body = dialect.whole(&dialect::whole_text());
    let (status, length) = (dialect.status, body.len());
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A socket, with TLS or without.
trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket for S {}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    dialect: usize,
    pieces: usize,
    every: Duration,
}

async fn converse<S: Socket>(mut socket: S, whole: &[Vec<u8>], clock: &Clock) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let Some(asked) = request(&mut socket, &mut buffer).await? else { return Ok(()) };
        if asked.pieces == 0 {
            socket.write_all(whole.get(asked.dialect).context("no such dialect")?).await?;
        } else {
            stream(&mut socket, asked, clock).await?;
        }
        // TLS may hold sealed what the socket did not take.
        socket.flush().await?;
    }
}

/// Reads one request; none at the connection's end.
async fn request<S: Socket>(socket: &mut S, buffer: &mut Vec<u8>) -> anyhow::Result<Option<Asked>> {
    buffer.clear();
    let mut body_at = None;
    loop {
        if let Some((at, length)) = body_at
            && buffer.len() >= at + length
        {
            return asked(buffer).map(Some);
        }
        if buffer.len() > REQUEST_BYTES_MAX {
            bail!("a request is too large");
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
        if body_at.is_none()
            && let Some(end) = memmem::find(buffer, b"\r\n\r\n")
        {
            let head = str::from_utf8(buffer.get(..end).unwrap_or_default())?.to_ascii_lowercase();
            let length = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.lines().next());
            body_at = Some((end + 4, length.map_or(Ok(0), |length| length.trim().parse())?));
        }
    }
}

fn asked(request: &[u8]) -> anyhow::Result<Asked> {
    let path = request.split(|byte| *byte == b' ').nth(1).context("no path")?;
    let first = path.split(|byte| *byte == b'/').nth(1).unwrap_or_default();
    let dialect =
        DIALECTS.iter().position(|dialect| dialect.kind.as_bytes() == first).context("no provider")?;
    let at = memmem::find(request, b"bench-").context("no upstream id")? + 6;
    let digits = |from: usize| {
        let digits = request.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold((from + 1, 0_usize), |(at, sum), digit| (at + 1, sum * 10 + usize::from(digit - b'0')))
    };
    let (next, pieces) = digits(at);
    let (_, millis) = digits(next);
    Ok(Asked { dialect, pieces, every: Duration::from_millis(millis as u64) })
}

/// Streams the pieces, each in a write and a chunk of its own.
async fn stream<S: Socket>(socket: &mut S, asked: Asked, clock: &Clock) -> anyhow::Result<()> {
    let dialect = DIALECTS.get(asked.dialect).context("no such dialect")?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    let (mut event, mut frame, mut text, mut all) = (Vec::new(), Vec::new(), String::new(), String::new());
    if !dialect.begin().is_empty() {
        chunk(&mut frame, dialect.begin().as_bytes())?;
        socket.write_all(&frame).await?;
    }
    let mut due = Instant::now();
    for number in 0..asked.pieces {
        if !asked.every.is_zero() {
            due += asked.every;
            clock.sleep_until(due).await?;
        }
        text.clear();
        dialect::piece(&mut text, number, nanos());
        if dialect.repeats() {
            all.push_str(&text);
        }
        event.clear();
        dialect.event(&mut event, &text);
        chunk(&mut frame, &event)?;
        socket.write_all(&frame).await?;
    }
    chunk(&mut frame, dialect.end(&all).as_bytes())?;
    frame.extend_from_slice(b"0\r\n\r\n");
    socket.write_all(&frame).await?;
    Ok(())
}

fn chunk(frame: &mut Vec<u8>, bytes: &[u8]) -> std::io::Result<()> {
    frame.clear();
    write!(frame, "{:x}\r\n", bytes.len())?;
    frame.extend_from_slice(bytes);
    frame.extend_from_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_id_says_what_is_answered() {
        let asked = |text: &str| asked(text.as_bytes()).unwrap();
        let wanted = Asked { dialect: 0, pieces: 80, every: Duration::from_millis(250) };
        assert_eq!(
            asked("POST /openai/v1/chat/completions HTTP/1.1\r\n\r\n{\"model\":\"bench-80-250\"}"),
            wanted
        );
        let wanted = Asked { dialect: 2, pieces: 0, every: Duration::ZERO };
        assert_eq!(asked("POST /mygptassistants/chat/bench-0-0/message HTTP/1.1\r\n\r\n{}"), wanted);
    }
}

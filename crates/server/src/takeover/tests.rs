use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::progress::Progress;

fn written<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    ahead: &[u8],
    frames: impl futures_util::Stream<Item = Result<Bytes, &'static str>> + Send + 'static,
) -> Stream<S> {
    let body = Progress::default().answer(Body::from_stream(frames));
    Stream::new(socket, ahead, Response::new(body), false)
}

async fn run(mut stream: Stream<DuplexStream>) -> io::Result<(DuplexStream, Bytes)> {
    poll_fn(|context| stream.poll(context)).await?;
    Ok(stream.into_parts())
}

async fn read_to_end(mut socket: DuplexStream) -> String {
    let mut all = String::new();
    socket.read_to_string(&mut all).await.unwrap();
    all
}

#[tokio::test]
async fn whole_through_a_narrow_socket() {
    for width in [1, 7, 100_000] {
        let (server, client) = duplex(width);
        let frames = stream::iter((0..40).map(|number| Ok(Bytes::from(format!("frame {number}.")))));
        let writing = async {
            let (server, ahead) = run(written(server, b"", frames)).await.unwrap();
            assert!(ahead.is_empty());
            drop(server);
        };
        let ((), got) = tokio::join!(writing, read_to_end(client));
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ndate: "), "{head}");
        let frames = (0..40).map(|number| format!("frame {number}."));
        let chunks: String = frames.map(|frame| format!("{:X}\r\n{frame}\r\n", frame.len())).collect();
        assert_eq!(body, format!("{chunks}0\r\n\r\n"));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_has_no_end() {
    let (server, client) = duplex(100_000);
    let frames = stream::iter([Ok(Bytes::from_static(b"one"))]).chain(stream::once(async {
        tokio::task::yield_now().await;
        Err("broken")
    }));
    let (broken, got) = tokio::join!(run(written(server, b"", frames)), read_to_end(client));
    assert!(broken.unwrap_err().to_string().contains("broken"));
    assert!(got.ends_with("3\r\none\r\n"), "{got}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_before_the_rest_is_written() {
    let (server, mut client) = duplex(1000);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let frames = stream::iter(0..).map(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from_static(&[b'x'; 500]))
    });
    let mut writing = pin!(run(written(server, b"", frames)));
    let mut asked_before = 0;
    for _ in 0..20 {
        let waits = tokio::time::timeout(Duration::from_secs(3600), writing.as_mut()).await;
        assert!(waits.is_err(), "the client takes nothing");
        let now = asked.load(Ordering::Relaxed);
        assert!(now - asked_before <= 8, "{now}");
        asked_before = now;
        client.read_exact(&mut [0; 1000]).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_and_one_that_asks_again_is_not_lost() {
    let (server, client) = duplex(1000);
    drop(client);
    let left = run(written(server, b"", stream::pending())).await;
    assert_eq!(left.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

    // Whoever has asked again may have closed his side: what he asked is read first.
    for read_before in [true, false] {
        let (server, mut client) = duplex(10_000);
        let said = [b'g'; 2000];
        let ahead = if read_before { &said[..] } else { &[] };
        if !read_before {
            client.write_all(&said).await.unwrap();
        }
        let frames = stream::iter([Ok(Bytes::from_static(b"one"))]);
        let (mut server, ahead) = run(written(server, ahead, frames)).await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = ahead.to_vec();
        assert!(read_before || all.len() <= AHEAD_BYTES_MAX);
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, said);
    }
}

//! Clients that ask for a stream and do not read it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::events::Events;
use crate::http::Answer;
use crate::json::{ANSWER_MAX, Outcome};
use crate::targets::Target;
use crate::tasks;

/// Small, so that little of the stream hides in the kernel.
const RECEIVE_BYTES: u32 = 16 * 1024;

/// `count` clients ask for a stream of `pieces`, read nothing for as long as `stuck`, then all. `meanwhile` is done on another thread
/// while they are stuck.
pub(crate) fn readers<T: Send>(
    target: &Target,
    (count, pieces): (usize, usize),
    stuck: Duration,
    meanwhile: impl FnOnce() -> T + Send,
) -> anyhow::Result<(Outcome, T)> {
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            tasks::block_on(async {
                let running: Vec<_> =
                    (0..count).map(|_| tasks::spawn(reader(target.clone(), pieces, stuck))).collect();
                let mut all = Outcome::default();
                for part in running {
                    match part.await.context("a reader").and_then(|result| result) {
                        Ok(events) => {
                            all.whole += 1;
                            all.events += events;
                        }
                        Err(error) => all.fail(&error),
                    }
                }
                all
            })
        });
        let beside = meanwhile();
        let Ok(outcome) = reading.join() else { bail!("the readers broke") };
        Ok((outcome?, beside))
    })
}

async fn reader(target: Target, pieces: usize, stuck: Duration) -> anyhow::Result<u64> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    let mut socket = socket.connect(target.address).await?;
    socket.write_all(&target.stream(pieces, 0)).await?;
    tokio::time::sleep(stuck).await;
    let (mut answer, mut events) = (Answer::new(), Events::new(target.face));
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = tokio::time::timeout(ANSWER_MAX, socket.read(&mut buffer)).await??;
        if count == 0 {
            bail!("closed after {} of {pieces} pieces", events.pieces);
        }
        let mut problem = None;
        let done = answer.feed(buffer.get(..count).unwrap_or_default(), |part| {
            problem = problem.take().or(events.feed(part, |_| {}).err());
        })?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        if done {
            events.check(pieces)?;
            return Ok(events.events);
        }
    }
}

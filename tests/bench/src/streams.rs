//! Streams: as quick as they come, or thousands of slow ones at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::events::Events;
use crate::http::Answer;
use crate::json::{ANSWER_MAX, Outcome};
use crate::targets::Target;
use crate::tasks;

/// What all streams of a load share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Whether pieces count now.
    pub(crate) measuring: AtomicBool,
    /// Events that came while they counted.
    pub(crate) events: AtomicU64,
    /// Streams whose first bytes have come.
    pub(crate) open: AtomicU64,
}

/// Reads one stream on a connection; what was wrong with it is an error.
pub(crate) async fn read_one(
    socket: &mut TcpStream,
    target: &Target,
    (request, pieces): (&[u8], usize),
    shared: &Shared,
    nanos: &mut Vec<u64>,
) -> anyhow::Result<()> {
    socket.write_all(request).await?;
    let (mut answer, mut events) = (Answer::new(), Events::new(target.face));
    let mut buffer = [0; 8 * 1024];
    let mut begun = false;
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            bail!("closed after {} pieces", events.pieces);
        }
        if !begun {
            begun = true;
            shared.open.fetch_add(1, Ordering::Relaxed);
        }
        let measuring = shared.measuring.load(Ordering::Relaxed);
        let (mut problem, before) = (None, events.events);
        let done = answer.feed(buffer.get(..count).unwrap_or_default(), |part| {
            let late = |late| {
                if measuring {
                    nanos.push(late);
                }
            };
            if problem.is_none() {
                problem = events.feed(part, late).err();
            }
        })?;
        if answer.status != 0 && answer.status != 200 {
            bail!("status {}", answer.status);
        }
        if let Some(problem) = problem {
            return Err(problem);
        }
        if measuring {
            shared.events.fetch_add(events.events - before, Ordering::Relaxed);
        }
        if done {
            return events.check(pieces);
        }
    }
}

/// `connections` streams at a time without a pause between pieces, one after another on each connection, until the time is over.
pub(crate) fn fast(
    target: &Target,
    threads: usize,
    (connections, pieces): (usize, usize),
    lasts: Duration,
) -> Outcome {
    let shared = Arc::new(Shared::default());
    shared.measuring.store(true, Ordering::Relaxed);
    let request: Arc<[u8]> = target.stream(pieces, 0).into();
    let parts = tasks::threads(threads, |index| {
        let mine = connections / threads + usize::from(index < connections % threads);
        tasks::block_on(async {
            let until = Instant::now() + lasts;
            let running: Vec<_> = (0..mine)
                .map(|_| {
                    let (target, request, shared) =
                        (target.clone(), Arc::clone(&request), Arc::clone(&shared));
                    tasks::spawn(fast_connection(target, request, pieces, shared, until))
                })
                .collect();
            let mut all = Outcome::default();
            for part in running {
                all.add(part.await.unwrap_or_default());
            }
            all
        })
    });
    let mut all = Outcome::default();
    for part in parts {
        match part {
            Ok(part) => all.add(part),
            Err(error) => all.fail(&error),
        }
    }
    all.events = shared.events.load(Ordering::Relaxed);
    all
}

async fn fast_connection(
    target: Target,
    request: Arc<[u8]>,
    pieces: usize,
    shared: Arc<Shared>,
    until: Instant,
) -> Outcome {
    let mut outcome = Outcome::default();
    let began = Instant::now();
    let mut nanos = Vec::new();
    let mut whole = 0;
    let reading = async {
        let mut socket = TcpStream::connect(target.address).await?;
        socket.set_nodelay(true)?;
        while Instant::now() < until {
            read_one(&mut socket, &target, (&request, pieces), &shared, &mut nanos).await?;
            whole += 1;
        }
        anyhow::Ok(())
    };
    let late = until.saturating_duration_since(Instant::now()) + ANSWER_MAX;
    let result = tokio::time::timeout(late, reading).await.context("no end").and_then(|result| result);
    if let Err(error) = result {
        outcome.fail(&error);
    }
    outcome.whole = whole;
    outcome.nanos = nanos;
    outcome.took = began.elapsed();
    outcome
}

/// A load of slow streams that runs beside whoever measures.
#[derive(Debug, Clone)]
pub(crate) struct Slow {
    pub(crate) target: Target,
    pub(crate) streams: usize,
    pub(crate) pieces: usize,
    pub(crate) every: Duration,
    /// Over how long the streams are opened.
    pub(crate) ramp: Duration,
}

impl Slow {
    /// Runs them all to their end.
    pub(crate) fn run(&self, threads: usize, shared: &Arc<Shared>) -> Outcome {
        let millis = u64::try_from(self.every.as_millis()).unwrap_or(u64::MAX);
        let request: Arc<[u8]> = self.target.stream(self.pieces, millis).into();
        let begin = Instant::now();
        let longest = self.ramp + self.every * u32::try_from(self.pieces).unwrap_or(u32::MAX) + ANSWER_MAX;
        let parts = tasks::threads(threads, |index| {
            tasks::block_on(async {
                let running: Vec<_> = (index..self.streams)
                    .step_by(threads.max(1))
                    .map(|number| {
                        let at = begin + self.ramp.mul_f64(number as f64 / self.streams as f64);
                        let (slow, request, shared) =
                            (self.clone(), Arc::clone(&request), Arc::clone(shared));
                        tasks::spawn(async move {
                            let one = slow_stream(&slow, &request, &shared, at);
                            tokio::time::timeout(longest, one).await.unwrap_or_else(|_| {
                                let mut outcome = Outcome::default();
                                outcome.fail(&anyhow::anyhow!("a stream did not end"));
                                outcome
                            })
                        })
                    })
                    .collect();
                let mut all = Outcome::default();
                for part in running {
                    all.add(part.await.unwrap_or_default());
                }
                all
            })
        });
        let mut all = Outcome::default();
        for part in parts {
            match part {
                Ok(part) => all.add(part),
                Err(error) => all.fail(&error),
            }
        }
        all
    }
}

async fn slow_stream(slow: &Slow, request: &[u8], shared: &Shared, at: Instant) -> Outcome {
    tokio::time::sleep_until(at.into()).await;
    let mut outcome = Outcome::default();
    let result = async {
        let mut socket = TcpStream::connect(slow.target.address).await?;
        socket.set_nodelay(true)?;
        read_one(&mut socket, &slow.target, (request, slow.pieces), shared, &mut outcome.nanos).await
    }
    .await;
    match result {
        Ok(()) => outcome.whole = 1,
        Err(error) => outcome.fail(&error),
    }
    outcome
}

//! Whole answers: as many as there can be (closed loop), or so many a second (open loop).

use std::io::{Read as _, Write as _};
use std::net::TcpStream as BlockingStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::Answer;
use crate::targets::Target;
use crate::tasks;

/// How long an answer may take before it counts as missing.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a load came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Answers that were whole, or streams.
    pub(crate) whole: u64,
    /// How many were not, and what was wrong with the first.
    pub(crate) wrong: u64,
    pub(crate) problem: Option<String>,
    /// Of each answer or piece, in nanoseconds.
    pub(crate) nanos: Vec<u64>,
    /// Events of streams.
    pub(crate) events: u64,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Puts parts together.
    pub(crate) fn add(&mut self, other: Self) {
        self.whole += other.whole;
        self.wrong += other.wrong;
        self.problem = self.problem.take().or(other.problem);
        self.nanos.extend(other.nanos);
        self.events += other.events;
        self.took = self.took.max(other.took);
    }

    /// Notes what went wrong.
    pub(crate) fn fail(&mut self, error: &anyhow::Error) {
        self.wrong += 1;
        self.problem.get_or_insert_with(|| format!("{error:#}"));
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Asks over `connections` connections, each again as soon as it is answered.
pub(crate) fn closed(target: &Target, threads: usize, connections: usize, lasts: Duration) -> Outcome {
    closed_each(std::slice::from_ref(target), threads, connections, lasts)
}

/// The same, where the connections take turns at the targets.
pub(crate) fn closed_each(
    targets: &[Target],
    threads: usize,
    connections: usize,
    lasts: Duration,
) -> Outcome {
    let threads = threads.clamp(1, connections.max(1));
    let parts = tasks::threads(threads, |index| {
        let mine = connections / threads + usize::from(index < connections % threads);
        tasks::block_on(async {
            let until = Instant::now() + lasts;
            let mine = targets.iter().cycle().skip(index).step_by(threads).take(mine);
            let running: Vec<_> =
                mine.map(|target| tasks::spawn(closed_connection(target.clone(), until))).collect();
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

async fn closed_connection(target: Target, until: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let began = Instant::now();
    let asking = async {
        let mut socket = TcpStream::connect(target.address).await?;
        socket.set_nodelay(true)?;
        let (mut answer, mut body, mut buffer) = (Answer::new(), Vec::new(), vec![0; 16 * 1024]);
        while Instant::now() < until {
            let asked = Instant::now();
            socket.write_all(&target.whole).await?;
            answer.reset();
            body.clear();
            loop {
                let count = socket.read(&mut buffer).await?;
                if count == 0 {
                    bail!("closed before the answer's end");
                }
                let bytes = buffer.get(..count).unwrap_or_default();
                if answer.feed(bytes, |part| body.extend_from_slice(part))? {
                    break;
                }
            }
            check(&target, &answer, &body)?;
            outcome.nanos.push(nanos(asked.elapsed()));
            outcome.whole += 1;
        }
        anyhow::Ok(())
    };
    let late = until.saturating_duration_since(Instant::now()) + ANSWER_MAX;
    let result = tokio::time::timeout(late, asking).await.context("no answer").and_then(|result| result);
    if let Err(error) = result {
        outcome.fail(&error);
    }
    outcome.took = began.elapsed();
    outcome
}

fn check(target: &Target, answer: &Answer, body: &[u8]) -> anyhow::Result<()> {
    if answer.status != 200 && answer.status != 201 {
        bail!(
            "{}: {}",
            answer.status,
            String::from_utf8_lossy(body.get(..body.len().min(300)).unwrap_or_default())
        );
    }
    memmem::find(body, &target.whole_text).context("the answer is not whole")?;
    Ok(())
}

/// A schedule of requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Requests a second, over how many connections.
    pub(crate) rate: u32,
    pub(crate) connections: usize,
    /// How long requests go out at that rate before they are measured.
    pub(crate) warm_up: Duration,
    /// How long they are measured.
    pub(crate) lasts: Duration,
}

impl Pace {
    /// How many requests are due in a time.
    fn requests(&self, time: Duration) -> u64 {
        (f64::from(self.rate) * time.as_secs_f64()).round() as u64
    }

    /// When a request is due, after the first one.
    fn due(&self, number: u64) -> Duration {
        Duration::from_nanos(number * 1_000_000_000 / u64::from(self.rate.max(1)))
    }
}

/// Asks at a pace whatever the answers do. Each of the connections, a thread each, has its part of the schedule; a request that is
/// late because the one before was not answered in time is measured from when it was due. `begun` is done when the warm-up is over,
/// on the thread that called, and its result given back.
pub(crate) fn open<T>(target: &Target, pace: Pace, begun: impl FnOnce() -> T) -> (Outcome, T) {
    let first = Instant::now() + Duration::from_millis(50);
    let unmeasured = pace.requests(pace.warm_up);
    let total = unmeasured + pace.requests(pace.lasts);
    let begin = first + pace.due(unmeasured);
    let all = Mutex::new(Outcome::default());
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            tasks::threads(pace.connections, |index| {
                let mut outcome = Outcome::default();
                let numbers = (index as u64..total).step_by(pace.connections);
                let requests = numbers.map(|number| (first + pace.due(number), number >= unmeasured));
                if let Err(error) = open_connection(target, requests, &mut outcome) {
                    outcome.fail(&error);
                }
                if let Ok(mut all) = all.lock() {
                    all.add(outcome);
                }
            });
        });
        std::thread::sleep(begin.saturating_duration_since(Instant::now()));
        begun()
    });
    let mut all = all.into_inner().unwrap_or_default();
    // The schedule's last request has its time too.
    all.took = begin.elapsed().max(pace.lasts);
    (all, seen)
}

/// Sends requests when they are due; only some are measured.
fn open_connection(
    target: &Target,
    requests: impl Iterator<Item = (Instant, bool)>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let mut socket = BlockingStream::connect(target.address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    let (mut answer, mut body, mut buffer) = (Answer::new(), Vec::new(), vec![0; 16 * 1024]);
    for (due, measured) in requests {
        let early = due.saturating_duration_since(Instant::now());
        // A thread that slept begins when it woke: how late the system wakes it is not the target's doing.
        let asked = if early.is_zero() {
            due
        } else {
            std::thread::sleep(early);
            Instant::now()
        };
        socket.write_all(&target.whole)?;
        answer.reset();
        body.clear();
        loop {
            let count = socket.read(&mut buffer)?;
            if count == 0 {
                bail!("closed before the answer's end");
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            if answer.feed(bytes, |part| body.extend_from_slice(part))? {
                break;
            }
        }
        check(target, &answer, &body)?;
        if measured {
            outcome.nanos.push(nanos(asked.elapsed()));
            outcome.whole += 1;
        }
    }
    Ok(())
}

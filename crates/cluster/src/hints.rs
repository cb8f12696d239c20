//! What one gateway has learnt of a provider, told to the others. Nothing waits for it: a hint that is lost is a hint less.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::link::Link;
use crate::{LinkError, tasks};

/// How many hints wait to be sent. They are about now: further ones are dropped.
const WAITING_MAX: usize = 64;
/// What is heard is no longer than this, in bytes. Names of providers are shorter.
const MESSAGE_MAX: usize = 512;
/// How long after a broken subscription another is tried, while Redis is up.
const AGAIN: Duration = Duration::from_millis(500);

/// What a gateway has learnt of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The provider's name in the configuration.
    pub provider: String,
    /// What it is.
    pub kind: HintKind,
    /// How long that holds.
    pub lasts: Duration,
}

/// What can be learnt of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintKind {
    /// Its breaker has opened.
    Failing,
    /// It asked to be left alone.
    Paused,
}

/// Tells the others.
#[derive(Debug, Clone)]
pub struct Hints(mpsc::Sender<Hint>);

impl Hints {
    /// Tells the others, at once or not at all.
    pub fn tell(&self, hint: Hint) {
        // Too many at once say the same thing.
        let _ = self.0.try_send(hint);
    }

    /// Sends and hears hints until `stop`.
    pub(crate) fn open(
        link: &Link,
        tracker: &TaskTracker,
        stop: &CancellationToken,
        hear: Arc<dyn Fn(Hint) + Send + Sync>,
    ) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        // Names this gateway, so that it does not listen to itself.
        let me = format!("{:016x}", rand::random::<u64>());
        let sending = send_for_ever(link.clone(), me.clone(), waiting);
        tasks::spawn(tracker, {
            let stop = stop.clone();
            async move {
                stop.run_until_cancelled(sending).await;
            }
        });
        let (link, stop) = (link.clone(), stop.clone());
        tasks::spawn(tracker, async move {
            stop.run_until_cancelled(hear_for_ever(&link, &me, hear.as_ref())).await;
        });
        Self(sender)
    }
}

async fn send_for_ever(link: Link, me: String, mut waiting: mpsc::Receiver<Hint>) {
    let channel = link.channel("hints");
    while let Some(hint) = waiting.recv().await {
        let (channel, text) = (&channel, &write(&me, &hint));
        let publish = |mut connection: redis::aio::MultiplexedConnection| async move {
            redis::cmd("PUBLISH").arg(channel).arg(text).query_async::<i64>(&mut connection).await
        };
        // What is lost is counted among the calls.
        let _ = link.call("hints", publish).await;
    }
}

async fn hear_for_ever(link: &Link, me: &str, hear: &(dyn Fn(Hint) + Send + Sync)) {
    let mut changes = link.changes();
    loop {
        if changes.wait_for(|up| *up).await.is_err() {
            return;
        }
        // A subscription that broke shows on the other connection as well, if Redis is gone.
        let _ = listen(link, me, hear).await;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn listen(link: &Link, me: &str, hear: &(dyn Fn(Hint) + Send + Sync)) -> Result<(), LinkError> {
    let mut subscriber = link.subscriber().await?;
    let subscribing = subscriber.subscribe(link.channel("hints"));
    match tokio::time::timeout(link.config().connect_timeout, subscribing).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(LinkError::Broken),
        Err(_) => return Err(LinkError::Deadline),
    }
    let mut messages = subscriber.into_on_message();
    let mut changes = link.changes();
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            // A Redis that is gone without a word leaves the subscription hanging.
            _ = changes.wait_for(|up| !*up) => None,
        };
        let Some(message) = message else { return Ok(()) };
        if let Some(hint) = read(me, message.get_payload_bytes()) {
            tracing::info!(
                provider.name = hint.provider,
                hint = word(hint.kind),
                lasts_ms = millis(hint.lasts),
                "another gateway says this of a provider"
            );
            hear(hint);
        }
    }
}

fn write(me: &str, hint: &Hint) -> String {
    format!("{me} {} {} {}", word(hint.kind), millis(hint.lasts), hint.provider)
}

/// What somebody else says; none if it is our own or makes no sense.
fn read(me: &str, bytes: &[u8]) -> Option<Hint> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MESSAGE_MAX)?;
    let mut words = text.splitn(4, ' ');
    words.next().filter(|who| *who != me)?;
    let kind = match words.next()? {
        "failing" => HintKind::Failing,
        "paused" => HintKind::Paused,
        // A newer gateway may know more.
        _ => return None,
    };
    let lasts = Duration::from_millis(words.next()?.parse().ok()?);
    Some(Hint { provider: words.next()?.to_owned(), kind, lasts })
}

fn word(kind: HintKind) -> &'static str {
    match kind {
        HintKind::Failing => "failing",
        HintKind::Paused => "paused",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_as_they_were_written_by_others() {
        let hint =
            Hint { provider: "my tunnel".into(), kind: HintKind::Paused, lasts: Duration::from_millis(1500) };
        let text = write("one", &hint);
        assert_eq!(read("other", text.as_bytes()), Some(hint));
        assert_eq!(read("one", text.as_bytes()), None, "one's own");
        for nonsense in ["", "x", "x failing", "x failing y p", "x burning 5 p", "x failing -1 p"] {
            assert_eq!(read("other", nonsense.as_bytes()), None, "{nonsense}");
        }
        assert_eq!(read("other", &[b'x'; 4096]), None);
        assert_eq!(read("other", b"x failing 1 \xff"), None);
    }
}

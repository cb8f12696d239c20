//! Turns that run, in Redis Streams: one stream for each turn, and one for the wishes to stop some.
//!
//! A gateway appends to the streams of its own turns, and reads those that it follows, all of them with one call over one
//! connection of their own. Streams are short and vanish by themselves: what must stay is in the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chat::{LiveEntries, LiveEntry, LiveError, LiveStops, LiveTurns, TurnId};
use futures_util::stream;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::link::Link;
use crate::{LinkError, tasks};

/// Entries of one turn that Redis keeps at the most; at ten a second it is some fifteen minutes.
const ENTRIES_MAX: u32 = 10_000;
/// How long the entries of a turn stay when nothing more is said of it.
const KEPT: Duration = Duration::from_secs(60);
/// How long they stay once it has ended: readers are a moment behind.
const KEPT_ENDED: Duration = Duration::from_secs(5);
/// How long it holds that somebody reads a turn: it is said again each second.
const WATCHED: Duration = Duration::from_secs(4);
/// Wishes that Redis keeps at the most.
const STOPS_MAX: u32 = 1000;
/// How long Redis holds a call until there is something to read: also how long a turn waits that is followed from now on.
const BLOCK: Duration = Duration::from_millis(100);
/// How much longer than that an answer may take before the connection is given up.
const OVERDUE: Duration = Duration::from_secs(2);
/// The pause between two calls that were answered at once: what comes meanwhile comes together.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause before a connection that broke is replaced.
const RETRY: Duration = Duration::from_millis(200);
/// Turns that one gateway follows at the most: one more is read in the store.
const FOLLOWED_MAX: usize = 2000;
/// Entries of a turn that wait for its reader at the most; more stay in Redis.
const WAITING_MAX: usize = 64;

/// An answer to `XREAD`: for each stream its entries, by id.
type Answer = Option<Vec<(String, Vec<(String, HashMap<String, String>)>)>>;

/// What gateways tell each other of turns, on Redis.
pub(crate) struct Running {
    link: Link,
    /// Those who read a turn, by the key of its stream.
    followed: Mutex<HashMap<String, Vec<Reader>>>,
    stop_wishes: mpsc::Sender<TurnId>,
    stops: Mutex<Option<mpsc::Receiver<TurnId>>>,
}

/// One who reads a turn, and the last entry that was passed on.
struct Reader {
    entries: mpsc::Sender<LiveEntry>,
    last: EntryId,
}

/// Redis's number of an entry: milliseconds, and a number within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct EntryId(u64, u64);

impl EntryId {
    fn parse(text: &str) -> Option<Self> {
        let (millis, number) = text.split_once('-')?;
        Some(Self(millis.parse().ok()?, number.parse().ok()?))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("followed", &self.followed().len()).finish_non_exhaustive()
    }
}

impl Running {
    /// Begins to read. The task ends with `stop`.
    pub(crate) fn open(link: Link, tracker: &TaskTracker, stop: CancellationToken) -> Arc<Self> {
        let (stop_wishes, stops) = mpsc::channel(STOPS_MAX as usize);
        let running =
            Arc::new(Self { link, followed: Mutex::default(), stop_wishes, stops: Mutex::new(Some(stops)) });
        let reading = Arc::clone(&running).read();
        tasks::spawn(tracker, async move {
            stop.run_until_cancelled(reading).await;
        });
        running
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<String, Vec<Reader>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key_of(&self, id: TurnId) -> String {
        self.link.key(&format!("turn:{id}"))
    }

    fn watch_key(&self, id: TurnId) -> String {
        self.link.key(&format!("watch:{id}"))
    }

    fn stops_key(&self) -> String {
        self.link.key("stops")
    }

    async fn read(self: Arc<Self>) {
        let mut changes = self.link.changes();
        while changes.wait_for(|up| *up).await.is_ok() {
            if let Err(error) = self.read_until_lost().await {
                tracing::debug!(%error, "live events are not read now, trying again");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn read_until_lost(&self) -> Result<(), LinkError> {
        let mut connection = self.link.dedicated().await?;
        let mut last_stop = self.last_stop(&mut connection).await?;
        while self.link.is_up() {
            let (after, answer) = self.ask(&mut connection, &last_stop).await?;
            let Some(streams) = answer else { continue };
            for (key, entries) in streams {
                if key == self.stops_key() {
                    for (entry, fields) in entries {
                        last_stop = entry;
                        self.pass_stop(&fields);
                    }
                } else {
                    self.pass_on(&key, after.get(&key).copied().unwrap_or_default(), entries);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Wishes from before now have been heard by those who were there; the rest stands in the store.
    async fn last_stop(&self, connection: &mut MultiplexedConnection) -> Result<String, LinkError> {
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(self.stops_key()).arg("+").arg("-").arg("COUNT").arg(1);
        let asking = newest.query_async::<Vec<(String, HashMap<String, String>)>>(connection);
        let entries =
            tokio::time::timeout(OVERDUE, asking).await.map_err(|_| LinkError::Deadline)?.map_err(broken)?;
        Ok(entries.into_iter().next().map_or_else(|| "0-0".to_owned(), |(entry, _)| entry))
    }

    /// Asks for what has come. Gives the answer, and after which entry each stream was asked for.
    async fn ask(
        &self,
        connection: &mut MultiplexedConnection,
        last_stop: &str,
    ) -> Result<(HashMap<String, EntryId>, Answer), LinkError> {
        let after = self.wanted();
        let (mut keys, mut ids) = (vec![self.stops_key()], vec![last_stop.to_owned()]);
        for (key, last) in &after {
            keys.push(key.clone());
            ids.push(last.to_string());
        }
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(WAITING_MAX).arg("BLOCK").arg(millis(BLOCK)).arg("STREAMS").arg(keys).arg(ids);
        let asking = read.query_async::<Answer>(connection);
        let answer = tokio::time::timeout(BLOCK + OVERDUE, asking).await.map_err(|_| LinkError::Deadline)?;
        Ok((after, answer.map_err(broken)?))
    }

    /// The streams that somebody reads, each with the entry after which the one that is furthest behind goes on. Who has not yet taken
    /// what waits for them is not asked for.
    fn wanted(&self) -> HashMap<String, EntryId> {
        let mut followed = self.followed();
        let mut wanted = HashMap::with_capacity(followed.len());
        followed.retain(|key, readers| {
            readers.retain(|reader| !reader.entries.is_closed());
            let able = readers.iter().filter(|reader| reader.entries.capacity() > 0);
            if let Some(last) = able.map(|reader| reader.last).min() {
                wanted.insert(key.clone(), last);
            }
            !readers.is_empty()
        });
        wanted
    }

    fn pass_stop(&self, fields: &HashMap<String, String>) {
        if let Some(id) = fields.get("turn").and_then(|id| id.parse().ok()) {
            // One too many is heard through the store.
            let _ = self.stop_wishes.try_send(id);
        }
    }

    /// Passes entries on that come right behind `after`.
    fn pass_on(&self, key: &str, after: EntryId, entries: Vec<(String, HashMap<String, String>)>) {
        let read = |(id, fields): (String, HashMap<String, String>)| {
            // What a newer gateway says in other words is passed over: who follows sees the gap.
            let entry = fields.get("entry").and_then(|json| serde_json::from_str::<LiveEntry>(json).ok());
            Some((EntryId::parse(&id)?, entry))
        };
        let entries: Vec<_> = entries.into_iter().filter_map(read).collect();
        let mut followed = self.followed();
        // One that came meanwhile begins with the next answer.
        let readers = followed.get_mut(key).into_iter().flatten().filter(|reader| reader.last >= after);
        for reader in readers {
            for (id, entry) in &entries {
                let is_new = *id > reader.last;
                // More than there is room for comes again.
                if is_new
                    && entry.as_ref().is_some_and(|entry| reader.entries.try_send(entry.clone()).is_err())
                {
                    break;
                }
                reader.last = reader.last.max(*id);
            }
        }
    }
}

#[async_trait]
impl LiveTurns for Running {
    fn is_up(&self) -> bool {
        self.link.is_up()
    }

    async fn publish(&self, id: TurnId, entry: LiveEntry) -> Result<(), LiveError> {
        let kept = if entry.end.is_some() { KEPT_ENDED } else { KEPT };
        let json = serde_json::to_string(&entry).map_err(|_| LiveError)?;
        let key = self.key_of(id);
        let mut append = redis::pipe();
        append.cmd("XADD").arg(&key).arg("MAXLEN").arg("~").arg(ENTRIES_MAX).arg("*").arg("entry").arg(json);
        append.ignore().cmd("PEXPIRE").arg(&key).arg(millis(kept)).ignore();
        let call = |mut connection: MultiplexedConnection| async move {
            append.query_async::<()>(&mut connection).await
        };
        self.link.call("publish", call).await.map_err(|_| LiveError)
    }

    fn follow(&self, id: TurnId) -> Result<LiveEntries, LiveError> {
        let mut followed = self.followed();
        if followed.len() >= FOLLOWED_MAX {
            return Err(LiveError);
        }
        let (sender, entries) = mpsc::channel(WAITING_MAX);
        let readers = followed.entry(self.key_of(id)).or_default();
        readers.push(Reader { entries: sender, last: EntryId::default() });
        Ok(Box::pin(received(entries)))
    }

    async fn watch(&self, id: TurnId) {
        let key = self.watch_key(id);
        let call = |mut connection: MultiplexedConnection| async move {
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(1).arg("PX").arg(millis(WATCHED)).query_async::<()>(&mut connection).await
        };
        // It is said again.
        let _ = self.link.call("watch", call).await;
    }

    async fn is_watched(&self, id: TurnId) -> bool {
        let key = self.watch_key(id);
        let call = |mut connection: MultiplexedConnection| async move {
            redis::cmd("EXISTS").arg(&key).query_async::<bool>(&mut connection).await
        };
        self.link.call("is_watched", call).await.unwrap_or(false)
    }

    async fn wish_stop(&self, id: TurnId) {
        let key = self.stops_key();
        let mut append = redis::pipe();
        append
            .cmd("XADD")
            .arg(&key)
            .arg("MAXLEN")
            .arg("~")
            .arg(STOPS_MAX)
            .arg("*")
            .arg("turn")
            .arg(id.to_string());
        append.ignore().cmd("PEXPIRE").arg(&key).arg(millis(KEPT)).ignore();
        let call = |mut connection: MultiplexedConnection| async move {
            append.query_async::<()>(&mut connection).await
        };
        // The wish stands in the store as well.
        let _ = self.link.call("wish_stop", call).await;
    }

    fn stops(&self) -> LiveStops {
        let stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner).take();
        match stops {
            Some(stops) => Box::pin(received(stops)),
            None => Box::pin(stream::empty()),
        }
    }
}

fn received<T: Send>(from: mpsc::Receiver<T>) -> impl stream::Stream<Item = T> + Send {
    stream::unfold(from, |mut from| async move { from.recv().await.map(|one| (one, from)) })
}

fn broken(_: redis::RedisError) -> LinkError {
    LinkError::Broken
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

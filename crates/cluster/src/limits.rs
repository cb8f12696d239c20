//! The limits of keys, counted in Redis for all gateways: each step is one script, which Redis runs alone, by its own clock.
//!
//! All of a key's counters have its id in braces, so that a Redis Cluster keeps them on one node. A turn's place is a lease that its
//! gateway renews: those of a gateway that died lapse. What was spent is what the ledger says, carried on from there by the turns that
//! end; it is asked again after a while, since it also knows of turns that nobody told Redis of.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chat::{
    Admission, Hit, KeyId, Maintenance, Pot, Rate, RateState, Room, SharedLimits, Span, Spent, Taken, Unit,
    billionths,
};
use redis::{Script, ScriptInvocation};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::link::Link;
use crate::{LinkError, tasks};

/// So often a lease is renewed in its time: one that is late twice is still in time.
const RENEWALS: u32 = 4;
/// How many leases are renewed in one call.
const BATCH: usize = 500;
/// A ledger that takes longer is gone on without.
const LEDGER_DEADLINE: Duration = Duration::from_millis(500);
/// How long what was spent is kept while nobody spends. The ledger knows.
const SPAN: Duration = Duration::from_secs(2 * 3600);
/// Places that may be taken although nobody was told: so many are given back later.
const ORPHANS_MAX: usize = 4096;

/// See [`SharedLimits`].
pub(crate) struct Limits {
    link: Link,
    lease: Duration,
    reread: Duration,
    ledger: Arc<dyn Maintenance>,
    tracker: TaskTracker,
    scripts: Scripts,
    leases: Arc<Mutex<Leases>>,
}

struct Scripts {
    rate: Script,
    turn: Script,
    end: Arc<Script>,
    renew: Script,
    ledger: Script,
}

#[derive(Debug, Default)]
struct Leases {
    /// What this gateway holds, by key.
    held: HashMap<KeyId, HashSet<String>>,
    /// What it does not want, though Redis may think so.
    orphans: Vec<(KeyId, String)>,
}

impl Leases {
    fn orphan(&mut self, key: KeyId, lease: String) {
        if self.orphans.len() < ORPHANS_MAX {
            self.orphans.push((key, lease));
        }
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Limits {
    /// The limits over this connection. Leases are renewed until `stop`.
    pub(crate) fn open(
        link: Link,
        ledger: Arc<dyn Maintenance>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        macro_rules! script {
            ($name:literal) => {
                Script::new(concat!(
                    include_str!("scripts/lapsed.lua"),
                    include_str!(concat!("scripts/", $name, ".lua"))
                ))
            };
        }
        let scripts = Scripts {
            rate: Script::new(include_str!("scripts/rate.lua")),
            turn: script!("turn"),
            end: Arc::new(script!("end")),
            renew: script!("renew"),
            ledger: script!("ledger"),
        };
        let leases = Arc::default();
        let (lease, reread) = (link.config().lease, link.config().reread);
        let this = Arc::new(Self { link, lease, reread, ledger, tracker: tracker.clone(), scripts, leases });
        let renewing = Arc::clone(&this);
        tasks::spawn(tracker, async move {
            stop.run_until_cancelled(renewing.renew_for_ever()).await;
        });
        this
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_key(&self, key: KeyId, what: &str) -> String {
        self.link.key(&format!("limits:{{{key}}}:{what}"))
    }

    /// A script on a key's leases.
    fn on_leases<'a>(&self, script: &'a Script, key: KeyId) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(self.of_key(key, "leases")).key(self.of_key(key, "aside"));
        call
    }

    fn span_key(&self, key: KeyId, span: &Span) -> String {
        self.of_key(key, &format!("spent:{}:{}", span.per, span.since))
    }

    async fn run<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, LinkError> {
        self.link
            .call(operation, |mut connection| async move { call.invoke_async(&mut connection).await })
            .await
    }

    /// Runs the script of turns. None where the ledger is to be asked first.
    async fn turn(&self, room: &Room, mode: &str) -> Result<Option<Admission>, LinkError> {
        let spans = spans_of(room.pots.iter().map(|pot| &pot.span));
        let mut call = self.on_leases(&self.scripts.turn, room.key);
        for span in &spans {
            call.key(self.span_key(room.key, span));
        }
        call.arg(member(room))
            .arg(millis(self.lease))
            .arg(room.turns_max.map_or(-1, i64::from))
            .arg(room.reserve_tokens)
            .arg(room.reserve_money)
            .arg(mode)
            .arg(u8::from(room.enforced))
            .arg(millis(self.reread));
        for pot in &room.pots {
            call.arg(index_of(&spans, &pot.span)).arg(field(&pot.unit)).arg(pot.limit);
        }
        let answer: Vec<i64> = self.run("limits_turn", &call).await?;
        read(&answer, room)
    }

    /// Runs the script of turns, and asks the ledger in between where that is due.
    async fn turn_or_ledger(&self, room: &Room, look: bool) -> Result<Admission, LinkError> {
        let (mode, now) = if look { ("look", "look now") } else { ("take", "take now") };
        if let Some(admission) = self.turn(room, mode).await? {
            return Ok(admission);
        }
        for span in spans_of(room.pots.iter().map(|pot| &pot.span)) {
            self.ask_ledger(room.key, &span).await?;
        }
        self.turn(room, now).await?.ok_or_else(|| LinkError::Refused("out of order".to_owned()))
    }

    /// Takes over what the ledger says was spent. A ledger that does not answer changes nothing.
    async fn ask_ledger(&self, key: KeyId, span: &Span) -> Result<(), LinkError> {
        let asking = tokio::time::timeout(LEDGER_DEADLINE, self.ledger.spent(key, &span.since));
        let Ok(Ok(sum)) = asking.await else { return Ok(()) };
        let mut call = self.on_leases(&self.scripts.ledger, key);
        call.key(self.span_key(key, span)).arg(millis(SPAN)).arg(millis(self.reread));
        let tokens = i64::try_from(sum.tokens).unwrap_or(i64::MAX / 4);
        call.arg(field(&Unit::Tokens)).arg(tokens);
        for cost in sum.cost {
            call.arg(field(&Unit::Money(cost.currency))).arg(billionths(cost.amount));
        }
        self.run("limits_ledger", &call).await
    }

    /// Tells Redis of the end of a lease, in the background. One that Redis does not hear of is told again with the next renewals or
    /// lapses; what it cost the ledger knows.
    fn end(&self, key: KeyId, lease: &str, costs: Vec<Spent>) {
        let lease = lease.to_owned();
        if !self.link.is_up() {
            self.leases().orphan(key, lease);
            return;
        }
        let spans = spans_of(costs.iter().map(|cost| &cost.span));
        let mut keys = vec![self.of_key(key, "leases"), self.of_key(key, "aside")];
        keys.extend(spans.iter().map(|span| self.span_key(key, span)));
        let mut arguments = vec![lease.clone(), millis(SPAN).to_string()];
        for cost in costs {
            let index = index_of(&spans, &cost.span).to_string();
            arguments.extend([index, field(&cost.unit), cost.amount.to_string()]);
        }
        let (link, script) = (self.link.clone(), Arc::clone(&self.scripts.end));
        let leases = Arc::clone(&self.leases);
        tasks::spawn(&self.tracker, async move {
            let mut call = script.prepare_invoke();
            call.key(keys).arg(arguments);
            let call = &call;
            let ended: Result<i64, _> = link
                .call("limits_end", |mut connection| async move { call.invoke_async(&mut connection).await })
                .await;
            if ended.is_err() {
                leases.lock().unwrap_or_else(PoisonError::into_inner).orphan(key, lease);
            }
        });
    }

    /// Renews leases again and again, and as soon as Redis is back: it may have lost them.
    async fn renew_for_ever(&self) {
        let mut changes = self.link.changes();
        loop {
            if *changes.borrow_and_update() {
                self.renew().await;
            }
            tokio::select! {
                () = tokio::time::sleep(self.lease / RENEWALS) => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn renew(&self) {
        let (held, orphans) = {
            let mut leases = self.leases();
            let held = leases.held.iter().map(|(key, held)| (*key, held.iter().cloned().collect()));
            (held.collect::<Vec<(KeyId, Vec<String>)>>(), std::mem::take(&mut leases.orphans))
        };
        for (key, lease) in orphans {
            self.end(key, &lease, Vec::new());
        }
        for (key, held) in held {
            for batch in held.chunks(BATCH) {
                let mut call = self.on_leases(&self.scripts.renew, key);
                call.arg(millis(self.lease));
                for lease in batch {
                    call.arg(lease);
                }
                if self.run::<i64>("limits_renew", &call).await.is_err() {
                    return;
                }
                self.end_what_ended_meanwhile(key, batch);
            }
        }
    }

    /// A turn may have ended while its lease was renewed, and the news of it been faster.
    fn end_what_ended_meanwhile(&self, key: KeyId, renewed: &[String]) {
        let ended: Vec<String> = {
            let leases = self.leases();
            let held = leases.held.get(&key);
            renewed.iter().filter(|lease| !held.is_some_and(|held| held.contains(*lease))).cloned().collect()
        };
        for lease in ended {
            self.end(key, &lease, Vec::new());
        }
    }

    fn forget(&self, room: &Room) {
        let mut leases = self.leases();
        if let Some(held) = leases.held.get_mut(&room.key) {
            held.remove(&member(room));
            if held.is_empty() {
                leases.held.remove(&room.key);
            }
        }
    }
}

#[async_trait]
impl SharedLimits for Limits {
    async fn request(&self, key: KeyId, rate: Rate) -> Option<RateState> {
        let mut call = self.scripts.rate.prepare_invoke();
        let each = 60_000_000.0 / f64::from(rate.per_minute.max(1));
        call.key(self.of_key(key, "rate")).arg(each).arg(rate.burst.max(1));
        let (counted, remaining, wait): (u8, u32, u64) = self.run("limits_request", &call).await.ok()?;
        let wait = (counted == 0).then(|| Duration::from_micros(wait));
        Some(RateState { remaining, wait })
    }

    async fn admit(&self, room: &Room) -> Option<Admission> {
        match self.turn_or_ledger(room, false).await {
            Ok(admission) => {
                if admission.hit.is_none() || !room.enforced {
                    self.hold(room);
                }
                Some(admission)
            }
            Err(LinkError::Down) => None,
            // It may have been let in after all.
            Err(_) => {
                self.leases().orphan(room.key, member(room));
                None
            }
        }
    }

    fn hold(&self, room: &Room) {
        let mut leases = self.leases();
        leases.held.entry(room.key).or_default().insert(member(room));
        // It may be told again under this name: then it is no orphan.
        leases.orphans.retain(|(_, lease)| *lease != member(room));
    }

    async fn look(&self, room: &Room) -> Option<Taken> {
        self.turn_or_ledger(room, true).await.ok().map(|admission| admission.taken)
    }

    fn settle(&self, room: &Room, costs: Vec<Spent>) {
        self.forget(room);
        self.end(room.key, &member(room), costs);
    }

    fn release(&self, room: &Room) {
        self.settle(room, Vec::new());
    }
}

/// Whether a pot would have no room for one more reserve if nothing were set aside: as the script has it.
fn is_spent(room: &Room, index: usize, spent: &[i64]) -> bool {
    let (Some(pot), Some(spent)) = (room.pots.get(index), spent.get(index)) else { return true };
    match pot.unit {
        Unit::Tokens => spent.saturating_add(room.reserve_tokens.max(1)) > pot.limit,
        Unit::Money(_) => spent.saturating_add(room.reserve_money) > pot.limit || *spent >= pot.limit,
    }
}

/// What the script of turns says; none: ask the ledger.
fn read(answer: &[i64], room: &Room) -> Result<Option<Admission>, LinkError> {
    let unreadable = || LinkError::Refused("out of order".to_owned());
    let [code, hit, turns, tokens, money, spent @ ..] = answer else { return Err(unreadable()) };
    if *code == 2 {
        return Ok(None);
    }
    let hit = match usize::try_from(*hit) {
        Err(_) => None,
        Ok(0) => Some(Hit::Turns),
        Ok(pot) if is_spent(room, pot - 1, spent) => Some(Hit::Pot(pot - 1)),
        Ok(pot) => Some(Hit::SetAside(pot - 1)),
    };
    let of_pot = |(pot, spent): (&Pot, &i64)| match pot.unit {
        Unit::Tokens => spent.saturating_add(*tokens),
        Unit::Money(_) => spent.saturating_add(*money),
    };
    let pots = room.pots.iter().zip(spent).map(of_pot).collect();
    let turns = u32::try_from(*turns).map_err(|_| unreadable())?;
    Ok(Some(Admission { hit, taken: Taken { turns, pots } }))
}

/// A lease's name in Redis, which says what is set aside for it.
fn member(room: &Room) -> String {
    format!("{}|{}|{}", room.lease, room.reserve_tokens.max(0), room.reserve_money.max(0))
}

fn spans_of<'a>(all: impl Iterator<Item = &'a Span>) -> Vec<Span> {
    let mut spans: Vec<_> = all.cloned().collect();
    spans.sort_unstable();
    spans.dedup();
    spans
}

/// The index in KEYS of a span; the first two are the leases'.
fn index_of(spans: &[Span], span: &Span) -> usize {
    spans.binary_search(span).map_or(0, |index| index + 3)
}

fn field(unit: &Unit) -> String {
    match unit {
        Unit::Tokens => "t".to_owned(),
        Unit::Money(currency) => format!("m:{currency}"),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! How much a key may use: requests per minute, turns at once, budgets. Counted in this process, or, by `shared`, with other gateways;
//! while those cannot be reached, in this process again.
//!
//! A budget is what the ledger says was spent, read once per span and carried on from there, and what is set aside for running
//! turns. A turn is admitted while both together leave room for its reserve, so an overrun is bounded by what running turns cost
//! beyond theirs.

mod rate;
mod shared;
mod standing;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chat::{
    Admission, ErrorCode, KeyId, Lease, LedgerRow, Maintenance, SharedLimits, Timestamp, TurnError,
    UsageSumOfKey,
};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use crate::error::ApiError;
use crate::keys::Key;
use crate::{Budget, Limits, Per, Reserve, metrics};

pub(crate) use rate::Rate;
pub(crate) use standing::Standing;

use rate::Requests;
use shared::{Known, Share};

/// What was read of the ledger is read again after so long, if nothing of the key runs.
const REREAD_AFTER: Duration = Duration::from_secs(5);

/// A ledger that takes longer is gone on without.
const LEDGER_DEADLINE: Duration = Duration::from_millis(500);

/// Seconds of a day.
const DAY: i64 = 24 * 3600;

/// Counts for all keys.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Keys are made by operators: there are as many entries as keys that were used.
    keys: Mutex<HashMap<KeyId, Arc<Counter>>>,
    maintenance: Arc<dyn Maintenance>,
    /// Whom to ask first, where there are other gateways.
    shared: OnceLock<Arc<dyn SharedLimits>>,
}

/// What a key may still spend.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) key: KeyId,
    pub(crate) key_name: Arc<str>,
    pub(crate) per: Per,
    /// `tokens` or a currency.
    pub(crate) unit: String,
    /// Less than nothing where turns cost more than was set aside for them.
    pub(crate) amount: f64,
}

#[derive(Debug)]
struct Counter {
    name: Arc<str>,
    settings: ArcSwap<Settings>,
    turns: Mutex<Turns>,
}

/// The limits of a key, and its requests by them.
#[derive(Debug)]
struct Settings {
    limits: Limits,
    requests: Option<Requests>,
}

impl Settings {
    fn new(limits: Limits) -> Self {
        Self { requests: Requests::of(&limits), limits }
    }
}

/// A key's running turns, and what it has spent.
#[derive(Debug, Default)]
struct Turns {
    running: u32,
    reserved: Sum,
    day: Option<Spent>,
    month: Option<Spent>,
    /// Counts settled turns: what was read of the ledger meanwhile may or may not have them.
    settled: u64,
    settled_at: Option<Instant>,
    /// What all gateways together have taken, as it was last told. None while this gateway counts alone.
    known: Option<Known>,
}

/// Tokens, and money by currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sum {
    tokens: u64,
    cost: HashMap<String, Decimal>,
}

impl Sum {
    fn add_row(&mut self, row: &LedgerRow) {
        let Some(usage) = &row.usage else { return };
        self.tokens = self.tokens.saturating_add(usage.tokens().unwrap_or(0));
        if let Some(cost) = &usage.cost {
            let sum = self.cost.entry(cost.currency.clone()).or_default();
            *sum = sum.saturating_add(cost.amount);
        }
    }

    fn cost_in(&self, currency: &str) -> Decimal {
        self.cost.get(currency).copied().unwrap_or_default()
    }
}

impl From<UsageSumOfKey> for Sum {
    fn from(sum: UsageSumOfKey) -> Self {
        let cost = sum.cost.into_iter().map(|cost| (cost.currency, cost.amount)).collect();
        Self { tokens: sum.tokens, cost }
    }
}

/// What was spent in one span.
#[derive(Debug)]
struct Spent {
    /// The span's first day.
    since: String,
    sum: Sum,
    read_at: Instant,
}

impl Turns {
    fn spent(&self, per: Per) -> Option<&Spent> {
        match per {
            Per::Day => self.day.as_ref(),
            Per::Month => self.month.as_ref(),
        }
    }

    fn spent_mut(&mut self, per: Per) -> &mut Option<Spent> {
        match per {
            Per::Day => &mut self.day,
            Per::Month => &mut self.month,
        }
    }

    fn reserve(&mut self, budgets: &[Budget], reserve: Reserve) {
        self.running += 1;
        self.reserved.tokens = self.reserved.tokens.saturating_add(reserve.tokens);
        for currency in currencies(budgets) {
            let sum = self.reserved.cost.entry(currency.clone()).or_default();
            *sum = sum.saturating_add(reserve.cost);
        }
    }

    fn release(&mut self, currencies: &[String], reserve: Reserve) {
        self.reserved.tokens = self.reserved.tokens.saturating_sub(reserve.tokens);
        for currency in currencies {
            if let Some(sum) = self.reserved.cost.get_mut(currency) {
                *sum = sum.saturating_sub(reserve.cost);
            }
        }
    }

    /// Tokens and money of a budget that are spent or set aside.
    fn taken(&self, budget: &Budget, since: &str) -> (u64, Decimal) {
        let none = Sum::default();
        let spent =
            self.spent(budget.per).filter(|spent| spent.since == since).map_or(&none, |spent| &spent.sum);
        let currency = budget.currency.as_deref().unwrap_or_default();
        (
            spent.tokens.saturating_add(self.reserved.tokens),
            spent.cost_in(currency).saturating_add(self.reserved.cost_in(currency)),
        )
    }

    /// The limits that have no room for one more turn, by what is known here.
    fn hits(&mut self, limits: &Limits, now: Timestamp) -> [Option<Hit>; 2] {
        self.known = None;
        let turns = limits.concurrent_turns.is_some_and(|most| self.running >= most);
        let full =
            limits.budgets.iter().filter(|one| self.is_full(one, limits.reserve, &since(one.per, now)));
        // The one that ends last, where several are used up: before that no turn is admitted. One that running turns alone fill can have
        // room with the next end.
        let hit = |one: &Budget| {
            let waits = self.is_spent(one, limits.reserve, &since(one.per, now));
            if waits { Hit::Budget(one.per) } else { Hit::SetAside(one.per) }
        };
        let budget = full.map(hit).max_by_key(|hit| hit.until(now));
        [turns.then_some(Hit::Turns), budget]
    }

    /// All gateways together have taken this. What was read of the ledger is too old once this gateway counts alone again.
    fn know(&mut self, known: Known) {
        (self.known, self.day, self.month) = (Some(known), None, None);
    }

    /// Whether a budget has no room for one more reserve. Without a reserve there is room as long as anything is left.
    fn is_full(&self, budget: &Budget, reserve: Reserve, since: &str) -> bool {
        has_no_room(budget, reserve, self.taken(budget, since))
    }

    /// The same, if nothing were set aside.
    fn is_spent(&self, budget: &Budget, reserve: Reserve, since: &str) -> bool {
        let (tokens, money) = self.taken(budget, since);
        let currency = budget.currency.as_deref().unwrap_or_default();
        let spent = (
            tokens.saturating_sub(self.reserved.tokens),
            money.saturating_sub(self.reserved.cost_in(currency)),
        );
        has_no_room(budget, reserve, spent)
    }
}

/// Whether so many tokens and so much money leave no room for one more reserve in a budget.
fn has_no_room(budget: &Budget, reserve: Reserve, (taken, money): (u64, Decimal)) -> bool {
    let tokens = budget.tokens.is_some_and(|limit| taken.saturating_add(reserve.tokens.max(1)) > limit);
    let cost = budget.currency.is_some()
        && budget.cost.is_some_and(|limit| money.saturating_add(reserve.cost) > limit || money >= limit);
    tokens || cost
}

fn currencies(budgets: &[Budget]) -> Vec<String> {
    let mut all: Vec<_> = budgets.iter().filter_map(|budget| budget.currency.clone()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The first day of the span that `now` lies in.
fn since(per: Per, now: Timestamp) -> String {
    match per {
        Per::Day => now.day(),
        Per::Month => format!("{}-01", now.month()),
    }
}

/// Seconds until the span that `now` lies in ends.
fn seconds_left(per: Per, now: Timestamp) -> u64 {
    u64::try_from(end_of(per, now) - now.seconds()).unwrap_or(1).max(1)
}

/// Seconds that the span which `now` lies in has in all.
fn seconds_of(per: Per, now: Timestamp) -> u64 {
    let end = end_of(per, now);
    let days = match per {
        Per::Day => 1,
        // A month has as many days as its last one says.
        Per::Month => Timestamp::from_millis((end - 1) * 1000)
            .day()
            .rsplit('-')
            .next()
            .map_or(30, |day| day.parse().unwrap_or(30)),
    };
    days * DAY.unsigned_abs()
}

/// When the span ends that `now` lies in, in seconds.
fn end_of(per: Per, now: Timestamp) -> i64 {
    let mut end = (now.seconds().div_euclid(DAY) + 1) * DAY;
    if per == Per::Month {
        let month = now.month();
        // At most 31 steps: a calendar is not needed for this alone.
        while Timestamp::from_millis(end * 1000).month() == month {
            end += DAY;
        }
    }
    end
}

impl Counters {
    pub(crate) fn new(maintenance: Arc<dyn Maintenance>) -> Self {
        Self { keys: Mutex::default(), maintenance, shared: OnceLock::new() }
    }

    /// From now on counted with other gateways. The first time told stands.
    pub(crate) fn share(&self, shared: Arc<dyn SharedLimits>) {
        // A process is in one cluster: there is no second.
        let _ = self.shared.set(shared);
    }

    /// Counts a request; none where the key has no rate.
    pub(crate) async fn request(&self, key: &Key) -> Option<Rate> {
        let counter = self.counter(key);
        // Here alone: what else a request does goes by the limits that it came in with, also when they have changed since.
        if counter.settings.load().limits != key.limits {
            counter.settings.store(Arc::new(Settings::new(key.limits.clone())));
        }
        let settings = counter.settings.load_full();
        let requests = settings.requests.as_ref()?;
        let rate = match self.shared_request(key.id(), requests.rate()).await {
            Some(state) => requests.told(state.remaining, state.wait),
            None => requests.check(),
        };
        let enforced = !settings.limits.shadow;
        if rate.wait.is_some() {
            metrics::limit_hit("requests", enforced);
        }
        Some(Rate { wait: rate.wait.filter(|_| enforced), ..rate })
    }

    /// Makes room for a turn among the key's running ones and in its budgets.
    pub(crate) async fn turn(&self, key: &Key) -> Result<Box<dyn Lease>, ApiError> {
        let counter = self.counter(key);
        let now = Timestamp::now();
        let limits = &key.limits;
        let share = self.share_of(key.id(), limits, now);
        let told = match &share {
            Some(share) => share.admit().await,
            None => None,
        };
        if told.is_none() {
            self.read_spans(&counter, key.id(), &limits.budgets, now).await;
        }
        let mut lease = counter.admit(limits, now, told)?;
        lease.share = share.inspect(Share::hold);
        Ok(Box::new(lease))
    }

    /// Reads what was spent in the spans that these budgets are for.
    async fn read_spans(&self, counter: &Counter, key: KeyId, budgets: &[Budget], now: Timestamp) {
        for per in [Per::Day, Per::Month] {
            if budgets.iter().any(|budget| budget.per == per) {
                self.read(counter, key, per, now).await;
            }
        }
    }

    /// Reads what the ledger says, if it was not read in this span or may have grown elsewhere.
    async fn read(&self, counter: &Counter, key: KeyId, per: Per, now: Timestamp) {
        let since = since(per, now);
        let settled = {
            let turns = counter.turns();
            let quiet = turns.running == 0 && turns.settled_at.is_none_or(|at| at.elapsed() > REREAD_AFTER);
            match turns.spent(per).filter(|spent| spent.since == since) {
                Some(spent) if !quiet || spent.read_at.elapsed() <= REREAD_AFTER => return,
                _ => turns.settled,
            }
        };
        // A store that does not answer refuses turns by itself; those that keep nothing go on with what is known here.
        let asking = tokio::time::timeout(LEDGER_DEADLINE, self.maintenance.spent(key, &since));
        let Ok(Ok(sum)) = asking.await else { return };
        let mut turns = counter.turns();
        let unmoved = turns.running == 0 && turns.settled == settled;
        let spent = turns.spent_mut(per);
        if unmoved || spent.as_ref().is_none_or(|spent| spent.since != since) {
            *spent = Some(Spent { since, sum: sum.into(), read_at: Instant::now() });
        }
    }

    /// What is left of every budget of the keys that were used, as far as it is known here.
    pub(crate) fn budgets_left(&self) -> Vec<Left> {
        let now = Timestamp::now();
        let keys: Vec<_> = {
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.iter().map(|(key, counter)| (*key, Arc::clone(counter))).collect()
        };
        let mut all = Vec::new();
        for (key, counter) in keys {
            let settings = counter.settings.load();
            let turns = counter.turns();
            for (index, budget) in settings.limits.budgets.iter().enumerate() {
                let known = turns.known.as_ref().and_then(|known| known.of_budget(index, budget, now));
                let taken = match known {
                    Some(taken) => taken,
                    // What the ledger was not asked for yet is not known.
                    None if turns.spent(budget.per).is_none() => continue,
                    None => turns.taken(budget, &since(budget.per, now)),
                };
                let mut add = |unit: String, amount: f64| {
                    let key_name = Arc::clone(&counter.name);
                    all.push(Left { key, key_name, per: budget.per, unit, amount });
                };
                if let Some(limit) = budget.tokens {
                    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                    add("tokens".to_owned(), limit as f64 - taken.0 as f64);
                }
                if let Some((limit, currency)) = budget.cost.zip(budget.currency.as_deref()) {
                    let left = limit.saturating_sub(taken.1);
                    add(currency.to_owned(), left.to_f64().unwrap_or(f64::NAN));
                }
            }
        }
        all
    }

    fn counter(&self, key: &Key) -> Arc<Counter> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = keys.entry(key.id()).or_insert_with(|| {
            let settings = ArcSwap::from_pointee(Settings::new(key.limits.clone()));
            Arc::new(Counter { name: Arc::clone(&key.caller.key_name), settings, turns: Mutex::default() })
        });
        Arc::clone(counter)
    }
}

impl Counter {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place and sets the reserve aside, in one step for all who ask at once. `told`: what the gateways together say of it.
    fn admit(
        self: Arc<Self>,
        limits: &Limits,
        now: Timestamp,
        told: Option<Admission>,
    ) -> Result<TurnLease, ApiError> {
        let mut turns = self.turns();
        let hits = match told {
            Some(admission) => {
                turns.know(Known::of(&limits.budgets, &admission.taken, now));
                [admission.hit.map(|hit| shared::of_hit(hit, &limits.budgets)), None]
            }
            None => turns.hits(limits, now),
        };
        for hit in hits.into_iter().flatten() {
            metrics::limit_hit(hit.word(), !limits.shadow);
            if !limits.shadow {
                return Err(hit.refusal(now));
            }
        }
        turns.reserve(&limits.budgets, limits.reserve);
        drop(turns);
        let (currencies, reserve) = (currencies(&limits.budgets), limits.reserve);
        Ok(TurnLease { counter: self, currencies, reserve, share: None, settled: AtomicBool::new(false) })
    }
}

/// A limit that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hit {
    Turns,
    /// What was spent leaves no room.
    Budget(Per),
    /// What was spent does, but not what is set aside for running turns.
    SetAside(Per),
}

impl Hit {
    fn word(self) -> &'static str {
        match self {
            Self::Turns => "concurrency",
            Self::Budget(_) | Self::SetAside(_) => "budget",
        }
    }

    /// Until when there is certainly no room, in seconds since 1970: none where a turn's end can make some.
    fn until(self, now: Timestamp) -> Option<i64> {
        match self {
            Self::Turns | Self::SetAside(_) => None,
            Self::Budget(per) => Some(end_of(per, now)),
        }
    }

    fn refusal(self, now: Timestamp) -> ApiError {
        match self {
            Self::Turns => {
                let message = "as many turns run as this key may have at once: wait for one to end";
                ApiError::new(ErrorCode::KeyConcurrency, message)
            }
            Self::Budget(per) => {
                let message = format!("{} budget of this key is used up", span(per));
                no_budget(message, seconds_left(per, now))
            }
            Self::SetAside(per) => {
                let message = format!(
                    "what is set aside for this key's running turns leaves no room in {} budget: wait for one to end",
                    span(per)
                );
                no_budget(message, 1)
            }
        }
    }
}

fn span(per: Per) -> &'static str {
    match per {
        Per::Day => "today's",
        Per::Month => "this month's",
    }
}

fn no_budget(message: String, seconds: u64) -> ApiError {
    let mut error = TurnError::new(ErrorCode::KeyBudget, message);
    error.retry_after = Some(seconds);
    error.into()
}

/// A place among a key's running turns, and what is set aside for it.
#[derive(Debug)]
struct TurnLease {
    counter: Arc<Counter>,
    currencies: Vec<String>,
    reserve: Reserve,
    /// The same place where other gateways see it.
    share: Option<Share>,
    settled: AtomicBool,
}

impl Lease for TurnLease {
    fn settle(&self, rows: &[LedgerRow]) {
        if self.settled.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut turns = self.counter.turns();
        turns.release(&self.currencies, self.reserve);
        for per in [Per::Day, Per::Month] {
            if let Some(spent) = turns.spent_mut(per) {
                rows.iter()
                    .filter(|row| since(per, row.at) >= spent.since)
                    .for_each(|row| spent.sum.add_row(row));
            }
        }
        turns.settled += 1;
        turns.settled_at = Some(Instant::now());
        drop(turns);
        if let Some(share) = &self.share {
            share.settle(rows);
        }
    }
}

impl Drop for TurnLease {
    fn drop(&mut self) {
        let mut turns = self.counter.turns();
        if !self.settled.load(Ordering::Acquire) {
            turns.release(&self.currencies, self.reserve);
            if let Some(share) = &self.share {
                share.release();
            }
        }
        turns.running = turns.running.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests;

//! How a key stands to its limits on turns and budgets, as every answer tells it.

use std::borrow::Cow;

use chat::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::shared::Known;
use super::{Counters, Turns, seconds_left, seconds_of, since};
use crate::keys::Key;
use crate::{Budget, Limits};

/// The largest whole number of a structured field (RFC 9651).
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// One limit of a key, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What is limited: `turns`, `tokens-day`, `cost-month-rub`.
    pub(crate) name: Cow<'static, str>,
    /// What is counted, where it is not plain pieces: hundredths of a currency.
    pub(crate) unit: Option<String>,
    /// The limit.
    pub(crate) quota: u64,
    /// Seconds that it holds for; none: it bounds what is at work at once.
    pub(crate) window: Option<u64>,
    /// What is left.
    pub(crate) remaining: u64,
    /// Seconds until all of it is there again.
    pub(crate) reset: Option<u64>,
}

impl Counters {
    /// How a key stands to its limits, but for the one on requests. Where the store cannot say what was spent, what is known here
    /// counts.
    pub(crate) async fn standing(&self, key: &Key) -> Vec<Standing> {
        if key.limits.concurrent_turns.is_none() && key.limits.budgets.is_empty() {
            return Vec::new();
        }
        let (counter, limits) = (self.counter(key), &key.limits);
        let now = Timestamp::now();
        let told = match self.share_of(key.id(), limits, now) {
            Some(share) => share.look().await,
            None => None,
        };
        if let Some(taken) = told {
            let known = Known::of(&limits.budgets, &taken, now);
            let all = standing(limits, now, known.turns, |index, budget| {
                known.of_budget(index, budget, now).unwrap_or_default()
            });
            counter.turns().know(known);
            return all;
        }
        self.read_spans(&counter, key.id(), &limits.budgets, now).await;
        let turns = counter.turns();
        standing(limits, now, turns.running, |_, budget| taken(&turns, budget, now))
    }
}

fn taken(turns: &Turns, budget: &Budget, now: Timestamp) -> (u64, Decimal) {
    turns.taken(budget, &since(budget.per, now))
}

/// `taken` says what is spent or set aside of a budget.
fn standing(
    limits: &Limits,
    now: Timestamp,
    running: u32,
    taken: impl Fn(usize, &Budget) -> (u64, Decimal),
) -> Vec<Standing> {
    let mut all: Vec<Standing> = limits
        .concurrent_turns
        .map(|most| Standing {
            name: "turns".into(),
            unit: None,
            quota: most.into(),
            window: None,
            remaining: most.saturating_sub(running).into(),
            reset: None,
        })
        .into_iter()
        .collect();
    let budgets = limits.budgets.iter().enumerate();
    for one in budgets.flat_map(|(index, budget)| of_budget(budget, taken(index, budget), now)) {
        // A name stands once in a list: of two budgets of one sort the one that ends first is told.
        match all.iter_mut().find(|other| other.name == one.name) {
            Some(other) if other.remaining > one.remaining => *other = one,
            Some(_) => {}
            None => all.push(one),
        }
    }
    all
}

/// A budget in tokens, in money, or both, of which so much is taken.
fn of_budget(
    budget: &Budget,
    taken: (u64, Decimal),
    now: Timestamp,
) -> impl Iterator<Item = Standing> + use<> {
    let span = budget.per.as_str();
    let (window, reset) = (Some(seconds_of(budget.per, now)), Some(seconds_left(budget.per, now)));
    let of = |name: String, unit, quota: u64, remaining: u64| Standing {
        name: name.into(),
        unit,
        quota: quota.min(INTEGER_MAX),
        window,
        remaining: remaining.min(INTEGER_MAX),
        reset,
    };
    let tokens =
        budget.tokens.map(|limit| of(format!("tokens-{span}"), None, limit, limit.saturating_sub(taken.0)));
    let cost = budget.cost.zip(budget.currency.as_deref()).map(|(limit, currency)| {
        let currency: String = currency.chars().filter(char::is_ascii_alphanumeric).collect();
        let name = format!("cost-{span}-{}", currency.to_ascii_lowercase());
        let unit = Some(format!("0.01 {currency}"));
        of(name, unit, hundredths(limit), hundredths(limit.saturating_sub(taken.1)))
    });
    tokens.into_iter().chain(cost)
}

/// Whole hundredths, rounded down: what is told is there.
fn hundredths(amount: Decimal) -> u64 {
    let amount = amount.max(Decimal::ZERO).saturating_mul(Decimal::ONE_HUNDRED);
    amount.trunc().to_u64().unwrap_or(INTEGER_MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Instant;

    use super::super::{Spent, Sum};
    use super::*;
    use crate::Per;

    #[test]
    fn budgets_are_told_by_what_is_left_of_them() {
        let now: Timestamp = "2026-02-27T23:59:30Z".parse().unwrap();
        let sum = Sum { tokens: 90, cost: HashMap::from([("RUB".to_owned(), "1.239".parse().unwrap())]) };
        let spent = Spent { since: "2026-02-01".into(), sum, read_at: Instant::now() };
        let mut turns = Turns { month: Some(spent), ..Turns::default() };
        turns.reserved.tokens = 7;
        let budget = Budget {
            per: Per::Month,
            tokens: Some(100),
            cost: Some("2.5".parse().unwrap()),
            currency: Some("RUB".into()),
        };
        let told: Vec<_> = of_budget(&budget, taken(&turns, &budget, now), now).collect();
        let month = 28 * 24 * 3600;
        let [tokens, cost] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&*tokens.name, tokens.quota, tokens.remaining), ("tokens-month", 100, 3));
        assert_eq!((tokens.window, tokens.reset), (Some(month), Some(24 * 3600 + 30)));
        assert_eq!((&*cost.name, cost.quota, cost.remaining), ("cost-month-rub", 250, 126));
        assert_eq!(cost.unit.as_deref(), Some("0.01 RUB"));
    }

    #[test]
    fn an_overrun_leaves_nothing() {
        let minus = "-3".parse().unwrap();
        assert_eq!(hundredths(minus), 0);
        assert_eq!(hundredths(Decimal::MAX), INTEGER_MAX);
    }
}

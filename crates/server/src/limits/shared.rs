//! Limits that are counted with other gateways.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat::{
    Admission, KeyId, LedgerRow, Pot, Rate, RateState, Room, SharedLimits, Span, Spent, Taken, Timestamp,
    Unit, billionths,
};
use rust_decimal::Decimal;

use super::{Counters, Hit, since};
use crate::{Budget, Limits, Per, metrics};

/// A turn's place where all gateways see it.
#[derive(Debug)]
pub(super) struct Share {
    limits: Arc<dyn SharedLimits>,
    room: Room,
}

/// What all gateways together have taken of a key's limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) turns: u32,
    /// Tokens and money of each budget, with the first day of its span.
    budgets: Vec<(String, u64, Decimal)>,
}

impl Counters {
    /// Counts a request with the other gateways; none while they cannot be reached, or where there are none.
    pub(super) async fn shared_request(&self, key: KeyId, rate: Rate) -> Option<RateState> {
        let state = self.shared.get()?.request(key, rate).await;
        metrics::limit_check("requests", state.is_some());
        state
    }

    /// A turn's place among those of all gateways; none where there are none, or nothing to be counted.
    pub(super) fn share_of(&self, key: KeyId, limits: &Limits, now: Timestamp) -> Option<Share> {
        if limits.concurrent_turns.is_none() && limits.budgets.is_empty() {
            return None;
        }
        let shared = Arc::clone(self.shared.get()?);
        let room = Room {
            key,
            lease: format!("{:032x}", rand::random::<u128>()),
            turns_max: limits.concurrent_turns,
            pots: pots(&limits.budgets, now),
            reserve_tokens: whole(limits.reserve.tokens),
            reserve_money: billionths(limits.reserve.cost),
            enforced: !limits.shadow,
        };
        Some(Share { limits: shared, room })
    }
}

impl Share {
    pub(super) async fn admit(&self) -> Option<Admission> {
        let admission = self.limits.admit(&self.room).await;
        metrics::limit_check("turns", admission.is_some());
        admission
    }

    pub(super) async fn look(&self) -> Option<Taken> {
        self.limits.look(&self.room).await
    }

    pub(super) fn hold(&self) {
        self.limits.hold(&self.room);
    }

    pub(super) fn settle(&self, rows: &[LedgerRow]) {
        self.limits.settle(&self.room, costs(&self.room.pots, rows));
    }

    pub(super) fn release(&self) {
        self.limits.release(&self.room);
    }
}

impl Known {
    pub(super) fn of(budgets: &[Budget], taken: &Taken, now: Timestamp) -> Self {
        let mut pots = taken.pots.iter().copied();
        let mut next = |is_there: bool| if is_there { pots.next().unwrap_or(0) } else { 0 };
        let of_budget = |budget: &Budget| {
            let tokens = u64::try_from(next(budget.tokens.is_some())).unwrap_or(0);
            let money = Decimal::new(next(in_money(budget).is_some()), 9);
            (since(budget.per, now), tokens, money)
        };
        Self { turns: taken.turns, budgets: budgets.iter().map(of_budget).collect() }
    }

    /// Tokens and money that are spent or set aside of a budget, if that is known of the present span.
    pub(super) fn of_budget(&self, index: usize, budget: &Budget, now: Timestamp) -> Option<(u64, Decimal)> {
        let (first, tokens, money) = self.budgets.get(index)?;
        (*first == since(budget.per, now)).then_some((*tokens, *money))
    }
}

/// The limit that the other gateways' count says was hit.
pub(super) fn of_hit(hit: chat::Hit, budgets: &[Budget]) -> Hit {
    let (index, is_spent) = match hit {
        chat::Hit::Turns => return Hit::Turns,
        chat::Hit::Pot(index) => (index, true),
        chat::Hit::SetAside(index) => (index, false),
    };
    // Of budgets that are in tokens and money there are two pots.
    let of_budget =
        |budget: &Budget| usize::from(budget.tokens.is_some()) + usize::from(in_money(budget).is_some());
    let of_pots = budgets.iter().flat_map(|budget| std::iter::repeat_n(budget.per, of_budget(budget)));
    let per = of_pots.into_iter().nth(index).unwrap_or(Per::Day);
    if is_spent { Hit::Budget(per) } else { Hit::SetAside(per) }
}

fn in_money(budget: &Budget) -> Option<(Decimal, &str)> {
    budget.cost.zip(budget.currency.as_deref())
}

/// Of each budget first the tokens, then the money.
fn pots(budgets: &[Budget], now: Timestamp) -> Vec<Pot> {
    let of_budget = |budget: &Budget| {
        let span = Span { per: budget.per.as_str(), since: since(budget.per, now) };
        let money = in_money(budget).map(|(limit, currency)| Pot {
            span: span.clone(),
            unit: Unit::Money(currency.to_owned()),
            limit: billionths(limit),
        });
        let tokens = budget.tokens.map(|limit| Pot { span, unit: Unit::Tokens, limit: whole(limit) });
        [tokens, money].into_iter().flatten()
    };
    budgets.iter().flat_map(of_budget).collect()
}

/// What these calls cost, each in the spans that it was made in, as far as pots are of such spans.
fn costs(pots: &[Pot], rows: &[LedgerRow]) -> Vec<Spent> {
    let mut all: BTreeMap<(Span, Unit), i64> = BTreeMap::new();
    for per in [Per::Day, Per::Month] {
        if !pots.iter().any(|pot| pot.span.per == per.as_str()) {
            continue;
        }
        for row in rows {
            let Some(usage) = &row.usage else { continue };
            let span = Span { per: per.as_str(), since: since(per, row.at) };
            let tokens = whole(usage.tokens().unwrap_or(0));
            let mut add = |unit, amount: i64| {
                let sum = all.entry((span.clone(), unit)).or_default();
                *sum = sum.saturating_add(amount);
            };
            add(Unit::Tokens, tokens);
            if let Some(cost) = &usage.cost {
                add(Unit::Money(cost.currency.clone()), billionths(cost.amount));
            }
        }
    }
    let all = all.into_iter().filter(|(_, amount)| *amount != 0);
    all.map(|((span, unit), amount)| Spent { span, unit, amount }).collect()
}

/// Tokens; so many that they cannot be counted are as many as can be.
fn whole(tokens: u64) -> i64 {
    const MOST: i64 = 1_000_000_000_000_000_000;
    i64::try_from(tokens).map_or(MOST, |tokens| tokens.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per: Per, tokens: Option<u64>, cost: Option<&str>) -> Budget {
        let cost = cost.map(|cost| cost.parse().unwrap());
        Budget { per, tokens, currency: cost.is_some().then(|| "RUB".to_owned()), cost }
    }

    #[test]
    fn pots_and_budgets_are_told_apart() {
        let now: Timestamp = "2026-02-27T23:59:30Z".parse().unwrap();
        let budgets = [
            budget(Per::Day, Some(5), Some("1.5")),
            budget(Per::Month, None, Some("9")),
            budget(Per::Month, Some(7), None),
        ];
        let limits: Vec<_> =
            pots(&budgets, now).iter().map(|pot| (pot.span.since.clone(), pot.limit)).collect();
        let (day, month) = ("2026-02-27".to_owned(), "2026-02-01".to_owned());
        let expected = [(day.clone(), 5), (day, 1_500_000_000), (month.clone(), 9_000_000_000), (month, 7)];
        assert_eq!(limits, expected);
        let hits: Vec<_> = (0..4).map(|index| of_hit(chat::Hit::Pot(index), &budgets)).collect();
        let (day, month) = (Hit::Budget(Per::Day), Hit::Budget(Per::Month));
        assert_eq!(hits, [day, day, month, month]);
        let known = Known::of(&budgets, &Taken { turns: 3, pots: vec![1, 2_500_000_000, 3, 4] }, now);
        assert_eq!(known.of_budget(0, &budgets[0], now), Some((1, "2.5".parse().unwrap())));
        assert_eq!(known.of_budget(1, &budgets[1], now), Some((0, "0.000000003".parse().unwrap())));
        assert_eq!(known.of_budget(2, &budgets[2], now), Some((4, Decimal::ZERO)));
        let next_day: Timestamp = "2026-02-28T00:00:00Z".parse().unwrap();
        assert_eq!(known.of_budget(0, &budgets[0], next_day), None, "another span");
    }
}

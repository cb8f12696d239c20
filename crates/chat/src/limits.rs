//! The limits of keys as several gateways keep them together.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use crate::KeyId;

/// Limits that several gateways count as one. Every question has an answer within a short deadline, or none: then the gateway
/// counts alone.
#[async_trait]
pub trait SharedLimits: Send + Sync + fmt::Debug + 'static {
    /// Counts a request.
    async fn request(&self, key: KeyId, rate: Rate) -> Option<RateState>;

    /// Makes room for a turn, all or nothing. Its lease is held from here on, until [`SharedLimits::settle`] or
    /// [`SharedLimits::release`].
    async fn admit(&self, room: &Room) -> Option<Admission>;

    /// Holds the lease of a turn that this gateway has let in alone: it counts for the others as soon as they can know of it.
    fn hold(&self, room: &Room);

    /// How a key stands. Of `room` the lease and the reserve mean nothing.
    async fn look(&self, room: &Room) -> Option<Taken>;

    /// A turn has ended: its place is free, its reserve is replaced by what it cost. Returns at once.
    fn settle(&self, room: &Room, costs: Vec<Spent>);

    /// A turn has not come about: its place is free, and its reserve. Returns at once.
    fn release(&self, room: &Room);
}

/// How often a key may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests per minute on average, at least 1.
    pub per_minute: u32,
    /// Requests at once after a pause, at least 1.
    pub burst: u32,
}

/// How a key stands to its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// Requests that could be made now.
    pub remaining: u32,
    /// The request is one too many: so long until it would not be. It was not counted.
    pub wait: Option<Duration>,
}

/// What a turn needs room in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Whose turn.
    pub key: KeyId,
    /// Names this turn's place among all others.
    pub lease: String,
    /// Turns at once; none: no limit.
    pub turns_max: Option<u32>,
    /// What may be spent.
    pub pots: Vec<Pot>,
    /// What is set aside for the turn in every pot of tokens.
    pub reserve_tokens: i64,
    /// What is set aside in every pot of money, in billionths.
    pub reserve_money: i64,
    /// Whether a limit that is hit refuses the turn. If not, it is said which would have.
    pub enforced: bool,
}

/// What may be spent of one thing in one span of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pot {
    /// The span.
    pub span: Span,
    /// What is counted.
    pub unit: Unit,
    /// How much may be spent.
    pub limit: i64,
}

/// A day or a month of the calendar, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// `day` or `month`.
    pub per: &'static str,
    /// Its first day: `2026-11-01`.
    pub since: String,
}

/// What is counted, in whole numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Tokens.
    Tokens,
    /// Billionths of this currency.
    Money(String),
}

/// What was spent of one thing in one span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The span.
    pub span: Span,
    /// What was spent.
    pub unit: Unit,
    /// How much.
    pub amount: i64,
}

/// What became of a turn that wanted in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The limit that was hit; with [`Room::enforced`] the turn has no room then.
    pub hit: Option<Hit>,
    /// How the key stands, the turn included if it was let in.
    pub taken: Taken,
}

/// A limit that was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// As many turns run as may.
    Turns,
    /// The pot with this index has no room: so much of it is spent.
    Pot(usize),
    /// The pot with this index has no room only because of what is set aside for running turns.
    SetAside(usize),
}

/// What is taken of a key's limits by all gateways together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// Turns that run.
    pub turns: u32,
    /// Of each pot of [`Room::pots`], in order: what is spent and set aside.
    pub pots: Vec<i64>,
}

/// Money as [`Unit::Money`] counts it: billionths, rounded up. What is too much to be counted is as much as can be.
#[must_use]
pub fn billionths(amount: Decimal) -> i64 {
    // Far from where sums would overflow.
    const MOST: i64 = 1_000_000_000_000_000_000;
    let whole = amount.saturating_mul(Decimal::from(1_000_000_000_u32)).ceil();
    let limit = if amount.is_sign_negative() { -MOST } else { MOST };
    whole.to_i64().filter(|whole| whole.unsigned_abs() < MOST.unsigned_abs()).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_counted_in_billionths_and_never_too_low() {
        let of = |text: &str| billionths(text.parse().unwrap());
        assert_eq!((of("1.5"), of("0"), of("-2")), (1_500_000_000, 0, -2_000_000_000));
        assert_eq!(of("0.0000000001"), 1);
        assert_eq!(billionths(Decimal::MAX), 1_000_000_000_000_000_000);
        assert_eq!(billionths(Decimal::MIN), -1_000_000_000_000_000_000);
    }
}

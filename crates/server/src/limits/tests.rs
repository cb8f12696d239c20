//! Budgets and the calendar.

use super::*;

#[test]
fn spans_end_with_the_calendar() {
    let now: Timestamp = "2026-02-27T23:59:30Z".parse().unwrap();
    assert_eq!(seconds_left(Per::Day, now), 30);
    assert_eq!(seconds_left(Per::Month, now), 30 + 24 * 3600);
    assert_eq!(since(Per::Month, now), "2026-02-01");
    assert_eq!(since(Per::Day, now), "2026-02-27");
}

#[test]
fn a_budget_has_room_for_its_reserve_or_has_none() {
    let budget = |tokens| Budget { per: Per::Day, tokens: Some(tokens), cost: None, currency: None };
    let spent =
        Spent { since: "d".into(), sum: Sum { tokens: 90, ..Sum::default() }, read_at: Instant::now() };
    let mut turns = Turns { day: Some(spent), ..Turns::default() };
    let reserve = Reserve { tokens: 5, cost: Decimal::ZERO };
    assert!(!turns.is_full(&budget(95), reserve, "d"));
    assert!(turns.is_full(&budget(94), reserve, "d"));
    turns.reserve(&[], reserve);
    assert!(turns.is_full(&budget(99), reserve, "d"));
    assert!(!turns.is_full(&budget(100), reserve, "d"));
    turns.release(&[], reserve);
    assert!(!turns.is_full(&budget(95), reserve, "d"));
    // Without a reserve: as long as anything is left.
    assert!(!turns.is_full(&budget(91), Reserve::default(), "d"));
    assert!(turns.is_full(&budget(90), Reserve::default(), "d"));
    // Another day has spent nothing.
    assert!(!turns.is_full(&budget(50), Reserve::default(), "e"));
}

#[test]
fn a_budget_in_money_counts_its_own_currency() {
    let ten = Some(Decimal::TEN);
    let budget =
        |currency: &str| Budget { per: Per::Day, tokens: None, cost: ten, currency: Some(currency.into()) };
    let sum = Sum { tokens: 0, cost: HashMap::from([("RUB".to_owned(), Decimal::TEN)]) };
    let turns =
        Turns { day: Some(Spent { since: "d".into(), sum, read_at: Instant::now() }), ..Turns::default() };
    assert!(turns.is_full(&budget("RUB"), Reserve::default(), "d"));
    assert!(!turns.is_full(&budget("USD"), Reserve::default(), "d"));
}

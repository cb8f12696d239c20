//! Budgets, places and the calendar.

use proptest::prelude::*;

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

fn counter(limits: &Limits) -> Arc<Counter> {
    let settings = ArcSwap::from_pointee(Settings::new(limits.clone()));
    let now = Timestamp::now();
    let spent = |per| Some(Spent { since: since(per, now), sum: Sum::default(), read_at: Instant::now() });
    let turns = Turns { day: spent(Per::Day), month: spent(Per::Month), ..Turns::default() };
    Arc::new(Counter { name: "test".into(), settings, turns: Mutex::new(turns) })
}

fn budget(per: Per, tokens: u64) -> Budget {
    Budget { per, tokens: Some(tokens), cost: None, currency: None }
}

/// What a turn has cost, as the ledger has it.
fn row(tokens: u64) -> LedgerRow {
    let usage = chat::Usage { total_tokens: Some(tokens), ..chat::Usage::default() };
    LedgerRow {
        turn_id: chat::TurnId::new(),
        number: 0,
        outcome: "completed".to_owned(),
        tenant: "t".parse().unwrap(),
        key: KeyId::new(),
        assistant: "a".parse().unwrap(),
        provider: "p".parse().unwrap(),
        at: Timestamp::now(),
        usage: Some(usage),
        answered: true,
    }
}

fn spent(counter: &Counter) -> u64 {
    counter.turns().day.as_ref().unwrap().sum.tokens
}

proptest! {
    /// Turns begin and end in any order, each at a cost of its own, and end with their cost known, unknown, or by being dropped.
    #[test]
    fn a_budget_is_overrun_by_no_more_than_running_turns_cost_beyond_their_reserve(
        limit in 1..2000_u64,
        reserve in 0..200_u64,
        steps in proptest::collection::vec((any::<bool>(), 0..400_u64, 0..8_usize), 1..120),
    ) {
        let reserve = Reserve { tokens: reserve, cost: Decimal::ZERO };
        let limits = Limits { budgets: vec![budget(Per::Day, limit)], reserve, ..Limits::default() };
        let counter = counter(&limits);
        let now = Timestamp::now();
        let mut running: Vec<(TurnLease, u64)> = Vec::new();
        // What may be spent at most: the budget, and what the turns that run when the last one is admitted cost beyond theirs.
        let (mut used, mut most) = (0, limit);
        for (begins, cost, which) in steps {
            if begins {
                let taken = used + running.len() as u64 * reserve.tokens;
                let room = taken + reserve.tokens.max(1) <= limit;
                let admitted = Arc::clone(&counter).admit(&limits, now, None);
                prop_assert_eq!(admitted.is_ok(), room, "{} of {}", taken, limit);
                if let Ok(lease) = admitted {
                    running.push((lease, cost));
                    let beyond = |(_, cost): &(TurnLease, u64)| cost.saturating_sub(reserve.tokens);
                    most = limit.max(used) + running.iter().map(beyond).sum::<u64>();
                }
            } else if !running.is_empty() {
                let (lease, cost) = running.swap_remove(which % running.len());
                // One in eight ends without a word.
                if which > 0 {
                    lease.settle(&[row(cost)]);
                    lease.settle(&[row(cost)]);
                    used += cost;
                }
            }
            prop_assert_eq!(spent(&counter), used);
            prop_assert!(used <= most, "{} used, {} at most", used, most);
        }
        drop(running);
        let turns = counter.turns();
        prop_assert_eq!((turns.running, turns.reserved.tokens), (0, 0));
    }
}

#[test]
fn places_and_budgets_hold_when_all_ask_at_once() {
    let reserve = Reserve { tokens: 10, cost: Decimal::ZERO };
    let limits = Limits {
        concurrent_turns: Some(5),
        budgets: vec![budget(Per::Day, 1000)],
        reserve,
        ..Limits::default()
    };
    let counter = counter(&limits);
    let now = Timestamp::now();
    let (at_once, most_at_once) =
        (std::sync::atomic::AtomicU32::new(0), std::sync::atomic::AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let Ok(lease) = Arc::clone(&counter).admit(&limits, now, None) else { continue };
                    most_at_once.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    lease.settle(&[row(25)]);
                    at_once.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(most_at_once.into_inner() <= 5);
    // Admitted until there is no room, and overrun by at most what five turns cost beyond their reserve.
    let used = spent(&counter);
    assert!((991..=1000 + 5 * 15).contains(&used), "{used}");
}

#[test]
fn of_two_budgets_that_are_used_up_the_longer_wait_is_told() {
    let limits = Limits { budgets: vec![budget(Per::Day, 0), budget(Per::Month, 0)], ..Limits::default() };
    for budgets in [limits.budgets.clone(), limits.budgets.iter().rev().cloned().collect()] {
        let limits = Limits { budgets, ..limits.clone() };
        // On a month's last day both end at once: any other day will do.
        let now: Timestamp = "2026-02-10T12:00:00.500Z".parse().unwrap();
        let refused = counter(&limits).admit(&limits, now, None).unwrap_err();
        use axum::response::IntoResponse;
        let response = refused.into_response();
        let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        // Just so long: then another month has begun, and a second earlier it has not.
        assert_eq!(now.plus(Duration::from_secs(wait)).month(), "2026-03");
        assert_eq!(now.plus(Duration::from_secs(wait - 1)).month(), "2026-02");
    }
}

#[test]
fn room_that_running_turns_hold_is_waited_for_and_not_till_midnight() {
    use axum::response::IntoResponse;
    let reserve = Reserve { tokens: 60, cost: Decimal::ZERO };
    let limits = Limits { budgets: vec![budget(Per::Day, 100)], reserve, ..Limits::default() };
    let counter = counter(&limits);
    let now = Timestamp::now();
    let admit = || Arc::clone(&counter).admit(&limits, now, None);
    let wait = |refused: ApiError| -> u64 {
        refused.into_response().headers()["retry-after"].to_str().unwrap().parse().unwrap()
    };
    let lease = admit().unwrap();
    assert_eq!(wait(admit().unwrap_err()), 1);
    lease.settle(&[row(41)]);
    drop(lease);
    assert_eq!(wait(admit().unwrap_err()), seconds_left(Per::Day, now));
}

#[test]
fn in_shadow_everything_is_counted_and_nothing_refused() {
    let limits = Limits {
        concurrent_turns: Some(1),
        budgets: vec![budget(Per::Day, 10)],
        shadow: true,
        ..Limits::default()
    };
    let counter = counter(&limits);
    let leases: Vec<_> =
        (0..3).map(|_| Arc::clone(&counter).admit(&limits, Timestamp::now(), None).unwrap()).collect();
    assert_eq!(counter.turns().running, 3);
    leases.iter().for_each(|lease| lease.settle(&[row(7)]));
    assert_eq!(spent(&counter), 21);
}

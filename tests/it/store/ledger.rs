//! The ledger: each call once, money exact, sums per day.

use chat::{ConversationStore, Cost, KeyId, Maintenance, TurnId, Usage, UsageRange};
use futures_util::future::join_all;

use super::bed::{Bed, assistant, at, end_of, row, turn_in};

super::suite![
    a_call_is_counted_once,
    money_is_added_exactly,
    sums_are_per_day_newest_first,
    a_tenant_sees_its_own,
    concurrent_calls_are_all_counted,
    calls_that_come_together_are_counted_once_each,
    sums_hold_whatever_a_provider_says,
];

const DAY: i64 = 24 * 60 * 60 * 1000;

fn cost(amount: &str, currency: &str) -> Cost {
    Cost::parse(amount, currency).unwrap()
}

async fn a_call_is_counted_once(bed: &Bed) {
    let id = bed.conversation(0).await;
    let new = turn_in(id, "hello", 1);
    let (turn_id, key) = (new.id, new.key);
    let mut end = end_of(&new, id, "hi", 2);
    let mut missed = row(turn_id, 1, &bed.tenant, key);
    (missed.answered, missed.usage) = (false, None);
    end.ledger = vec![row(turn_id, 0, &bed.tenant, key), missed];
    bed.accept(new).await.unwrap();
    bed.store.record(end.ledger.clone().into()).await.unwrap();
    bed.store.end_turn(&bed.tenant, end.clone()).await.unwrap();
    bed.store.record(end.ledger.into()).await.unwrap();
    let sums = bed.store.usage(&bed.tenant, UsageRange::default()).await.unwrap();
    assert_eq!(sums.len(), 1);
    let sum = &sums[0];
    assert_eq!((sum.turns, sum.input_tokens, sum.output_tokens, sum.total_tokens), (1, 10, 2, 12));
    assert_eq!((sum.day.as_str(), &sum.tenant, &sum.cost), ("2023-11-14", &None, &vec![cost("0.1", "RUB")]));
}

async fn money_is_added_exactly(bed: &Bed) {
    let key = KeyId::new();
    let amounts = ["0.1", "0.2", "0.007200000000000001", "1000000", "0.0000000000001"];
    for (number, amount) in amounts.into_iter().enumerate() {
        let mut row = row(TurnId::new(), number as u32, &bed.tenant, key);
        row.usage = Some(Usage { cost: Some(cost(amount, "RUB")), ..Usage::default() });
        bed.store.record([row].into()).await.unwrap();
    }
    let mut dollars = row(TurnId::new(), 0, &bed.tenant, key);
    dollars.usage =
        Some(Usage { cost: Some(cost("3.50", "USD")), output_tokens: Some(5), ..Usage::default() });
    bed.store.record([dollars].into()).await.unwrap();
    let spent = bed.store.spent(key, "2023-11-14").await.unwrap();
    assert_eq!(spent.cost, [cost("1000000.307200000000100001", "RUB"), cost("3.5", "USD")]);
    assert_eq!(spent.cost[0].amount.to_string(), "1000000.307200000000100001");
    assert_eq!(spent.tokens, 5, "input and output where there is no total");
    assert_eq!(bed.store.spent(key, "2023-11-15").await.unwrap(), Default::default());
    assert_eq!(bed.store.spent(KeyId::new(), "2023-11-14").await.unwrap(), Default::default());
}

async fn sums_are_per_day_newest_first(bed: &Bed) {
    let rows = [(0, "support"), (DAY, "support"), (DAY, "docs"), (2 * DAY, "support"), (DAY, "docs")];
    for (millis, name) in rows {
        let mut row = row(TurnId::new(), 0, &bed.tenant, KeyId::new());
        (row.at, row.assistant) = (at(millis), assistant(name));
        bed.store.record([row].into()).await.unwrap();
    }
    let days = async |since: Option<i64>, until: Option<i64>| -> Vec<_> {
        let range = UsageRange { since: since.map(at), until: until.map(at) };
        let sums = bed.store.usage(&bed.tenant, range).await.unwrap();
        sums.into_iter()
            .map(|sum| (sum.day, sum.assistant.to_string(), sum.turns, sum.cost[0].amount.to_string()))
            .collect()
    };
    let sum = |day: &str, name: &str, turns, amount: &str| {
        (day.to_owned(), name.to_owned(), turns, amount.to_owned())
    };
    let all = [
        sum("2023-11-16", "support", 1, "0.1"),
        sum("2023-11-15", "docs", 2, "0.2"),
        sum("2023-11-15", "support", 1, "0.1"),
        sum("2023-11-14", "support", 1, "0.1"),
    ];
    assert_eq!(days(None, None).await, all);
    assert_eq!(days(Some(DAY), Some(DAY)).await, all[1..3]);
}

async fn a_tenant_sees_its_own(bed: &Bed) {
    let key = KeyId::new();
    for tenant in [&bed.tenant, &bed.other, &bed.other] {
        bed.store.record([row(TurnId::new(), 0, tenant, key)].into()).await.unwrap();
    }
    assert_eq!(bed.store.usage(&bed.tenant, UsageRange::default()).await.unwrap()[0].turns, 1);
    let all = bed.store.usage_of_all(UsageRange::default()).await.unwrap();
    let all: Vec<_> =
        all.into_iter().map(|sum| (sum.tenant, sum.turns, sum.cost[0].amount.to_string())).collect();
    assert_eq!(
        all,
        [(Some(bed.tenant.clone()), 1, "0.1".to_owned()), (Some(bed.other.clone()), 2, "0.2".to_owned())]
    );
    assert_eq!(bed.store.spent(key, "2023-01-01").await.unwrap().tokens, 36);
}

async fn concurrent_calls_are_all_counted(bed: &Bed) {
    let key = KeyId::new();
    let rows = (0..60).map(|_| {
        let mut docs = row(TurnId::new(), 0, &bed.tenant, key);
        docs.assistant = assistant("docs");
        let both = vec![row(TurnId::new(), 0, &bed.tenant, key), docs];
        async { bed.store.record(both.into()).await.unwrap() }
    });
    join_all(rows).await;
    let spent = bed.store.spent(key, "2023-11-14").await.unwrap();
    assert_eq!((spent.tokens, spent.cost), (60 * 24, vec![cost("12", "RUB")]));
}

async fn calls_that_come_together_are_counted_once_each(bed: &Bed) {
    let key = KeyId::new();
    let new = |millis| {
        let mut row = row(TurnId::new(), 0, &bed.tenant, key);
        row.at = at(millis);
        row
    };
    let mut rows = vec![new(0), new(0), new(DAY)];
    bed.store.record(rows.clone().into()).await.unwrap();
    // Of these three were written, and the answer to that was lost.
    rows.extend([new(0), new(DAY), new(DAY)]);
    rows.swap(1, 4);
    bed.store.record(rows.into()).await.unwrap();
    let sums = bed.store.usage(&bed.tenant, UsageRange::default()).await.unwrap();
    let sums: Vec<_> = sums
        .into_iter()
        .map(|sum| (sum.day, sum.turns, sum.input_tokens, sum.total_tokens, sum.cost))
        .collect();
    let day = |day: &str| (day.to_owned(), 3, 30, 36, vec![cost("0.3", "RUB")]);
    assert_eq!(sums, [day("2023-11-15"), day("2023-11-14")]);
}

async fn sums_hold_whatever_a_provider_says(bed: &Bed) {
    let key = KeyId::new();
    for tokens in [5, u64::MAX, i64::MAX as u64, i64::MAX as u64] {
        let mut row = row(TurnId::new(), 0, &bed.tenant, key);
        row.outcome = "a\0b".to_owned();
        row.usage = Some(Usage {
            input_tokens: Some(tokens),
            output_tokens: Some(tokens),
            total_tokens: None,
            cost: None,
        });
        bed.store.record([row].into()).await.unwrap();
    }
    let sums = bed.store.usage(&bed.tenant, UsageRange::default()).await.unwrap();
    assert_eq!((sums[0].turns, sums[0].input_tokens), (4, 3_000_000_000_005));
    assert_eq!(bed.store.spent(key, "2023-11-14").await.unwrap().tokens, 3_000_000_000_010);
}

//! The ledger: each call once, and sums of them that outlive everything else.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use chat::{
    AssistantName, Cost, KeyId, LedgerRow, ProviderName, StoreError, TenantId, Timestamp, TurnId, Usage,
    UsageRange, UsageSum, UsageSumOfKey,
};

use crate::conn::{Both, Conn, Row};
use crate::error::{damaged, of_sqlite};
use crate::row::{blob, json, parsed, signed, unsigned};

/// The most tokens that one call is booked with, whatever its provider says: sums must not pass what a column holds.
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// A call's tokens as they are booked.
fn booked(tokens: u64) -> i64 {
    signed(tokens.min(TOKENS_MAX))
}

/// Writes rows that are not there yet, and adds those to the sums: to each sum once, however many rows are its.
pub(crate) async fn write(conn: &mut Conn<'_>, rows: &[LedgerRow]) -> Result<(), StoreError> {
    let mut sums = Sums::default();
    for row in inserted(conn, rows).await? {
        match conn.gathered() {
            Some(gathered) => gathered.call(row),
            None => sums.call(row),
        }
    }
    sums.write(conn).await
}

/// What calls come to that are in the ledger, and in no sum yet.
#[derive(Debug, Default)]
pub(crate) struct Sums(
    /// In the order of their keys: two writers that need the same sums wait for each other, and not crosswise.
    BTreeMap<Day, Sum>,
);

impl Sums {
    /// A further call.
    pub(crate) fn call(&mut self, row: &LedgerRow) {
        match self.0.entry(Day::of(row)) {
            Entry::Occupied(mut sum) => sum.get_mut().add(Sum::of(row)),
            Entry::Vacant(place) => _ = place.insert(Sum::of(row)),
        }
    }

    /// Adds them to those in the store.
    pub(crate) async fn write(self, conn: &mut Conn<'_>) -> Result<(), StoreError> {
        for (day, sum) in &self.0 {
            add(conn, day, sum).await?;
        }
        Ok(())
    }
}

/// Writes rows, and gives those that were not there.
async fn inserted<'r>(conn: &mut Conn<'_>, rows: &'r [LedgerRow]) -> Result<Vec<&'r LedgerRow>, StoreError> {
    let mut new = Vec::with_capacity(rows.len());
    match conn {
        Conn::Sqlite(conn, _) => {
            // Without what stands around every other statement: a gateway under load writes thousands of rows at once.
            tracing::trace!(target: "sql", statement = INSERT.sqlite);
            let mut statement = conn.prepare_cached(INSERT.sqlite).map_err(of_sqlite)?;
            for row in rows {
                if insert_prepared(&mut statement, row).map_err(of_sqlite)? > 0 {
                    new.push(row);
                }
            }
        }
        Conn::Postgres(_) => {
            for row in rows {
                if insert(conn, row).await? {
                    new.push(row);
                }
            }
        }
    }
    Ok(new)
}

/// What there is a sum for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Day {
    key: KeyId,
    day: String,
    tenant: TenantId,
    assistant: AssistantName,
    provider: ProviderName,
}

impl Day {
    fn of(row: &LedgerRow) -> Self {
        Self {
            key: row.key,
            day: row.at.day(),
            tenant: row.tenant.clone(),
            assistant: row.assistant.clone(),
            provider: row.provider.clone(),
        }
    }
}

/// What calls come to.
#[derive(Debug)]
struct Sum {
    turns: i64,
    input_tokens: i64,
    output_tokens: i64,
    total_tokens: i64,
    /// Each currency once.
    cost: Vec<Cost>,
}

impl Sum {
    fn of(row: &LedgerRow) -> Self {
        let usage = row.usage.as_ref();
        let tokens = |of: fn(&Usage) -> Option<u64>| booked(usage.and_then(of).unwrap_or(0));
        Self {
            turns: i64::from(row.answered),
            input_tokens: tokens(|usage| usage.input_tokens),
            output_tokens: tokens(|usage| usage.output_tokens),
            total_tokens: tokens(Usage::tokens),
            cost: usage.and_then(|usage| usage.cost.clone()).into_iter().collect(),
        }
    }

    fn add(&mut self, other: Self) {
        self.turns = self.turns.saturating_add(other.turns);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.total_tokens = self.total_tokens.saturating_add(other.total_tokens);
        for cost in other.cost {
            match self.cost.iter_mut().find(|own| own.currency == cost.currency) {
                Some(own) => own.amount = sum(own.amount, cost.amount),
                None => self.cost.push(cost),
            }
        }
    }
}

const INSERT: Both = Both {
    sqlite: "INSERT INTO ledger (turn_id, number, tenant, key_id, assistant, provider, at, outcome, answered, \
             input_tokens, output_tokens, total_tokens, amount, currency) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING",
    postgres: "INSERT INTO ledger (turn_id, number, tenant, key_id, assistant, provider, at, outcome, answered, \
               input_tokens, output_tokens, total_tokens, amount, currency) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CAST($13 AS NUMERIC), $14) \
               ON CONFLICT DO NOTHING",
};

async fn insert(conn: &mut Conn<'_>, row: &LedgerRow) -> Result<bool, StoreError> {
    let usage = row.usage.clone().unwrap_or_default();
    let inserted = conn
        .own(INSERT)
        .bind(blob(row.turn_id.uuid()))
        .bind(i64::from(row.number))
        .bind(row.tenant.as_str())
        .bind(blob(row.key.uuid()))
        .bind(row.assistant.as_str())
        .bind(row.provider.as_str())
        .bind(row.at.millis())
        .bind(row.outcome.as_str())
        .bind(i64::from(row.answered))
        .bind(usage.input_tokens.map(booked))
        .bind(usage.output_tokens.map(booked))
        .bind(usage.total_tokens.map(booked))
        .bind(usage.cost.as_ref().map(|cost| cost.amount.to_string()))
        .bind(usage.cost.as_ref().map(|cost| cost.currency.as_str()))
        .run()
        .await?;
    Ok(inserted > 0)
}

/// Its parameters stand in the order of their numbers.
fn insert_prepared(statement: &mut rusqlite::Statement<'_>, row: &LedgerRow) -> rusqlite::Result<usize> {
    let usage = row.usage.as_ref();
    let cost = usage.and_then(|usage| usage.cost.as_ref());
    let tokens = |of: fn(&Usage) -> Option<u64>| usage.and_then(of).map(booked);
    statement.execute(rusqlite::params![
        row.turn_id.uuid().as_bytes().as_slice(),
        row.number,
        row.tenant.as_str(),
        row.key.uuid().as_bytes().as_slice(),
        row.assistant.as_str(),
        row.provider.as_str(),
        row.at.millis(),
        row.outcome.as_str(),
        row.answered,
        tokens(|usage| usage.input_tokens),
        tokens(|usage| usage.output_tokens),
        tokens(|usage| usage.total_tokens),
        cost.map(|cost| cost.amount.to_string()),
        cost.map(|cost| cost.currency.as_str()),
    ])
}

/// Adds to a day's sum.
async fn add(conn: &mut Conn<'_>, day: &Day, sum: &Sum) -> Result<(), StoreError> {
    conn.sql(
        "INSERT INTO usage_day (key_id, day, tenant, assistant, provider, turns, input_tokens, output_tokens, \
         total_tokens) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (key_id, day, tenant, assistant, provider) DO UPDATE SET \
         turns = usage_day.turns + excluded.turns, \
         input_tokens = usage_day.input_tokens + excluded.input_tokens, \
         output_tokens = usage_day.output_tokens + excluded.output_tokens, \
         total_tokens = usage_day.total_tokens + excluded.total_tokens",
    )
    .bind(blob(day.key.uuid()))
    .bind(day.day.as_str())
    .bind(day.tenant.as_str())
    .bind(day.assistant.as_str())
    .bind(day.provider.as_str())
    .bind(sum.turns)
    .bind(sum.input_tokens)
    .bind(sum.output_tokens)
    .bind(sum.total_tokens)
    .run()
    .await?;
    for cost in &sum.cost {
        add_cost(conn, day, cost).await?;
    }
    Ok(())
}

/// Adds money exactly. SQLite has no decimals, so there the sum is made here: its writer is alone.
async fn add_cost(conn: &mut Conn<'_>, of: &Day, cost: &Cost) -> Result<(), StoreError> {
    const UPSERT: Both = Both {
        sqlite: "INSERT INTO usage_cost (key_id, day, tenant, assistant, provider, currency, amount) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) \
                 ON CONFLICT (key_id, day, tenant, assistant, provider, currency) DO UPDATE SET \
                 amount = excluded.amount",
        postgres: "INSERT INTO usage_cost (key_id, day, tenant, assistant, provider, currency, amount) \
                   VALUES ($1, $2, $3, $4, $5, $6, CAST($7 AS NUMERIC)) \
                   ON CONFLICT (key_id, day, tenant, assistant, provider, currency) DO UPDATE SET \
                   amount = usage_cost.amount + excluded.amount",
    };
    let mut amount = cost.amount;
    if !conn.is_postgres() {
        let before = conn
            .sql(
                "SELECT amount FROM usage_cost WHERE key_id = $1 AND day = $2 AND tenant = $3 AND assistant = $4 \
                 AND provider = $5 AND currency = $6",
            )
            .bind(blob(of.key.uuid()))
            .bind(of.day.as_str())
            .bind(of.tenant.as_str())
            .bind(of.assistant.as_str())
            .bind(of.provider.as_str())
            .bind(cost.currency.as_str())
            .row()
            .await?;
        if let Some(mut before) = before {
            amount = sum(decimal(&mut before)?, amount);
        }
    }
    conn.own(UPSERT)
        .bind(blob(of.key.uuid()))
        .bind(of.day.as_str())
        .bind(of.tenant.as_str())
        .bind(of.assistant.as_str())
        .bind(of.provider.as_str())
        .bind(cost.currency.as_str())
        .bind(amount.to_string())
        .run()
        .await?;
    Ok(())
}

fn sum(one: Decimal, other: Decimal) -> Decimal {
    one.checked_add(other).unwrap_or(Decimal::MAX)
}

fn decimal(row: &mut Row) -> Result<Decimal, StoreError> {
    row.string()?.parse::<Decimal>().map_err(damaged)
}

/// The days of a range, both included.
fn days(range: UsageRange) -> (String, String) {
    let since = range.since.map(Timestamp::day).unwrap_or_default();
    (since, range.until.map_or_else(|| "9999-12-31".to_owned(), Timestamp::day))
}

type SumKey = (std::cmp::Reverse<String>, Option<TenantId>, AssistantName, ProviderName);

/// Sums of one tenant's ledger, or of everybody's with tenants; newest day first.
pub(crate) async fn usage(
    conn: &mut Conn<'_>,
    tenant: Option<&TenantId>,
    range: UsageRange,
) -> Result<Vec<UsageSum>, StoreError> {
    let (since, until) = days(range);
    let whose = if tenant.is_some() { "tenant = $3" } else { "$3 = ''" };
    let name = tenant.map(TenantId::as_str).unwrap_or_default();
    let rows = conn
        .assembled(format!(
            "SELECT day, tenant, assistant, provider, CAST(SUM(turns) AS BIGINT), \
             CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), \
             CAST(SUM(total_tokens) AS BIGINT) FROM usage_day \
             WHERE day >= $1 AND day <= $2 AND {whose} GROUP BY day, tenant, assistant, provider"
        ))
        .bind(since.as_str())
        .bind(until.as_str())
        .bind(name)
        .rows()
        .await?;
    let mut sums = BTreeMap::new();
    for mut row in rows {
        let key = sum_key(&mut row, tenant.is_none())?;
        let sum = UsageSum {
            day: key.0.0.clone(),
            tenant: key.1.clone(),
            assistant: key.2.clone(),
            provider: key.3.clone(),
            turns: unsigned(row.number()?),
            input_tokens: unsigned(row.number()?),
            output_tokens: unsigned(row.number()?),
            total_tokens: unsigned(row.number()?),
            cost: Vec::new(),
        };
        sums.insert(key, sum);
    }
    let rows = conn
        .assembled(format!(
            "SELECT day, tenant, assistant, provider, currency, CAST(amount AS TEXT) FROM usage_cost \
             WHERE day >= $1 AND day <= $2 AND {whose}"
        ))
        .bind(since)
        .bind(until)
        .bind(name)
        .rows()
        .await?;
    for mut row in rows {
        if let Some(sum) = sums.get_mut(&sum_key(&mut row, tenant.is_none())?) {
            spend(&mut sum.cost, &mut row)?;
        }
    }
    Ok(sums.into_values().collect())
}

fn sum_key(row: &mut Row, with_tenant: bool) -> Result<SumKey, StoreError> {
    let day = std::cmp::Reverse(row.string()?);
    let tenant = row.name()?;
    Ok((day, with_tenant.then_some(tenant), row.name()?, row.name()?))
}

/// Adds a row's currency and amount; currencies stay in order.
fn spend(cost: &mut Vec<Cost>, row: &mut Row) -> Result<(), StoreError> {
    let currency = row.string()?;
    let amount = decimal(row)?;
    match cost.binary_search_by(|cost| cost.currency.cmp(&currency)) {
        Ok(at) => {
            if let Some(cost) = cost.get_mut(at) {
                cost.amount = sum(cost.amount, amount).normalize();
            }
        }
        Err(at) => cost.insert(at, Cost { amount: amount.normalize(), currency }),
    }
    Ok(())
}

/// See [`chat::Maintenance::spent`].
pub(crate) async fn spent(conn: &mut Conn<'_>, key: KeyId, since: &str) -> Result<UsageSumOfKey, StoreError> {
    let mut row = conn
        .sql(
            "SELECT CAST(COALESCE(SUM(total_tokens), 0) AS BIGINT) FROM usage_day \
             WHERE key_id = $1 AND day >= $2",
        )
        .bind(blob(key.uuid()))
        .bind(since)
        .one()
        .await?;
    let mut spent = UsageSumOfKey { tokens: unsigned(row.number()?), cost: Vec::new() };
    let rows = conn
        .sql("SELECT currency, CAST(amount AS TEXT) FROM usage_cost WHERE key_id = $1 AND day >= $2")
        .bind(blob(key.uuid()))
        .bind(since)
        .rows()
        .await?;
    for mut row in rows {
        spend(&mut spent.cost, &mut row)?;
    }
    Ok(spent)
}

/// A row that may become one of the ledger, as it is kept with its turn.
#[derive(Serialize, Deserialize)]
struct InFlight {
    number: u32,
    tenant: TenantId,
    key: KeyId,
    assistant: AssistantName,
    provider: ProviderName,
    at: Timestamp,
    outcome: String,
    answered: bool,
    usage: Option<Usage>,
}

/// Rows of a running turn as JSON.
pub(crate) fn to_json(rows: &[LedgerRow]) -> Result<String, StoreError> {
    let rows: Vec<InFlight> = rows
        .iter()
        .cloned()
        .map(|row| InFlight {
            number: row.number,
            tenant: row.tenant,
            key: row.key,
            assistant: row.assistant,
            provider: row.provider,
            at: row.at,
            outcome: row.outcome,
            answered: row.answered,
            usage: row.usage,
        })
        .collect();
    json(&rows)
}

/// The rows of a running turn.
pub(crate) fn from_json(json: &str, turn_id: TurnId) -> Result<Vec<LedgerRow>, StoreError> {
    let rows: Vec<InFlight> = parsed(json)?;
    Ok(rows
        .into_iter()
        .map(|row| LedgerRow {
            turn_id,
            number: row.number,
            tenant: row.tenant,
            key: row.key,
            assistant: row.assistant,
            provider: row.provider,
            at: row.at,
            outcome: row.outcome,
            answered: row.answered,
            usage: row.usage,
        })
        .collect())
}

//! Keys: what clients authenticate with, and the limits that each has.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chat::{AllowedAssistants, KeyId, Offer, Permissions, TenantId, Timestamp};
use engine::Assistant;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::body::{whole, whole_given, word};

/// A key as the configuration gives it.
#[derive(Clone, PartialEq)]
pub struct KeySpec {
    /// Its id: [`KeyId::of_hash`], so that counters outlast a restart.
    pub id: KeyId,
    /// Its name, for logs.
    pub name: String,
    /// SHA-256 of its secret: [`hash_secret`].
    pub hash: [u8; 32],
    /// Its tenant.
    pub tenant: TenantId,
    /// The assistants that it may use.
    pub assistants: AllowedAssistants,
    /// What else it may do.
    pub may: Permissions,
    /// Whether the admin routes are open to it.
    pub admin: bool,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// How much it may use.
    pub limits: Limits,
}

impl fmt::Debug for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySpec").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// How much a key may use. Serialised, it is also what the store keeps in `NewKey::limits`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests per minute on average; none: no limit.
    pub requests_per_minute: Option<u32>,
    /// Requests at once after a pause; a tenth of `requests_per_minute`, at least 1, when left out.
    pub burst: Option<u32>,
    /// Turns that may run at once; none: no limit.
    pub concurrent_turns: Option<u32>,
    /// What may be spent per day or month.
    pub budgets: Vec<Budget>,
    /// What is set aside for each running turn.
    pub reserve: Reserve,
    /// The limits are counted and shown, not enforced.
    pub shadow: bool,
}

/// An amount of money as the API takes it.
const AMOUNT: &str = r"^\d{1,18}(\.\d{1,9})?$";

/// What may be spent in a span of time, in tokens, in money or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {"title": "Tokens", "required": ["tokens"],
     "properties": {"tokens": {"type": "integer"}, "cost": {"type": "null"}, "currency": {"type": "null"}}},
    {"title": "Money", "required": ["cost", "currency"],
     "properties": {"cost": {"type": "string"}, "currency": {"type": "string"}}},
]))]
pub struct Budget {
    /// In which span, by the calendar in UTC.
    #[serde(deserialize_with = "word")]
    pub per: Per,
    /// Tokens; none: not bounded.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole_given")]
    pub tokens: Option<u64>,
    /// Money, in `currency`; none: not bounded.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rust_decimal::serde::str_option")]
    #[schemars(with = "Option<String>", extend("pattern" = AMOUNT))]
    pub cost: Option<Decimal>,
    /// ISO 4217; costs in other currencies do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// A span of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// A day.
    Day,
    /// A month.
    Month,
}

impl Per {
    /// The span as the configuration writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// What is set aside for a running turn, until its end says what it cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reserve {
    /// Tokens.
    #[serde(deserialize_with = "whole")]
    pub tokens: u64,
    /// Money, in the currency of each budget.
    #[serde(with = "rust_decimal::serde::str")]
    #[schemars(with = "String", extend("pattern" = AMOUNT))]
    pub cost: Decimal,
}

/// A limit that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{param}` {problem}")]
pub struct LimitsError {
    /// Which one: `budgets[0].currency`.
    pub param: String,
    /// What is wrong, as the rest of a sentence.
    pub problem: &'static str,
}

/// A budget that nobody can keep, because a provider does not report what it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknowable {
    /// Which one: `budgets`, `budgets[0].cost`.
    pub param: String,
    /// Why, and what would be right: a sentence.
    pub problem: String,
}

impl Limits {
    /// The budgets that nobody can keep for a key that may use these assistants.
    pub fn unknowable<'a>(&self, assistants: impl IntoIterator<Item = &'a Assistant>) -> Vec<Unknowable> {
        if self.budgets.is_empty() {
            return Vec::new();
        }
        let in_money = self.budgets.iter().position(|budget| budget.cost.is_some());
        let of = |assistant: &Assistant| {
            let (name, entry) = (&assistant.name, &assistant.provider);
            let leave_out = "Leave the assistant out of the key's `assistants`, or";
            if entry.provider.capabilities().usage == Offer::Unsupported {
                let problem = format!(
                    "nobody can know what `{name}` costs: its provider `{}` reports no usage. {leave_out} the budgets",
                    entry.name
                );
                return Some(Unknowable { param: "budgets".to_owned(), problem });
            }
            let index = in_money.filter(|_| !entry.provider.reports_cost())?;
            let problem = format!(
                "nobody can know what `{name}` costs in money: its provider `{}` reports tokens alone. {leave_out} \
                 budget `tokens`",
                entry.name
            );
            Some(Unknowable { param: format!("budgets[{index}].cost"), problem })
        };
        assistants.into_iter().filter_map(of).collect()
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first limit that makes no sense.
    pub fn check(&self) -> Result<(), LimitsError> {
        let wrong = |param: &str, problem| Err(LimitsError { param: param.to_owned(), problem });
        for (name, value) in [
            ("requests_per_minute", self.requests_per_minute),
            ("burst", self.burst),
            ("concurrent_turns", self.concurrent_turns),
        ] {
            if value == Some(0) {
                return wrong(name, "must be at least 1; leave it out for no limit");
            }
        }
        if self.burst.is_some() && self.requests_per_minute.is_none() {
            return wrong("burst", "needs `requests_per_minute`");
        }
        if self.reserve.cost.is_sign_negative() && !self.reserve.cost.is_zero() {
            return wrong("reserve.cost", "must not be negative");
        }
        for (index, budget) in self.budgets.iter().enumerate() {
            let param = |field: &str| format!("budgets[{index}].{field}");
            if budget.tokens.is_none() && budget.cost.is_none() {
                return wrong(&format!("budgets[{index}]"), "needs `tokens` or `cost`");
            }
            if budget.cost.is_some() != budget.currency.is_some() {
                return wrong(&param("currency"), "goes with `cost`, and `cost` with it");
            }
            if budget.cost.is_some_and(|cost| cost.is_sign_negative() && !cost.is_zero()) {
                return wrong(&param("cost"), "must not be negative");
            }
        }
        Ok(())
    }
}

/// What every secret that [`new_secret`] makes begins with, so that scanners can find leaked ones.
pub const SECRET_PREFIX: &str = "swk_";

/// A new key's secret, of 256 random bits. Shown once; only its hash is kept.
#[must_use]
pub fn new_secret() -> SecretString {
    let bytes: [u8; 32] = rand::random();
    format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
}

/// SHA-256 of a secret: what is kept and compared. Secrets have too many bits to be guessed, so no slow hash is needed.
#[must_use]
pub fn hash_secret(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_back_as_they_were_written() {
        let limits = Limits {
            requests_per_minute: Some(600),
            budgets: vec![Budget {
                per: Per::Month,
                tokens: None,
                cost: Some("500".parse().unwrap()),
                currency: Some("RUB".into()),
            }],
            reserve: Reserve { tokens: 2000, cost: Decimal::ONE },
            ..Limits::default()
        };
        let json = serde_json::to_string(&limits).unwrap();
        assert!(json.contains(r#"{"per":"month","cost":"500","currency":"RUB"}"#), "{json}");
        assert_eq!(serde_json::from_str::<Limits>(&json).unwrap(), limits);
        assert_eq!(serde_json::from_str::<Limits>("{}").unwrap(), Limits::default());
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        let check = |json: &str| serde_json::from_str::<Limits>(json).unwrap().check().map_err(|e| e.param);
        assert_eq!(check(r#"{"requests_per_minute":0}"#), Err("requests_per_minute".into()));
        assert_eq!(check(r#"{"burst":5}"#), Err("burst".into()));
        assert_eq!(check(r#"{"budgets":[{"per":"day"}]}"#), Err("budgets[0]".into()));
        assert_eq!(check(r#"{"budgets":[{"per":"day","cost":"1"}]}"#), Err("budgets[0].currency".into()));
        assert_eq!(check(r#"{"requests_per_minute":1,"burst":5}"#), Ok(()));
    }

    #[test]
    fn secrets_differ_and_hash_the_same() {
        use secrecy::ExposeSecret;
        let (one, other) = (new_secret(), new_secret());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!(one.expose_secret().len(), 47);
        assert_eq!(hash_secret(one.expose_secret()), hash_secret(one.expose_secret()));
        assert_eq!(hash_secret("")[0], 0xe3);
    }
}

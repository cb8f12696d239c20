//! What a reply cost: tokens, and money as decimals.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An amount of money. Serialised as a decimal string: never a float.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// How much, exactly as the provider said it but for trailing zeros.
    #[serde(with = "rust_decimal::serde::str")]
    #[schemars(with = "String", extend("pattern" = r"^-?\d+(\.\d+)?$"))]
    pub amount: Decimal,
    /// ISO 4217: `RUB`.
    pub currency: String,
}

impl Cost {
    /// Reads an amount from a JSON number's own text (`0.17685`, `1e-7`), so that no float rounds it.
    ///
    /// `None` when it is no number, has more digits than a decimal of 28 can hold, is below zero or is beyond what any call costs
    /// (10¹²: sums of such amounts could not be kept).
    #[must_use]
    pub fn parse(amount: &str, currency: &str) -> Option<Self> {
        let amount = amount.trim();
        let decimal = amount.parse::<Decimal>().or_else(|_| Decimal::from_scientific(amount)).ok()?;
        if decimal < Decimal::ZERO || decimal > Decimal::from(1_000_000_000_000_u64) {
            return None;
        }
        Some(Self { amount: decimal.normalize(), currency: currency.to_owned() })
    }
}

/// What the provider says that a call used. A number that it does not report is null; nothing is guessed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// Both, and what else the provider counts (embeddings).
    pub total_tokens: Option<u64>,
    /// The price of the call.
    pub cost: Option<Cost>,
}

impl Usage {
    /// Takes over what `later` reports; keeps the rest.
    pub fn merge(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.total_tokens = later.total_tokens.or(self.total_tokens);
        self.cost = later.cost.or_else(|| self.cost.take());
    }

    /// Whether nothing is reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All tokens: as reported, else input and output together, else nothing known.
    #[must_use]
    pub fn tokens(&self) -> Option<u64> {
        self.total_tokens.or(match (self.input_tokens, self.output_tokens) {
            (None, None) => None,
            (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        assert_eq!(Cost::parse("0.17685", "RUB").unwrap().amount.to_string(), "0.17685");
        assert_eq!(
            Cost::parse("0.007200000000000001", "RUB").unwrap().amount.to_string(),
            "0.007200000000000001"
        );
        assert_eq!(Cost::parse("1e-7", "RUB").unwrap().amount.to_string(), "0.0000001");
        assert_eq!(Cost::parse("1.3500", "RUB").unwrap().amount.to_string(), "1.35");
        assert_eq!(Cost::parse("many", "RUB"), None);
        assert_eq!(Cost::parse("-1000", "RUB"), None);
        assert_eq!(Cost::parse("79228162514264337593543950335", "RUB"), None);
        let cost = Cost::parse("0", "RUB").unwrap();
        assert_eq!(serde_json::to_string(&cost).unwrap(), r#"{"amount":"0","currency":"RUB"}"#);
    }
}

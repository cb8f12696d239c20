//! Points in time: RFC 3339 in UTC with milliseconds outside, milliseconds since 1970 inside.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time to the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Now, by the machine's clock.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// The time so many milliseconds after 1970 began; clamped to the years that can be printed.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        let (low, high) = (jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
        Self(millis.clamp(low, high))
    }

    /// Milliseconds since 1970 began.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0
    }

    /// This time and so much later.
    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This time and so much earlier.
    #[must_use]
    pub fn minus(self, duration: std::time::Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The day in UTC as `YYYY-MM-DD`.
    #[must_use]
    pub fn day(self) -> String {
        self.civil().date().to_string()
    }

    /// The month in UTC as `YYYY-MM`.
    #[must_use]
    pub fn month(self) -> String {
        let mut day = self.day();
        day.truncate(7);
        day
    }

    /// Seconds since 1970 began, as some dialects count.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    fn civil(self) -> jiff::civil::DateTime {
        jiff::Timestamp::from_millisecond(self.0)
            .unwrap_or_default()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .datetime()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        write!(f, "{time:.3}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    /// Reads any RFC 3339 time, whatever its offset and number of fractional digits.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_millisecond()))
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339. Answers give it in UTC with milliseconds; requests may have any offset.",
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_milliseconds_in_utc() {
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(1_700_000_000_120).to_string(), "2023-11-14T22:13:20.120Z");
        assert_eq!(Timestamp::from_millis(1_700_000_000_120).day(), "2023-11-14");
        assert_eq!(Timestamp::from_millis(1_700_000_000_120).month(), "2023-11");
    }

    #[test]
    fn reads_offsets_and_odd_fractions() {
        let time: Timestamp = "2023-06-16T18:18:38.88344+00:00".parse().unwrap();
        assert_eq!(time.to_string(), "2023-06-16T18:18:38.883Z");
    }
}

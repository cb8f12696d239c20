//! Durations and sizes as operators write them: `250ms`, `90d`, `64KiB`.

use std::time::Duration;

const DURATIONS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads `250ms`, `30s`, `5m`, `2h`, `90d` or `0`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    units(text, DURATIONS).map(Duration::from_millis)
}

/// Reads `64KiB`, `1MiB` or `2GiB`: `1MB` would leave it open which of two sizes is meant.
pub(crate) fn size(text: &str) -> Option<u64> {
    units(text, SIZES)
}

/// The shortest way to write a duration, to the millisecond.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(millis, DURATIONS).unwrap_or_else(|| "0s".to_owned())
}

/// The shortest way to write a size.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, SIZES).unwrap_or_else(|| format!("{bytes} bytes"))
}

fn units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    if whole(text) == Some(0) {
        return Some(0);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    whole(number)?.checked_mul(*factor)
}

/// A number of digits alone: no sign, no point.
fn whole(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn show(amount: u64, units: &[(&str, u64)]) -> Option<String> {
    let (name, factor) =
        units.iter().rev().find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor))?;
    Some(format!("{}{name}", amount / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_printed() {
        for text in ["250ms", "30s", "5m", "2h", "90d", "1500ms"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        assert_eq!(duration("60s"), duration("1m"));
        assert_eq!(show_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in
            ["", "5", "s", "-5s", "1.5s", "5 weeks", "5S", "99999999999999999999d", "300000000000000d"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["", "KiB", "1kib", "-1", "1.5MiB", "1MB", "1KB", "17B", "1024"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_read_back_as_printed() {
        for text in ["64KiB", "1MiB", "2GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        assert_eq!(size("1024 KiB"), size("1MiB"));
    }
}

//! How long commits of the store take while it is under load, from the gateway's own metrics.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use crate::grow::ask;

const HISTOGRAM: &str = "switchboard_store_commit_seconds_bucket{";

/// How many commits took at most so long: bounds in seconds, ascending, with counts that include the ones before.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Commits(Vec<(f64, f64)>);

impl Commits {
    /// All that the gateway has made until now.
    pub(crate) fn so_far(admin: SocketAddr) -> anyhow::Result<Self> {
        let request = "GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        Self::parse(&String::from_utf8_lossy(&ask(admin, request.as_bytes())?))
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut found = Vec::new();
        for line in text.lines().filter(|line| line.starts_with(HISTOGRAM) && line.contains("\"ok\"")) {
            let (_, rest) = line.split_once("le=\"").context("no bound")?;
            let (bound, _) = rest.split_once('"').context("no bound")?;
            let count = line.rsplit(' ').next().context("no count")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
            found.push((bound, count.parse()?));
        }
        found.sort_by(|one: &(f64, f64), other| one.0.total_cmp(&other.0));
        Ok(Self(found))
    }

    /// Those that have been made since then.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let earlier =
            |bound: f64| before.0.iter().find(|(other, _)| *other == bound).map_or(0.0, |found| found.1);
        Self(self.0.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect())
    }

    /// Takes in those of another time, from a histogram of the same bounds.
    pub(crate) fn add(&mut self, other: &Self) {
        for (bound, count) in &other.0 {
            match self.0.iter_mut().find(|(mine, _)| mine == bound) {
                Some((_, mine)) => *mine += count,
                None => self.0.push((*bound, *count)),
            }
        }
        self.0.sort_by(|one, other| one.0.total_cmp(&other.0));
    }

    pub(crate) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// How long this part of them took at most; between two bounds of the histogram as if they were spread evenly.
    pub(crate) fn within(&self, part: f64) -> Duration {
        let wanted = self.count() * part;
        let (mut low, mut before) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= wanted && *count > before {
                let share = (wanted - before) / (count - before);
                let seconds = if bound.is_finite() { low + (bound - low) * share } else { low };
                return Duration::from_secs_f64(seconds.max(0.0));
            }
            (low, before) = (*bound, *count);
        }
        Duration::ZERO
    }

    /// The same in milliseconds.
    pub(crate) fn within_ms(&self, part: f64) -> f64 {
        self.within(part).as_secs_f64() * 1e3
    }

    /// What is said of them beside so many turns.
    pub(crate) fn note(&self, turns: u64) -> String {
        format!(
            "{} commits: p50 {:.2} ms, p99 {:.2} ms; {:.1} turns a commit, with two writes for each",
            self.count(),
            self.within_ms(0.5),
            self.within_ms(0.99),
            turns as f64 / self.count().max(1.0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lies_between_two_bounds() {
        let text = |counts: [u32; 3]| {
            let [one, two, all] = counts;
            format!(
                "# TYPE switchboard_store_commit_seconds histogram\n\
                 switchboard_store_commit_seconds_bucket{{outcome=\"ok\",le=\"0.001\"}} {one}\n\
                 switchboard_store_commit_seconds_bucket{{outcome=\"ok\",le=\"0.002\"}} {two}\n\
                 switchboard_store_commit_seconds_bucket{{outcome=\"ok\",le=\"+Inf\"}} {all}\n\
                 switchboard_store_commit_seconds_bucket{{outcome=\"failed\",le=\"+Inf\"}} 9\n"
            )
        };
        let (before, after) =
            (Commits::parse(&text([10, 10, 10])).unwrap(), Commits::parse(&text([60, 110, 110])).unwrap());
        let commits = after.since(&before);
        assert_eq!(commits.count(), 100.0);
        assert_eq!(commits.within(0.25), Duration::from_micros(500));
        assert_eq!(commits.within(0.99), Duration::from_micros(1980));
        assert_eq!(Commits::default().within(0.5), Duration::ZERO);
        let mut sum = Commits::default();
        sum.add(&before);
        sum.add(&commits);
        assert_eq!(sum, after);
    }
}

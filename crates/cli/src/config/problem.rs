//! What is wrong with a configuration: every problem with file, line, key and what would be right.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// The line, counted from 1; 0 where the problem has no place in the file.
    pub line: usize,
    /// The key, as it would be written from the top: `providers.tunnel.retry.attempts`.
    pub key: String,
    /// What is wrong, and what would be right. Never holds a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if self.key.is_empty() {
            write!(f, " {}", self.message)
        } else {
            write!(f, " {}: {}", self.key, self.message)
        }
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<Problem>);

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            let newline = if number == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

/// Where a key stands in the file, in bytes. Empty for what stands nowhere.
pub(crate) type Span = Range<usize>;

/// Collects problems, so that all are told at once and not only the first.
#[derive(Debug)]
pub(crate) struct Collector {
    file: String,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    problems: Vec<Problem>,
}

impl Collector {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self {
            file: file.to_owned(),
            lines: std::iter::once(0).chain(breaks).collect(),
            problems: Vec::new(),
        }
    }

    /// Takes note of a problem at this place.
    pub(crate) fn add(&mut self, at: Option<&Span>, key: impl Into<String>, message: impl Into<String>) {
        let line = at.map_or(0, |span| self.line(span.start));
        let problem = Problem { file: self.file.clone(), line, key: key.into(), message: message.into() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// How many there are so far: for whoever wants to know whether a part was read without one.
    pub(crate) fn count(&self) -> usize {
        self.problems.len()
    }

    /// All of them, by line.
    pub(crate) fn finish(mut self) -> Result<(), Invalid> {
        self.problems.sort_by_key(|problem| problem.line);
        if self.problems.is_empty() { Ok(()) } else { Err(Invalid(self.problems)) }
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }
}

/// The candidate that `word` was most likely meant to be; none when nothing is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    // Of a word of one or two letters nothing would be left.
    let bound = (length / 3).max(2).min(length.saturating_sub(1));
    candidates
        .into_iter()
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "; did you mean `x`?", or what there is to choose from when nothing is near.
pub(crate) fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("; did you mean `{near}`?");
    }
    let all: Vec<_> = candidates.into_iter().map(|candidate| format!("`{candidate}`")).collect();
    match all.as_slice() {
        [] => "; there is none".to_owned(),
        [only] => format!("; there is only {only}"),
        _ => format!("; there are {}", all.join(", ")),
    }
}

/// How many letters must be added, left out, changed or swapped with their neighbour to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    let mut last = None;
    for (row, letter) in from.chars().enumerate() {
        let mut here = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX / 2);
            let change = at(&above, column) + usize::from(letter != *other);
            let mut best = change.min(at(&above, column + 1) + 1).min(at(&here, column) + 1);
            let swapped = column > 0 && Some(*other) == last && to.get(column - 1) == Some(&letter);
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            here.push(best);
        }
        before = std::mem::replace(&mut above, here);
        last = Some(letter);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters_and_swaps() {
        let cases = [
            ("", "abc", 3),
            ("listen", "listen", 0),
            ("lisetn", "listen", 1),
            ("lsten", "listen", 1),
            ("a", "b", 1),
        ];
        for (from, to, expected) in cases {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn the_nearest_is_named_and_nothing_far() {
        let keys = ["drain_delay", "drain_timeout", "heartbeat"];
        assert_eq!(nearest("drain_timeot", keys), Some("drain_timeout"));
        assert_eq!(nearest("Heart_Beat", keys), Some("heartbeat"));
        assert_eq!(nearest("x", keys), None);
        assert_eq!(nearest("draining", keys), None);
        assert_eq!(nearest("tls", ["cors", "url"]), None, "no letter is the same");
        assert_eq!(suggestion("x", ["one"]), "; there is only `one`");
    }

    #[test]
    fn lines_are_counted_from_one() {
        let mut collector = Collector::new("f.toml", "a\nbc\n\nd");
        for at in [5, 0, 2, 3] {
            collector.add(Some(&(at..at)), at.to_string(), "wrong");
        }
        let Invalid(problems) = collector.finish().unwrap_err();
        let lines: Vec<_> = problems.iter().map(|problem| (problem.key.as_str(), problem.line)).collect();
        assert_eq!(lines, [("0", 1), ("2", 2), ("3", 2), ("5", 3)]);
        assert_eq!(problems[0].to_string(), "f.toml:1: 0: wrong");
    }
}

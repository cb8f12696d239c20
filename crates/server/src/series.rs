//! Remembers what numbers are called: the recorder is asked for each of them once in each thread.
//!
//! A number with labels is named anew each time that it is counted. The recorder then copies the name, hashes it and takes a lock:
//! eight times in a request, for twenty instructions of counting.

use std::cell::RefCell;
use std::collections::HashMap;
use std::thread::LocalKey;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Each label has a bounded set of values; of what are more names than this all are asked for again.
const NAMES_MAX: usize = 4096;

/// By the name's hash. Of names that have the same, the last is remembered.
type Known<T> = RefCell<HashMap<u64, (Key, T)>>;

thread_local! {
    static COUNTERS: Known<Counter> = RefCell::default();
    static GAUGES: Known<Gauge> = RefCell::default();
    static HISTOGRAMS: Known<Histogram> = RefCell::default();
}

/// A recorder, of which there is one in the process, and what it has answered.
#[derive(Debug)]
pub(crate) struct Remembering<R>(pub(crate) R);

impl<R: Recorder> Recorder for Remembering<R> {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.0.describe_counter(name, unit, meaning);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.0.describe_gauge(name, unit, meaning);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.0.describe_histogram(name, unit, meaning);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        remembered(&COUNTERS, key, || self.0.register_counter(key, metadata))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        remembered(&GAUGES, key, || self.0.register_gauge(key, metadata))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        remembered(&HISTOGRAMS, key, || self.0.register_histogram(key, metadata))
    }
}

fn remembered<T: Clone + 'static>(known: &'static LocalKey<Known<T>>, key: &Key, ask: impl Fn() -> T) -> T {
    let found = known.try_with(|known| {
        let mut known = known.borrow_mut();
        match known.get(&key.get_hash()) {
            Some((other, number)) if is_written_as(key, other) => return number.clone(),
            _ => {}
        }
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        let number = ask();
        known.insert(key.get_hash(), (key.to_retained(), number.clone()));
        number
    });
    // In a thread that ends nothing is remembered any more.
    found.unwrap_or_else(|_| ask())
}

/// Whether the labels are the same in the same order, as one place in the code has them.
fn is_written_as(key: &Key, other: &Key) -> bool {
    key.name() == other.name() && key.labels().eq(other.labels())
}

#[cfg(test)]
mod tests {
    use metrics::Label;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn every_name_counts_for_itself() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let recorder = Remembering(recorder);
        let metadata = Metadata::new("t", metrics::Level::INFO, None);
        let key = |labels: &[(&'static str, &'static str)]| {
            let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
            Key::from_parts("asked", labels)
        };
        for labels in
            [&[("a", "1"), ("b", "2")][..], &[("b", "2"), ("a", "1")], &[("a", "2"), ("b", "1")], &[]]
        {
            for _ in 0..2 {
                recorder.register_counter(&key(labels), &metadata).increment(1);
            }
        }
        let shown = handle.render();
        for line in ["asked{a=\"1\",b=\"2\"} 4", "asked{a=\"2\",b=\"1\"} 2", "asked 2"] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
    }
}

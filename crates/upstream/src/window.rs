//! Counts over the time that has just passed.

use std::time::Duration;

use tokio::time::Instant;

/// How many pieces a window moves on in.
const PIECES: u64 = 10;

/// Two counts over a span of time that moves on in tenths of itself.
#[derive(Debug)]
pub(crate) struct Window {
    piece: Duration,
    began: Instant,
    /// The number of the newest piece since `began`.
    newest: u64,
    pieces: [Counts; PIECES as usize],
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    /// Those of a certain kind: failures, repeats.
    pub(crate) marked: u64,
}

impl Window {
    pub(crate) fn new(span: Duration) -> Self {
        Self {
            piece: (span / PIECES as u32).max(Duration::from_millis(1)),
            began: Instant::now(),
            newest: 0,
            pieces: Default::default(),
        }
    }

    /// The piece that now belongs to.
    pub(crate) fn now(&mut self) -> &mut Counts {
        self.move_on();
        let [first, ..] = &mut self.pieces;
        first
    }

    /// What was counted within the span.
    pub(crate) fn sum(&mut self) -> Counts {
        self.move_on();
        self.pieces.iter().fold(Counts::default(), |sum, piece| Counts {
            calls: sum.calls + piece.calls,
            marked: sum.marked + piece.marked,
        })
    }

    pub(crate) fn clear(&mut self) {
        self.pieces = Default::default();
    }

    /// Moves the pieces so that the first is the newest.
    fn move_on(&mut self) {
        let newest = self.began.elapsed().as_nanos() / self.piece.as_nanos();
        let newest = u64::try_from(newest).unwrap_or(u64::MAX);
        for _ in 0..newest.saturating_sub(self.newest).min(PIECES) {
            self.pieces.rotate_right(1);
            let [first, ..] = &mut self.pieces;
            *first = Counts::default();
        }
        self.newest = newest.max(self.newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn forgets_what_is_older_than_its_span() {
        let mut window = Window::new(Duration::from_secs(10));
        window.now().calls += 3;
        tokio::time::advance(Duration::from_secs(5)).await;
        window.now().calls += 2;
        window.now().marked += 1;
        assert_eq!(window.sum(), Counts { calls: 5, marked: 1 });
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(window.sum(), Counts { calls: 2, marked: 1 });
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(window.sum(), Counts::default());
    }
}

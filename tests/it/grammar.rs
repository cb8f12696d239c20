//! The laws of a provider's stream of pieces, tried on every cassette: however the bytes come, the same is made of them; however early
//! they break off, there is exactly one end, and it is not a good one unless the provider had said that the reply is whole.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use chat::{FinishReason, Piece, ProviderError};

use crate::cassette::{self, Canned, Cassette};

/// What a reader is left with.
#[derive(Debug, Clone, PartialEq)]
struct Read {
    text: String,
    end: Result<Option<FinishReason>, chat::Failure>,
}

/// Reads an outcome; panics when it has no end, or something after it.
fn read(outcome: &[Result<Piece, ProviderError>]) -> Read {
    let mut text = String::new();
    let (last, before) = outcome.split_last().expect("a stream without an end");
    for piece in before {
        match piece.as_ref().expect("an error is the last piece") {
            Piece::Text(more) => text.push_str(more),
            Piece::Replace(all) => text.clone_from(all),
            Piece::End(_) => panic!("a piece after the end"),
            _ => {}
        }
    }
    let end = match last {
        Ok(Piece::End(reason)) => Ok(*reason),
        Ok(piece) => panic!("{piece:?} is no end"),
        Err(error) => Err(error.failure),
    };
    Read { text, end }
}

/// The cassettes whose one call is answered with a 2xx.
fn answers() -> impl Iterator<Item = (Cassette, Canned, Bytes)> {
    providers::KINDS.iter().flat_map(|kind| cassette::of_kind(kind.name)).filter_map(|cassette| {
        let [canned] = &*cassette.responses else { return None };
        let canned = canned.clone();
        let body = canned.body();
        (cassette.asked.answer.is_some() && canned.status.is_success()).then_some((cassette, canned, body))
    })
}

async fn play(cassette: &Cassette, canned: &Canned, pieces: Vec<Bytes>, clean: bool) -> Read {
    let canned = Canned { pieces, clean, ..canned.clone() };
    read(&cassette.play(vec![canned]).await.outcome)
}

/// Tries each of these on every answer, the answers shared out over the machine's processors: they have nothing to do with each other.
fn on_every_answer(law: impl AsyncFn(&Cassette, &Canned, &Bytes) + Sync) {
    let all: Vec<_> = answers().collect();
    assert!(all.len() > 50, "there are cassettes");
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .start_paused(true)
                    .build()
                    .unwrap();
                while let Some((cassette, canned, body)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    runtime.block_on(law(cassette, canned, body));
                }
            });
        }
    });
}

#[test]
fn a_reply_is_the_same_however_its_bytes_come() {
    on_every_answer(async |cassette: &Cassette, canned: &Canned, body: &Bytes| {
        let whole = play(cassette, canned, vec![body.clone()], canned.clean).await;
        for cut in 1..body.len() {
            let pieces = vec![body.slice(..cut), body.slice(cut..)];
            let read = play(cassette, canned, pieces, canned.clean).await;
            assert_eq!(read, whole, "{}, cut at {cut}", cassette.folder.display());
        }
        let bytes = (0..body.len()).map(|at| body.slice(at..=at)).collect();
        let read = play(cassette, canned, bytes, canned.clean).await;
        assert_eq!(read, whole, "{}, byte by byte", cassette.folder.display());
    });
}

#[test]
fn a_reply_that_breaks_off_has_one_end_and_no_good_one() {
    on_every_answer(async |cassette: &Cassette, canned: &Canned, body: &Bytes| {
        let whole = play(cassette, canned, vec![body.clone()], true).await;
        for cut in 0..=body.len() {
            let read = play(cassette, canned, vec![body.slice(..cut)], false).await;
            if read.end.is_ok() {
                // Only when the sign of the whole had come, and then with all that there is.
                assert_eq!(read, whole, "{}, broken at {cut}", cassette.folder.display());
            }
        }
        // At the very beginning nothing can have been said.
        let read = play(cassette, canned, vec![], false).await;
        assert_eq!(read.end, Err(chat::Failure::Broken), "{}", cassette.folder.display());
    });
}

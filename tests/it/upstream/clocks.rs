//! The clocks of an attempt and its body.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep};
use upstream::{Clock, Failure, Verdict};

use super::{MINUTE, Step, answer_with, call, config, scripted, seconds};

/// A piece after each of these pauses, then silence.
fn after_pauses(pauses: &'static [u64]) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    let pieces = stream::iter(pauses).then(async |pause| {
        sleep(seconds(*pause)).await;
        Ok(Bytes::from_static(b"piece"))
    });
    pieces.chain(stream::pending())
}

fn timed_out<T: std::fmt::Debug>(result: Result<T, Failure>) -> Clock {
    match result {
        Err(Failure::TimedOut(clock)) => clock,
        other => panic!("no clock ran out: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_headers_clock_runs_only_where_it_is_asked_for() {
    let (upstream, sent) = scripted(config(), |_| Step::Hang);
    for (asked, total, clock, took) in [
        (true, 15 * MINUTE, Clock::Headers, 60),
        (true, seconds(30), Clock::Total, 30),
        (false, 15 * MINUTE, Clock::Total, 900),
    ] {
        let began = Instant::now();
        let mut call = call(total);
        call.headers_clock = asked;
        assert_eq!(timed_out(upstream.send(call).await), clock);
        assert_eq!(began.elapsed().as_secs(), took);
    }
    assert_eq!(sent.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_may_be_silent_for_so_long_after_each_piece() {
    let (upstream, _) = scripted(config(), |_| answer_with(200, &[], after_pauses(&[50, 59, 1, 0, 30])));
    let began = Instant::now();
    let mut response = upstream.send(call(15 * MINUTE)).await.unwrap();
    for _ in 0..5 {
        response.body.next().await.unwrap().unwrap();
    }
    assert_eq!(timed_out(response.body.next().await.unwrap()), Clock::Idle);
    assert_eq!(began.elapsed().as_secs(), 140 + 60);
    assert!(response.body.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_is_late_is_not_the_upstreams_silence() {
    let (upstream, _) = scripted(config(), |_| answer_with(200, &[], after_pauses(&[1, 50])));
    let mut response = upstream.send(call(15 * MINUTE)).await.unwrap();
    response.body.next().await.unwrap().unwrap();
    sleep(3 * MINUTE).await;
    response.body.next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_body_in_its_middle() {
    // One that is silent, and one that always has more.
    let endless = || {
        stream::repeat(()).then(async |()| {
            tokio::time::advance(seconds(1)).await;
            Ok(Bytes::from_static(b"piece"))
        })
    };
    for lively in [false, true] {
        let (upstream, _) = scripted(config(), move |_| {
            if lively {
                answer_with(200, &[], endless())
            } else {
                answer_with(200, &[], after_pauses(&[40, 40]))
            }
        });
        let began = Instant::now();
        let response = upstream.send(call(seconds(100))).await.unwrap();
        assert_eq!(timed_out(response.whole(1 << 20).await), Clock::Total);
        assert_eq!(began.elapsed().as_secs(), 100);
        assert_eq!(upstream.status().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_first_piece_only_the_deadline_counts() {
    // Whether somebody waits for it before the call resolves or after it: the clock to the first text is the caller's.
    for classifier in [Some((|_, _, _| Verdict::Fine) as upstream::Classifier), None] {
        let (upstream, sent) = scripted(config(), |_| answer_with(200, &[], after_pauses(&[61, 61])));
        let mut call = call(15 * MINUTE);
        call.repeat = upstream::Repeat::Always;
        call.classifier = classifier;
        let began = Instant::now();
        let mut response = upstream.send(call).await.unwrap();
        response.body.next().await.unwrap().unwrap();
        assert_eq!(began.elapsed().as_secs(), 61);
        assert_eq!(timed_out(response.body.next().await.unwrap()), Clock::Idle);
        assert_eq!((began.elapsed().as_secs(), sent.count()), (121, 1));
    }
}

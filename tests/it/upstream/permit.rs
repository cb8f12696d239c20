//! A call's place at the upstream.

use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use tokio::time::Instant;
use upstream::{Clock, Config, Failure};

use super::{MINUTE, answer, answer_with, call, config, scripted, seconds, text};

fn with_places(places: usize) -> Config {
    let mut config = config();
    config.max_concurrency = places;
    config
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_body_ends_breaks_or_is_dropped() {
    let (upstream, sent) = scripted(with_places(1), |number| match number {
        0 => answer(200, "hello"),
        1 => answer_with(200, &[], stream::iter([Err(Failure::Broken)])),
        2 => answer_with(200, &[], stream::pending()),
        _ => answer(400, "no"),
    });
    for number in 1..=3 {
        let mut response = upstream.send(call(MINUTE)).await.unwrap();
        assert_eq!(upstream.status().in_flight, 1);
        let mut next = Box::pin(upstream.send(call(MINUTE)));
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(sent.count(), number);
        drop(next);
        match number {
            // Read to its end, and kept.
            1 => while response.body.next().await.is_some() {},
            2 => assert!(response.body.next().await.unwrap().is_err()),
            _ => drop(response),
        }
        assert_eq!(upstream.status().in_flight, 0);
    }
    upstream.send(call(MINUTE)).await.unwrap_err();
    assert_eq!(upstream.status().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_longest_is_next_and_nobody_waits_beyond_his_deadline() {
    let (upstream, sent) = scripted(with_places(2), |_| answer_with(200, &[], stream::pending()));
    let held = join_all([(); 2].map(|()| upstream.send(call(MINUTE)))).await;
    let began = Instant::now();
    let mut patient = Box::pin(upstream.send(call(MINUTE)));
    assert!(patient.as_mut().now_or_never().is_none());
    let hasty = upstream.send(call(seconds(7))).await;
    assert!(matches!(hasty, Err(Failure::NoPlace)));
    assert_eq!((began.elapsed().as_secs(), sent.count()), (7, 2));
    drop(held);
    patient.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_place_is_held_while_waiting_to_send_again() {
    let (upstream, sent) = scripted(with_places(1), |number| match number {
        0 => super::bare(503, &[("retry-after", "1")]),
        _ => answer(200, "hello"),
    });
    let mut first = Box::pin(upstream.send(call(MINUTE)));
    assert!(first.as_mut().now_or_never().is_none());
    assert_eq!((sent.count(), upstream.status().in_flight), (1, 0));
    text(first.await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn no_minute_sees_more_requests_than_are_allowed() {
    let mut config = config();
    config.requests_per_minute = 5;
    let (upstream, sent) = scripted(config, |_| answer(200, "hello"));
    // Of those who leave, nobody takes a turn away; who cannot have one in time is told at once.
    let waiting = (0..5).map(|_| upstream.send(call(15 * MINUTE)));
    join_all(waiting).await;
    let mut leaving: Vec<_> = (0..50).map(|_| Box::pin(upstream.send(call(15 * MINUTE)))).collect();
    assert!(leaving.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
    let began = Instant::now();
    assert!(matches!(upstream.send(call(5 * MINUTE)).await, Err(Failure::NoPlace)));
    assert_eq!(began.elapsed(), seconds(0));
    drop(leaving);

    let results = join_all((0..20).map(|_| upstream.send(call(15 * MINUTE)))).await;
    assert!(results.iter().all(Result::is_ok));
    let times = sent.times();
    assert_eq!(times.len(), 25);
    for (before, at) in times.iter().zip(&times[5..]) {
        assert!(*at - *before > MINUTE && *at - *before < MINUTE + seconds(1));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_the_deadline() {
    let (upstream, sent) = scripted(config(), |_| answer(200, "hello"));
    let late = call(seconds(0));
    tokio::time::advance(seconds(1)).await;
    assert!(matches!(upstream.send(late).await, Err(Failure::TimedOut(Clock::Total))));
    assert_eq!(sent.count(), 0);
}

//! When an upstream is not asked.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::{Instant, advance};
use upstream::{Clock, Config, Failure, Hint, Response, Upstream};

use super::{MINUTE, Step, answer, answer_with, bare, call, config, refused, scripted, seconds, text};

/// One attempt a call, and a breaker as configured by default.
fn single() -> Config {
    let mut config = config();
    config.retry.attempts_max = 1;
    config.breaker.failures = 0.5;
    config
}

async fn once(upstream: &Upstream) -> Result<Response, Failure> {
    upstream.send(call(MINUTE)).await
}

fn retry_after(result: Result<Response, Failure>) -> Duration {
    match result {
        Err(Failure::BreakerOpen { retry_after } | Failure::Paused { retry_after }) => retry_after,
        other => panic!("let through: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn opens_at_half_of_ten_and_closes_after_a_probe() {
    let (upstream, sent) = scripted(single(), |number| match number {
        0..5 => answer(200, "hello"),
        5..10 => answer(500, "no"),
        10 => answer(502, "no"),
        _ => answer(200, "hello"),
    });
    for number in 0..10 {
        assert_eq!(upstream.status().breaker, "closed", "after {number}");
        if number < 5 {
            text(once(&upstream).await.unwrap()).await;
        } else {
            assert_eq!(refused(once(&upstream).await), 500);
        }
    }
    assert_eq!(upstream.status().breaker, "open");
    assert_eq!(upstream.last_failure().unwrap().what, "the upstream answered 500 Internal Server Error");
    advance(seconds(5)).await;
    assert_eq!(retry_after(once(&upstream).await), seconds(10));
    assert_eq!(sent.count(), 10);

    // The first probe fails, the second succeeds.
    advance(seconds(10)).await;
    assert_eq!(upstream.status().breaker, "half_open");
    assert_eq!(refused(once(&upstream).await), 502);
    assert_eq!(retry_after(once(&upstream).await), seconds(15));
    advance(seconds(15)).await;
    text(once(&upstream).await.unwrap()).await;
    assert_eq!(upstream.status().breaker, "closed");
    text(once(&upstream).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_upstreams_fault_does_not_open_it() {
    let (upstream, sent) = scripted(single(), |number| match number % 4 {
        0 => answer(400, "no"),
        1 => answer(401, "no"),
        2 => answer(429, "no"),
        _ => answer_with(200, &[], stream::pending()),
    });
    for _ in 0..10 {
        for _ in 0..3 {
            refused(once(&upstream).await);
        }
        // Dropped by its caller.
        let mut response = once(&upstream).await.unwrap();
        assert!(response.body.next().now_or_never().is_none());
    }
    assert_eq!((upstream.status().breaker, sent.count()), ("closed", 40));
    // The caller's own deadline.
    let (upstream, _) = scripted(single(), |_| Step::Hang);
    for _ in 0..20 {
        let result = upstream.send(call(seconds(1))).await;
        assert!(matches!(result, Err(Failure::TimedOut(Clock::Total))));
    }
    assert_eq!(upstream.status().breaker, "closed");
}

#[tokio::test(start_paused = true)]
async fn every_failure_counts_those_of_bodies_too() {
    let steps: [fn() -> Step; 8] = [
        || Step::Fail(Failure::Unreachable),
        || Step::Fail(Failure::Broken),
        || Step::Fail(Failure::Unreadable),
        || Step::Fail(Failure::TimedOut(Clock::Connect)),
        || Step::Hang,
        || answer_with(200, &[], stream::iter([Ok(Bytes::from_static(b"a")), Err(Failure::Broken)])),
        || answer_with(200, &[], stream::iter([Ok(Bytes::from_static(b"a"))]).chain(stream::pending())),
        || answer(503, "no"),
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let mut config = single();
        config.breaker.window = 60 * MINUTE;
        let (upstream, _) = scripted(config, move |_| step());
        for count in 0..10 {
            assert_eq!(upstream.status().breaker, "closed", "step {number} after {count}");
            if let Ok(response) = upstream.send(call(10 * MINUTE)).await {
                response.whole(100).await.unwrap_err();
            }
        }
        assert_eq!(upstream.status().breaker, "open", "step {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_older_than_the_window_are_forgotten() {
    let (upstream, _) = scripted(single(), |_| answer(500, "no"));
    for _ in 0..30 {
        refused(once(&upstream).await);
        advance(seconds(4)).await;
    }
    assert_eq!(upstream.status().breaker, "closed");
}

/// An upstream whose breaker is half open.
async fn half_open(script: impl Fn(usize) -> Step + Send + Sync + 'static) -> Upstream {
    let (upstream, _) = scripted(single(), move |number| match number {
        0..10 => answer(500, "no"),
        _ => script(number - 10),
    });
    for _ in 0..10 {
        refused(once(&upstream).await);
    }
    advance(seconds(15)).await;
    assert_eq!(upstream.status().breaker, "half_open");
    upstream
}

#[tokio::test(start_paused = true)]
async fn one_probes_at_a_time_and_a_probe_that_is_dropped_makes_room() {
    let upstream = half_open(|number| if number == 0 { Step::Hang } else { answer(404, "no") }).await;
    let mut probe = Box::pin(once(&upstream));
    assert!(probe.as_mut().now_or_never().is_none());
    for _ in 0..3 {
        retry_after(once(&upstream).await);
    }
    drop(probe);
    // A refusal shows that it answers.
    assert_eq!(refused(once(&upstream).await), 404);
    assert_eq!(upstream.status().breaker, "closed");
}

#[tokio::test(start_paused = true)]
async fn a_probes_head_closes_it_and_its_broken_body_opens_it_again() {
    let broken = || stream::iter([Ok(Bytes::from_static(b"a")), Err(Failure::Broken)]);
    let upstream = half_open(move |_| answer_with(200, &[], broken())).await;
    let response = once(&upstream).await.unwrap();
    assert_eq!(upstream.status().breaker, "closed");
    response.whole(100).await.unwrap_err();
    assert_eq!(upstream.status().breaker, "open");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_asked_for_is_kept_by_all_and_one_goes_first_after_it() {
    // Impatient callers are told at once.
    let (upstream, sent) = scripted(single(), |_| bare(429, &[("retry-after", "20")]));
    refused(once(&upstream).await);
    let paused = once(&upstream).await;
    assert!(
        matches!(paused, Err(Failure::Paused { .. })),
        "its limit is reached, it is not unwell: {paused:?}"
    );
    assert_eq!((retry_after(paused), upstream.closed_for()), (seconds(20), None));
    advance(seconds(20)).await;
    assert_eq!(upstream.status().breaker, "half_open");
    refused(once(&upstream).await);
    assert_eq!((upstream.status().breaker, sent.count()), ("open", 2));

    // Those who would send again wait for it, and then for the first of them.
    let (upstream, sent) = scripted(config(), |number| match number {
        0 => bare(503, &[("retry-after", "20")]),
        _ => answer(200, "hello"),
    });
    let began = Instant::now();
    let mut first = Box::pin(once(&upstream));
    assert!(first.as_mut().now_or_never().is_none());
    let others = (0..20).map(|_| once(&upstream)).chain([]);
    let (first, others) = tokio::join!(first, futures_util::future::join_all(others));
    assert!(first.is_ok() && others.iter().all(Result::is_ok));
    assert_eq!(sent.count(), 22);
    assert!(began.elapsed() < seconds(21));

    // A longer one than their own retry would wait, they don't wait for.
    let (upstream, sent) = scripted(config(), |_| bare(429, &[("retry-after", "3600")]));
    refused(once(&upstream).await);
    assert_eq!(retry_after(once(&upstream).await), seconds(60));
    assert_eq!(sent.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_let_through_again_tells_why_it_failed() {
    let mut config = config();
    config.breaker.failures = 0.5;
    config.breaker.minimum = 2;
    let (upstream, sent) = scripted(config, |_| answer(503, "no"));
    assert_eq!(refused(once(&upstream).await), 503);
    assert_eq!((upstream.status().breaker, sent.count()), ("open", 2));
    retry_after(once(&upstream).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_learnt_is_told_once_and_what_is_hinted_is_not() {
    let (upstream, _) = scripted(single(), |number| match number {
        0..10 => answer(500, "no"),
        10 => answer(200, "hello"),
        _ => bare(429, &[("retry-after", "7")]),
    });
    let (told, mut hints) = tokio::sync::mpsc::unbounded_channel();
    upstream.on_hint(move |hint| told.send(hint).unwrap());
    for _ in 0..10 {
        assert!(hints.try_recv().is_err());
        refused(once(&upstream).await);
    }
    assert_eq!(hints.try_recv().unwrap(), Hint::Failing(seconds(15)));
    advance(seconds(15)).await;
    text(once(&upstream).await.unwrap()).await;
    refused(once(&upstream).await);
    assert_eq!(hints.try_recv().unwrap(), Hint::Paused(seconds(7)));
    upstream.hint(Hint::Paused(seconds(30)));
    upstream.hint(Hint::Failing(seconds(30)));
    assert!(hints.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_failures_refuses_nobody_and_opens_at_the_first_failure_of_ones_own() {
    let (upstream, sent) = scripted(single(), |number| match number {
        0..3 | 5 => answer(200, "hello"),
        _ => answer(500, "no"),
    });
    // One that works here: others had bad luck.
    upstream.hint(Hint::Failing(seconds(15)));
    assert_eq!(upstream.status().breaker, "closed");
    for _ in 0..3 {
        text(once(&upstream).await.unwrap()).await;
    }
    refused(once(&upstream).await);
    assert_eq!(upstream.status().breaker, "closed", "a success has taken the suspicion away");
    // One that fails here, too.
    upstream.hint(Hint::Failing(seconds(15)));
    refused(once(&upstream).await);
    assert_eq!((upstream.status().breaker, sent.count()), ("open", 5));
    advance(seconds(15)).await;
    text(once(&upstream).await.unwrap()).await;
    // A hint that nobody had a use for lapses, however long it claims to hold.
    upstream.hint(Hint::Failing(seconds(3600)));
    advance(seconds(15)).await;
    refused(once(&upstream).await);
    assert_eq!(upstream.status().breaker, "closed");
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_a_pause_is_waited_for_and_is_no_failure() {
    let (upstream, sent) = scripted(config(), |_| answer(200, "hello"));
    upstream.hint(Hint::Paused(seconds(4)));
    let begun = Instant::now();
    assert_eq!(upstream.closed_for(), None, "it is no less healthy for that");
    text(once(&upstream).await.unwrap()).await;
    assert_eq!((begun.elapsed(), sent.count()), (seconds(4), 1));
    // Nobody can have it shut for an hour.
    upstream.hint(Hint::Paused(seconds(3600)));
    advance(seconds(60)).await;
    text(once(&upstream).await.unwrap()).await;
}

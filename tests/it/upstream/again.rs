//! What is sent again after its head came, because nothing of the answer counted yet.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use http::StatusCode;
use tokio::sync::Semaphore;
use upstream::{Cause, Failure, Lost, Observer, Repeat, Retried, Upstream, Verdict};

use super::{MINUTE, Note, Notes, Sent, answer, answer_with, call, config, scripted, seconds, text};

/// How often a call is sent whose answers are all lost in this way.
async fn sent(lost: Lost, repeat: Repeat, ambiguous: bool) -> usize {
    let mut config = config();
    config.retry.ambiguous = ambiguous;
    let (upstream, sent) = scripted(config, |_| answer(200, "half"));
    let mut call = call(15 * MINUTE);
    call.repeat = repeat;
    lose(&upstream, call, lost).await;
    assert_eq!(upstream.status().in_flight, 0);
    sent.count()
}

/// Makes a call and loses its answers until none comes.
async fn lose(upstream: &Upstream, call: upstream::Call, lost: Lost) {
    let mut response = upstream.send(call).await.unwrap();
    loop {
        let answered = response.answered().unwrap();
        drop(response);
        match upstream.again(&answered, lost).await {
            Some(again) => response = again.unwrap(),
            None => return,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_a_failed_attempt_like_any_other() {
    let busy = Lost::Said(Verdict::Busy { retry_after: None });
    let unavailable = Lost::Said(Verdict::Unavailable { retry_after: None });
    for (lost, harmless, repeatable) in [
        (busy, 3, 3),
        (unavailable, 3, 3),
        (Lost::Broke, 1, 3),
        (Lost::Said(Verdict::Failed), 1, 3),
        (Lost::Said(Verdict::Refused), 1, 1),
        (Lost::Said(Verdict::Fine), 1, 1),
    ] {
        assert_eq!(sent(lost, Repeat::Harmless, false).await, harmless, "{lost:?}");
        assert_eq!(sent(lost, Repeat::Always, false).await, repeatable, "{lost:?}, always");
        assert_eq!(sent(lost, Repeat::Harmless, true).await, repeatable, "{lost:?}, ambiguous");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_before_and_after_a_head_are_counted_together_and_told() {
    let (upstream, sent) = scripted(config(), |number| answer(if number == 1 { 503 } else { 200 }, "hello"));
    let notes = Arc::new(Notes::default());
    let mut call = call(MINUTE);
    call.repeat = Repeat::Always;
    call.observer = Some(notes.clone());
    let first = upstream.send(call).await.unwrap().answered().unwrap();
    let third = upstream.again(&first, Lost::Broke).await.unwrap().unwrap();
    assert!(upstream.again(&third.answered().unwrap(), Lost::Broke).await.is_none(), "three are all");
    assert_eq!(text(third).await, "hello");
    let notes = notes.0.lock().unwrap().clone();
    let [Note::Began, Note::Failed(first), Note::Began, Note::Failed(second), Note::Began] = &notes[..]
    else {
        panic!("{notes:?}");
    };
    assert!(matches!(first.cause, Cause::Broke(StatusCode::OK)), "{first:?}");
    assert!(matches!(&second.cause, Cause::Failed(Failure::Refused(_))), "{second:?}");
    let times = sent.times();
    for (number, (retried, longest)) in [(first, 500), (second, 1000)].into_iter().enumerate() {
        let waited = times[number + 1] - times[number];
        assert!(retried.retry_in.as_millis() <= longest && waited >= retried.retry_in, "{retried:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_answer_asked_for_is_waited_and_not_beyond_the_deadline() {
    let (upstream, sent) = scripted(config(), |_| answer(200, "half"));
    let asks = |wait| Lost::Said(Verdict::Busy { retry_after: Some(seconds(wait)) });
    let first = upstream.send(call(MINUTE)).await.unwrap().answered().unwrap();
    assert!(upstream.again(&first, asks(90)).await.is_none());
    upstream.again(&first, asks(20)).await.unwrap().unwrap();
    assert!(sent.times()[1] >= seconds(20));
}

#[tokio::test(start_paused = true)]
async fn lost_answers_draw_on_the_budget_of_all_calls() {
    let (upstream, sent) = scripted(config(), |_| answer(200, "half"));
    for _ in 0..100 {
        let mut call = call(MINUTE);
        call.repeat = Repeat::Always;
        lose(&upstream, call, Lost::Broke).await;
    }
    // Ten at once, and a fifth of all in the end; the window moves on by what the pauses take.
    assert!((115..=135).contains(&sent.count()), "{}", sent.count());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_let_through_again_was_not_sent() {
    let mut config = config();
    (config.breaker.failures, config.breaker.minimum) = (0.5, 1);
    let (upstream, sent) = scripted(config, |_| {
        answer_with(200, &[], stream::iter([Ok(Bytes::from_static(b"half")), Err(Failure::Broken)]))
    });
    let mut call = call(MINUTE);
    call.repeat = Repeat::Always;
    let response = upstream.send(call).await.unwrap();
    let answered = response.answered().unwrap();
    response.whole(100).await.unwrap_err();
    assert_eq!(upstream.status().breaker, "open");
    assert!(upstream.again(&answered, Lost::Broke).await.is_none());
    assert_eq!(sent.count(), 1);
}

/// Has noted nothing until it is told so.
#[derive(Debug)]
struct Slow(Arc<Semaphore>);

impl Observer for Slow {
    fn began(&self) {}

    fn failed(&self, _: Retried) {}

    fn noted(&self) -> BoxFuture<'static, ()> {
        let noted = self.0.clone();
        async move { drop(noted.acquire().await) }.boxed()
    }
}

/// That a call which was sent once is sent again when its observer has noted it, and not before.
async fn waits_for_its_note(sent: &Sent, noted: &Semaphore, call: impl Future) {
    let mut call = std::pin::pin!(call);
    // Far beyond every pause.
    assert!(tokio::time::timeout(seconds(30), &mut call).await.is_err());
    assert_eq!(sent.count(), 1);
    noted.close();
    call.await;
    assert_eq!(sent.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_next_attempt_waits_until_the_last_one_is_noted() {
    let watched = || {
        let noted = Arc::new(Semaphore::new(0));
        let mut call = call(15 * MINUTE);
        call.repeat = Repeat::Always;
        call.observer = Some(Arc::new(Slow(noted.clone())));
        (noted, call)
    };
    let (upstream, sent) = scripted(config(), |number| answer(if number == 0 { 503 } else { 200 }, "a"));
    let (noted, call) = watched();
    waits_for_its_note(&sent, &noted, upstream.send(call)).await;

    let (upstream, sent) = scripted(config(), |_| answer(200, "a"));
    let (noted, call) = watched();
    let answered = upstream.send(call).await.unwrap().answered().unwrap();
    waits_for_its_note(&sent, &noted, upstream.again(&answered, Lost::Broke)).await;
}

//! What is sent again, when, and how often.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use upstream::{Cause, Clock, Failure, Repeat, Verdict};

use super::{
    MINUTE, Note, Notes, Step, answer, answer_with, bare, call, config, refused, scripted, seconds, text,
};

/// How a first attempt goes wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Fails(fn() -> Failure),
    Status(u16),
    Says(&'static str),
    BreaksBeforeItsFirstByte,
}

impl Fault {
    fn step(self) -> Step {
        match self {
            Self::Fails(failure) => Step::Fail(failure()),
            Self::Status(status) => answer(status, "no"),
            Self::Says(text) => answer(200, text),
            Self::BreaksBeforeItsFirstByte => answer_with(200, &[], stream::iter([Err(Failure::Broken)])),
        }
    }
}

fn classify(_: StatusCode, _: &HeaderMap, first: &[u8]) -> Verdict {
    match first {
        b"busy" => Verdict::Busy { retry_after: None },
        b"later" => Verdict::Busy { retry_after: Some(seconds(20)) },
        b"unavailable" => Verdict::Unavailable { retry_after: None },
        b"failed" => Verdict::Failed,
        b"refused" => Verdict::Refused,
        _ => Verdict::Fine,
    }
}

/// How many attempts are made at a call whose attempts all go wrong in this way.
async fn attempts(fault: Fault, repeat: Repeat, ambiguous: bool) -> usize {
    let mut config = config();
    config.retry.ambiguous = ambiguous;
    let (upstream, sent) = scripted(config, move |_| fault.step());
    let mut call = call(15 * MINUTE);
    call.repeat = repeat;
    call.classifier = Some(classify);
    let _ = upstream.send(call).await;
    assert_eq!(upstream.status().in_flight, 0);
    sent.count()
}

#[tokio::test(start_paused = true)]
async fn what_did_nothing_is_sent_again_and_what_may_have_only_where_that_is_harmless() {
    use Fault::{BreaksBeforeItsFirstByte, Fails, Says, Status};
    let always =
        [Fails(|| Failure::Unreachable), Status(429), Status(503), Says("busy"), Says("unavailable")];
    let ambiguous = [
        Fails(|| Failure::Broken),
        Status(500),
        Status(502),
        Status(504),
        Status(529),
        Says("failed"),
        BreaksBeforeItsFirstByte,
    ];
    let never = [
        Fails(|| Failure::Unreadable),
        Fails(|| Failure::TimedOut(Clock::Connect)),
        Fails(|| Failure::TimedOut(Clock::Headers)),
        Fails(|| Failure::TimedOut(Clock::Idle)),
        Fails(|| Failure::TimedOut(Clock::Total)),
        Status(301),
        Status(400),
        Status(401),
        Status(404),
        Status(408),
        Says("refused"),
        Says("fine"),
        Says(""),
    ];
    for (faults, harmless, repeatable) in [(&always[..], 3, 3), (&ambiguous, 1, 3), (&never, 1, 1)] {
        for fault in faults {
            assert_eq!(attempts(*fault, Repeat::Harmless, false).await, harmless, "{fault:?}");
            assert_eq!(attempts(*fault, Repeat::Always, false).await, repeatable, "{fault:?}, always");
            assert_eq!(attempts(*fault, Repeat::Harmless, true).await, repeatable, "{fault:?}, ambiguous");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_attempt_may_succeed_and_the_observer_hears_of_the_first() {
    let (upstream, sent) = scripted(config(), |number| match number {
        0 => answer(503, "no"),
        1 => answer(200, "busy"),
        _ => answer(200, "hello"),
    });
    let notes = Arc::new(Notes::default());
    let mut call = call(MINUTE);
    call.classifier = Some(classify);
    call.observer = Some(notes.clone());
    assert_eq!(text(upstream.send(call).await.unwrap()).await, "hello");

    let notes = notes.0.lock().unwrap().clone();
    let [Note::Began, Note::Failed(first), Note::Began, Note::Failed(second), Note::Began] = &notes[..]
    else {
        panic!("{notes:?}");
    };
    assert!(matches!(&first.cause, Cause::Failed(Failure::Refused(refusal)) if &*refusal.body == b"no"));
    assert!(matches!(second.cause, Cause::Said(StatusCode::OK, Verdict::Busy { .. })));
    let times = sent.times();
    for (number, (retried, longest)) in [(first, 500), (second, 1000)].into_iter().enumerate() {
        assert!(retried.retry_in.as_millis() <= longest);
        // The timer is true to a millisecond.
        let waited = times[number + 1] - times[number];
        assert!(waited >= retried.retry_in && waited.as_millis() <= longest + 1, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_disguise_is_given_whole_when_nothing_is_left_to_try() {
    let (upstream, sent) = scripted(config(), |_| {
        let pieces = ["", "failed", " for", " good"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        answer_with(200, &[("x-test", "1")], stream::iter(pieces))
    });
    let mut call = call(MINUTE);
    call.classifier = Some(classify);
    let response = upstream.send(call).await.unwrap();
    assert_eq!((response.status.as_u16(), response.headers.len(), sent.count()), (200, 1, 1));
    assert_eq!(text(response).await, "failed for good");
}

#[tokio::test(start_paused = true)]
async fn what_the_upstream_asks_for_is_waited() {
    let headers: [(&str, String); 3] = [
        ("retry-after", "20".to_owned()),
        ("x-ratelimit-reset", (unix_seconds() + 30).to_string()),
        ("x-ratelimit-reset", ((unix_seconds() + 30) * 1000).to_string()),
    ];
    for (name, value) in headers {
        let (upstream, sent) = scripted(config(), move |number| match number {
            0 => bare(429, &[(name, &value)]),
            _ => answer(200, "hello"),
        });
        upstream.send(call(MINUTE)).await.unwrap();
        let waited = sent.times()[1];
        // The reset is a point on the machine's own clock, which goes on while the paused one stands: a slow machine waits less.
        assert!(waited >= seconds(20) && waited <= seconds(30), "{name}: {waited:?}");
    }
    let (upstream, sent) =
        scripted(config(), |number| answer(200, if number == 0 { "later" } else { "now" }));
    let mut call = call(MINUTE);
    call.classifier = Some(classify);
    assert_eq!(text(upstream.send(call).await.unwrap()).await, "now");
    assert!(sent.times()[1] >= seconds(20));
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(start_paused = true)]
async fn what_is_beyond_the_deadline_is_not_waited() {
    let (upstream, sent) = scripted(config(), |_| bare(503, &[("retry-after", "90")]));
    let began = tokio::time::Instant::now();
    let Err(Failure::Refused(refusal)) = upstream.send(call(MINUTE)).await else { panic!("no refusal") };
    assert_eq!((refusal.retry_after, sent.count()), (Some(seconds(90)), 1));
    assert_eq!(began.elapsed(), seconds(0));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_answered_with_a_multiple_of_the_load() {
    for calls in [5, 60, 400] {
        let (upstream, sent) = scripted(config(), |_| answer(503, "no"));
        let all = (0..calls).map(|_| upstream.send(call(MINUTE)));
        let results: Vec<_> = stream::iter(all).buffer_unordered(50).collect().await;
        assert!(results.into_iter().all(|result| refused(result) == 503));
        let repeats = sent.count() - calls;
        assert!(repeats <= (calls / 5).max(10) && repeats >= (calls / 5).min(10), "{calls}: {repeats}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_brings_the_beginning_of_its_body_and_nothing_waits_for_the_rest() {
    let piece = Bytes::from(vec![b'x'; 40_000]);
    let (upstream, _) = scripted(config(), move |number| match number {
        0 => answer_with(400, &[], stream::iter([Ok(piece.clone()), Ok(piece.clone())])),
        1 => answer_with(400, &[], stream::iter([Ok(piece.clone())]).chain(stream::pending())),
        _ => answer_with(400, &[], stream::iter([Err(Failure::Broken)])),
    });
    for (length, waited) in [(65_536, 0), (40_000, 5), (0, 0)] {
        let began = tokio::time::Instant::now();
        let Err(Failure::Refused(refusal)) = upstream.send(call(MINUTE)).await else { panic!("no refusal") };
        assert_eq!((refusal.body.len(), began.elapsed().as_secs()), (length, waited));
    }
}

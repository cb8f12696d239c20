//! What is on record of attempts: those that are made again in the middle of a call, and when the store knows of each.

use std::sync::Arc;
use std::time::Duration;

use chat::{AttemptReport, ConversationStore, Failure, Piece, Progress, Source, TurnStatus, Usage};

use super::faulty::{Faulty, Point, When, Wrong};
use crate::kit::{Act, Gate, Kit, Options, Scripted, ask, caller, fold, kinds, read_all, read_until, text};

fn used(tokens: u64) -> Usage {
    Usage { total_tokens: Some(tokens), ..Usage::default() }
}

#[tokio::test]
async fn what_a_lost_attempt_told_of_itself_is_not_taken_for_the_next_ones() {
    let kit = Kit::new().await;
    let source = Source { id: "lost".into(), ..Source::default() };
    let first = vec![
        Act::Answered(200),
        Act::Give(Piece::Model("lost".into())),
        Act::Give(Piece::Progress(Progress::step("web_search"))),
        Act::Give(Piece::Sources(vec![source])),
        Act::Give(Piece::Usage(used(3))),
        Act::Retried(Failure::Broken),
        Act::Give(Piece::Usage(used(5))),
    ];
    kit.a().plays([first, text(&["ok"])].concat());
    let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
    let events = read_all(&mut reader).await;
    assert_eq!(kinds(&events), ["started", "web_search", "sources", "sources", "retry", "+ok", "completed"]);
    let turn = fold(&events).ended.unwrap();
    assert!(turn.sources.is_empty() && turn.model.is_none());
    let [lost] = &turn.attempts[..] else { panic!("{:?}", turn.attempts) };
    assert_eq!(
        (lost.outcome.as_str(), lost.status, &lost.usage),
        ("provider_error", Some(200), &Some(used(3)))
    );
    assert_eq!(turn.usage, Some(used(5)));
    let sums = kit.engine.usage(&caller("t"), chat::UsageRange::default()).await.unwrap();
    assert_eq!((sums[0].turns, sums[0].total_tokens), (1, 8));
}

#[tokio::test]
async fn the_status_of_a_head_that_came_is_known_whatever_ended_the_call() {
    // A clock.
    let mut options = Options::default();
    options.clocks.first_text = Duration::from_millis(20);
    let parts = || [Scripted::replay(), Scripted::replay(), Scripted::replay()];
    let kit = Kit::with(options, parts()).await;
    for (head, status) in [(Some(206), Some(206)), (None, None)] {
        let head = head.map(Act::Answered);
        kit.a().plays(head.into_iter().chain([Act::Hang]).collect());
        let turn = kit.say("hi", None).await;
        let attempts: Vec<_> = turn.attempts.iter().map(|one| (one.outcome.as_str(), one.status)).collect();
        assert_eq!(attempts, [("first_text_timeout", status)]);
    }
    // A bound.
    let mut options = Options::default();
    options.settings.reply_bytes_max = 4;
    let kit = Kit::with(options, parts()).await;
    kit.a().plays([vec![Act::Answered(200)], text(&["too long"])].concat());
    let turn = kit.say("hi", None).await;
    assert_eq!(
        (turn.attempts[0].outcome.as_str(), turn.attempts[0].status),
        ("provider_protocol", Some(200))
    );
    // Of an attempt that is followed by another, each has its own.
    let kit = Kit::new().await;
    let lost = vec![Act::Answered(200), Act::Retried(Failure::Broken), Act::Retried(Failure::Unreachable)];
    kit.a().plays([lost, vec![Act::Refuse(Failure::Broken.into())]].concat());
    let turn = kit.say("hi", None).await;
    let statuses: Vec<_> = turn.attempts.iter().map(|one| one.status).collect();
    assert_eq!(statuses, [Some(200), None, None]);
}

/// A kit whose `a` falls back to `b`, over a store that goes wrong at this point.
async fn faulty(point: Point) -> (Kit, Arc<Faulty>) {
    let mut faulty = None;
    let options = Options { fallback: vec!["b"], ..Options::default() };
    let kit = Kit::wrapped(options, [Scripted::replay(), Scripted::replay(), Scripted::replay()], |store| {
        Arc::clone(faulty.insert(Arc::new(Faulty::new(store, &[point])))) as Arc<dyn ConversationStore>
    });
    (kit.await, faulty.unwrap())
}

#[tokio::test]
async fn a_further_call_is_sent_when_the_store_knows_of_it_and_not_before() {
    // A retry, one after the head, and a fallback.
    let plays: [Vec<Act>; 3] = [
        vec![Act::Retried(Failure::Failed), Act::Hang],
        vec![Act::Give(Piece::Model("m".into())), Act::Retried(Failure::Broken), Act::Hang],
        vec![Act::Refuse(Failure::Failed.into())],
    ];
    for play in plays {
        for when in [When::Before, When::After] {
            let crash = Point { operation: "checkpoint", number: 1, when, wrong: Wrong::Crash };
            let (kit, store) = faulty(crash).await;
            kit.a().plays(play.clone());
            kit.b().plays(vec![Act::Hang]);
            let reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
            store.crashed.cancelled().await;
            let sent = || kit.providers.iter().map(|one| one.sent.lock().unwrap().len()).sum::<usize>();
            assert_eq!(sent(), 1, "{play:?}, {when:?}");
            let id = reader.turn_id();
            let kit = kit.killed_and_restarted().await;
            assert_eq!(kit.engine.turn(&caller("t"), id).await.unwrap().status, TurnStatus::Failed);
        }
    }
}

#[tokio::test]
async fn a_store_that_cannot_note_a_call_holds_no_fallback_up() {
    // It says so: the call is made at once. It hangs: the call waits for a while.
    for wrong in [Wrong::Once, Wrong::Crash] {
        let point = Point { operation: "checkpoint", number: 1, when: When::Before, wrong };
        let (kit, store) = faulty(point).await;
        kit.a().plays(vec![Act::Refuse(Failure::Failed.into())]);
        let gate = Gate::new();
        kit.b().plays([vec![Act::Give(Piece::Text("from b".into())), Act::Wait(gate)], text(&[])].concat());
        let mut reader = kit.engine.chat(&caller("t"), ask("a", "hi")).await.unwrap();
        let events = read_until(&mut reader, |events| events.len() >= 3).await;
        assert_eq!(kinds(&events), ["started", "fallback", "+from b"], "{wrong:?}");
        assert!(store.disarm());
    }
}

#[tokio::test]
async fn who_cancels_between_two_attempts_finds_the_first_on_record_and_no_second() {
    // The engine has seen that the first one failed, and then it has not: the cancellation comes with the news.
    for seen in [true, false] {
        let kit = Kit::new().await;
        kit.a().plays(vec![Act::Hang]);
        let me = caller("t");
        let mut reader = kit.engine.chat(&me, ask("a", "hi")).await.unwrap();
        while kit.a().calls() == 0 {
            tokio::task::yield_now().await;
        }
        let (duration, retry_in) = (Duration::from_millis(1), Duration::from_secs(1));
        let failure = Failure::Failed;
        kit.a().last().observer.failed(AttemptReport {
            failure,
            status: None,
            duration,
            retry_in,
            unsent: false,
        });
        if seen {
            read_until(&mut reader, |events| events.len() >= 2).await;
        }
        kit.engine.cancel(&me, reader.turn_id()).await.unwrap();
        let turn = reader.end().await;
        assert_eq!((turn.status, turn.attempts.len()), (TurnStatus::Cancelled, 1), "seen: {seen}");
        let ledger = rusqlite::Connection::open(kit.folder.path().join("test.db")).unwrap();
        let mut rows = ledger.prepare("SELECT outcome FROM ledger").unwrap();
        let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let rows: Vec<_> = rows.map(Result::unwrap).collect();
        assert_eq!(rows, ["provider_error"], "seen: {seen}");
    }
}

use std::sync::Arc;

use super::*;
use crate::{Reply, Timestamp, TurnId, TurnMessage, TurnStatus};

fn turn() -> Turn {
    let asked = ("support".parse().unwrap(), "tunnel".parse().unwrap());
    Turn::accepted(TurnId::new(), TurnStatus::InProgress, Timestamp::now(), None, asked)
}

fn ended(log: &EventLog, of: &Turn) -> Arc<Turn> {
    let content = log.content();
    let message = TurnMessage { id: crate::MessageId::new(), content, created_at: Timestamp::now() };
    let sources = log.sources().to_vec();
    Arc::new(Turn { status: TurnStatus::Completed, message: Some(message), sources, ..of.clone() })
}

fn events(log: &EventLog, mut after: u64) -> Vec<(u64, crate::Event)> {
    let mut all = Vec::new();
    while let Some((seq, event)) = log.next_after(after) {
        all.push((seq, event.to_owned()));
        after = seq;
    }
    all
}

fn sample() -> (EventLog, Arc<Turn>) {
    let started = Arc::new(turn());
    let mut log = EventLog::started(Arc::clone(&started));
    log.progress(Progress::step("web_search"));
    log.delta("Hé");
    log.set_sources(vec![Source { id: "1".into(), ..Source::default() }]);
    log.cite(vec!["1".into()]);
    log.replace("Hello");
    log.delta(" wörld");
    log.delta("");
    log.cite(vec!["1".into()]);
    log.delta("!");
    (log, started)
}

#[test]
fn the_events_fold_into_the_turn() {
    let (mut log, started) = sample();
    let end = ended(&log, &started);
    log.end(Arc::clone(&end));
    let mut reply = Reply::default();
    for (_, event) in events(&log, 0) {
        reply.take(event).unwrap();
    }
    assert_eq!(reply.text, "Hello wörld!");
    assert_eq!(end.message.as_ref().unwrap().content.parts.len(), 3, "text, citation, text");
    assert_eq!(log.current_text(), "Hello wörld!");
}

#[test]
fn read_from_any_place_the_rest_is_the_same() {
    let (mut log, started) = sample();
    log.end(ended(&log, &started));
    let all = events(&log, 0);
    assert_eq!(all.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=log.last_seq()).collect::<Vec<_>>());
    for after in 0..=log.last_seq() {
        assert_eq!(events(&log, after), all[after as usize..], "after {after}");
    }
}

#[test]
fn stored_at_every_place_it_reads_back_the_same() {
    let (mut log, started) = sample();
    let mut slices = Vec::new();
    for cut in 1..log.last_seq() {
        let first = log.slice_after(0);
        slices.push((cut, first));
    }
    let end = ended(&log, &started);
    log.end(Arc::clone(&end));
    let all = events(&log, 0);
    for cut in 0..=log.last_seq() {
        let tail = log.slice_after(cut);
        let mut head = log.clone();
        head.ends.truncate(cut as usize);
        let head = head.slice_after(0);
        let parts = [(head.text.as_str(), head.marks.as_str()), (tail.text.as_str(), tail.marks.as_str())];
        let back = EventLog::restore(parts, &started, Some(&end)).unwrap();
        assert_eq!(events(&back, 0), all, "cut at {cut}");
        assert_eq!(back.content(), log.content());
    }
}

#[test]
fn after_a_crash_the_numbers_go_on_above_the_reserved_block() {
    let (mut log, started) = sample();
    let reached = log.last_seq();
    log.jump_above(1_000_000);
    log.replace("Hello");
    let end = ended(&log, &started);
    log.end(Arc::clone(&end));
    assert_eq!(log.last_seq(), 1_000_002);
    let slice = log.slice_after(0);
    let back =
        EventLog::restore([(slice.text.as_str(), slice.marks.as_str())], &started, Some(&end)).unwrap();
    for after in [0, reached, reached + 1, 500_000, 1_000_000, 1_000_001, 1_000_002, u64::MAX] {
        assert_eq!(events(&back, after), events(&log, after), "after {after}");
    }
    // A reader that saw more than the store did comes back with a number from the lost block.
    assert_eq!(events(&log, 500_000).len(), 2);
    assert_eq!(events(&log, 1_000_001).len(), 1);
}

#[test]
fn a_damaged_log_is_an_error_not_a_panic() {
    let started = Arc::new(turn());
    for (text, marks) in [("", "[5]"), ("é", "[1]"), ("", "nonsense"), ("", "[{\"z\":1}]")] {
        assert!(EventLog::restore([(text, marks)], &started, None).is_err(), "{marks}");
    }
}

#[test]
fn the_end_can_be_stored_before_it_is_told() {
    let (mut log, started) = sample();
    let early = log.slice_ended();
    let end = ended(&log, &started);
    log.end(Arc::clone(&end));
    assert_eq!(early, log.slice_after(0));
    assert_eq!(log.slice_ended(), early, "a second time changes nothing");
    let empty = EventLog::default().slice_ended();
    let back =
        EventLog::restore([(empty.text.as_str(), empty.marks.as_str())], &started, Some(&end)).unwrap();
    assert!(back.is_ended());
}

#[test]
fn a_log_that_is_fed_by_slices_is_the_same() {
    let (mut whole, started) = sample();
    whole.end(ended(&whole, &started));
    let end = whole.ended().map(Arc::clone);
    let last = whole.last_seq();
    for step in 1..=last {
        let mut fed = EventLog::started(Arc::clone(&started));
        let mut grown = EventLog::default();
        for (_, event) in events(&whole, 0) {
            match event {
                crate::Event::Started(turn) => grown = EventLog::started(Arc::new(*turn)),
                crate::Event::Progress(step) => grown.progress(step),
                crate::Event::Sources(sources) => grown.set_sources(sources),
                crate::Event::Delta(text) => grown.delta(&text),
                crate::Event::Citation(ids) => grown.cite(ids),
                crate::Event::Replaced(text) => grown.replace(&text),
                crate::Event::Ended(turn) => grown.end(Arc::new(*turn)),
            }
            // Every slice begins some events before what is known, and some do not come at all.
            let at = grown.last_seq();
            if at % step == 0 || at == last {
                let slice = grown.slice_after(at.saturating_sub(step + 1));
                assert_eq!(fed.extend(&slice, at, &started, end.as_ref()), Ok(true));
                assert_eq!(fed.extend(&slice, at, &started, end.as_ref()), Ok(true), "twice is once");
            }
        }
        assert_eq!(events(&fed, 0), events(&whole, 0), "in steps of {step}");
    }
    // As long pieces as may be: at least one event each, and all of them in the end.
    for bytes in [0, 5, 1000] {
        let (mut fed, mut after) = (EventLog::started(Arc::clone(&started)), 0);
        while after < last {
            let (slice, upto) = whole.slice_up_to(after, bytes);
            assert!(upto > after && (bytes < 1000 || upto == last));
            assert_eq!(fed.extend(&slice, upto, &started, end.as_ref()), Ok(true));
            after = upto;
        }
        assert_eq!(events(&fed, 0), events(&whole, 0));
        assert_eq!(whole.slice_up_to(last, bytes).1, last);
    }
    let mut fed = EventLog::started(Arc::clone(&started));
    assert_eq!(
        fed.extend(&whole.slice_after(3), last, &started, end.as_ref()),
        Ok(false),
        "events are missing"
    );
    assert_eq!(fed.last_seq(), 1);
    assert!(fed.extend(&LogSlice { text: String::new(), marks: "[7]".into() }, 2, &started, None).is_err());
}

#[test]
fn frames_are_forgotten_but_for_who_gave_the_last() {
    let mut log = EventLog::default();
    let frame = |number: u32| Frame { call: number, json: "{}".into() };
    let calls =
        |log: &EventLog, after: usize| log.frames_after(after).map(|frame| frame.call).collect::<Vec<_>>();
    (0..3).for_each(|number| log.frame(frame(number)));
    assert_eq!(calls(&log, 1), [1, 2]);
    log.forget_frames(2);
    assert_eq!((log.frame_count(), log.frames_forgotten(), calls(&log, 2)), (3, 2, vec![2]));
    log.forget_frames(4);
    assert_eq!((log.frame_count(), log.frames_forgotten(), calls(&log, 0)), (3, 3, vec![]));
    assert_eq!(log.frame_call(), Some(2));
    log.frame(frame(3));
    assert_eq!((calls(&log, 3), calls(&log, 0)), (vec![3], vec![3]));
    assert_eq!(log.frame_call(), Some(3));
}

//! What gateways tell each other of running turns on Redis. Turns that are not kept stand nowhere else: what is seen of them
//! elsewhere has come that way.

use chat::{ErrorCode, TurnId, TurnStatus};
use engine::Ask;
use futures_util::future::join_all;

use super::{Bed, kept};
use crate::kit::redis::{Redis, shared};
use crate::kit::{Act, Gate, ask, caller, fold, idempotency, kinds, read_all, read_until, text};

async fn bed() -> Option<Bed> {
    Bed::with_redis(&shared()?).await
}

fn unstored(text: &str) -> Ask {
    Ask { store: false, ..ask("a", text) }
}

/// A play that waits for a gate between its two pieces.
fn in_two(gate: &Gate) -> Vec<Act> {
    let piece = |text: &str| Act::Give(chat::Piece::Text(text.to_owned()));
    [vec![piece("half "), Act::Wait(gate.clone())], text(&["whole"])].concat()
}

#[tokio::test]
async fn a_turn_that_is_not_kept_is_read_elsewhere_while_it_runs() {
    let Some(bed) = bed().await else { return };
    let (me, gate) = (caller("t"), Gate::new());
    bed.one.a().plays(in_two(&gate));
    let key = idempotency("one", 1);
    let mut here = bed.one.chat(Ask { idempotency: key.clone(), ..unstored("x") }).await;
    let id = here.turn_id();
    // At once: what is told of it may still be under way.
    let mut there = bed.two.engine.events(&me, id, 0).await.unwrap().unwrap();
    let mut again = bed.two.engine.repeat(&me, &key.unwrap()).await.unwrap().unwrap();
    assert!(again.is_repeat());
    let first = read_until(&mut there, |events| events.len() >= 2).await;
    assert_eq!(kinds(&first), ["started", "+half "]);
    let standing = bed.two.engine.turn(&me, id).await.unwrap();
    assert_eq!(standing.message.as_ref().unwrap().content.text(), "half ");
    for other in [caller("other"), of_a_user(), of_b()] {
        let refused = bed.two.engine.events(&other, id, 0).await.unwrap_err();
        assert_eq!(refused.error.code, ErrorCode::TurnNotFound);
    }
    gate.open();
    let there = [first, read_all(&mut there).await].concat();
    let here = read_all(&mut here).await;
    assert_eq!(there, here, "the same events with the same numbers, to the last word of the end");
    assert_eq!(read_all(&mut again).await, here);
    assert_eq!(bed.one.calls() + bed.two.calls(), 1);
    bed.finish().await;
}

fn of_a_user() -> chat::Caller {
    chat::Caller { user: Some("eve".parse().unwrap()), ..caller("t") }
}

fn of_b() -> chat::Caller {
    chat::Caller { assistants: chat::AllowedAssistants::These(["b".parse().unwrap()].into()), ..caller("t") }
}

#[tokio::test]
async fn many_find_a_turn_at_the_same_time() {
    let Some(bed) = bed().await else { return };
    let (me, gate) = (caller("t"), Gate::new());
    bed.one.a().plays(in_two(&gate));
    let mut here = bed.one.chat(unstored("x")).await;
    let id = here.turn_id();
    let found = join_all((0..50).map(|_| bed.two.engine.events(&me, id, 0))).await;
    gate.open();
    let here = read_all(&mut here).await;
    for reader in found {
        assert_eq!(read_all(&mut reader.unwrap().unwrap()).await, here);
    }
    bed.finish().await;
}

#[tokio::test]
async fn a_turn_that_is_not_kept_is_cancelled_elsewhere() {
    let Some(bed) = bed().await else { return };
    bed.one.a().plays(in_two(&Gate::new()));
    let mut here = bed.one.chat(unstored("x")).await;
    read_until(&mut here, |events| !events.is_empty()).await;
    let cancelled = bed.two.engine.cancel(&caller("t"), here.turn_id()).await.unwrap();
    assert_eq!(cancelled.status, TurnStatus::Cancelled);
    assert_eq!(here.end().await, cancelled);
    bed.finish().await;
}

#[tokio::test]
async fn what_nobody_runs_is_not_found() {
    let Some(bed) = bed().await else { return };
    let refused = bed.two.engine.events(&caller("t"), TurnId::new(), 0).await.unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::TurnNotFound);
    // One that has ended and that nobody reads any more is forgotten everywhere.
    let mut reader = bed.one.chat(unstored("x")).await;
    let id = reader.turn_id();
    assert_eq!(reader.end().await.status, TurnStatus::Completed);
    drop(reader);
    let gone = async {
        while bed.two.engine.turn(&caller("t"), id).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::smoke::program::PATIENCE, gone).await.expect("it is forgotten");
    bed.finish().await;
}

#[tokio::test]
async fn many_turns_are_read_elsewhere_to_the_byte() {
    let Some(bed) = bed().await else { return };
    let me = caller("t");
    let pieces: Vec<String> = (0..200).map(|number| format!("{number} ")).collect();
    let turns = (0..40).map(|number| {
        let (bed, me, pieces) = (&bed, &me, &pieces);
        async move {
            let gate = Gate::new();
            let (first, rest) = pieces.split_at(100);
            let piece = |text: &String| Act::Give(chat::Piece::Text(text.clone()));
            let mut play: Vec<Act> = first.iter().map(piece).collect();
            play.push(Act::Wait(gate.clone()));
            play.extend(rest.iter().map(piece));
            play.push(Act::Give(chat::Piece::End(None)));
            bed.one.a().plays(play);
            let ask = if number % 2 == 0 { unstored("x") } else { ask("a", "x") };
            let mut here = bed.one.chat(ask).await;
            let seen = read_until(&mut here, |events| events.len() > number).await;
            // Goes on elsewhere behind whatever it has.
            let last = seen.last().unwrap().0;
            let mut there = bed.two.engine.events(me, here.turn_id(), last).await.unwrap().unwrap();
            (
                here,
                seen,
                read_until(&mut there, |events| events.len() + seen_len(last) >= 101).await,
                there,
                gate,
            )
        }
    });
    let turns = join_all(turns).await;
    for (_, _, _, _, gate) in &turns {
        gate.open();
    }
    for (mut here, seen, mut resumed, mut there, _) in turns {
        resumed.extend(read_all(&mut there).await);
        let all = [seen.clone(), resumed].concat();
        assert_eq!(fold(&all).text, pieces.concat());
        let end = here.end().await;
        assert!(matches!(&all.last().unwrap().1, chat::Event::Ended(turn) if **turn == *end));
        assert_eq!(all.len(), 202);
    }
    bed.finish().await;
}

fn seen_len(last: u64) -> usize {
    usize::try_from(last).unwrap()
}

#[tokio::test]
async fn without_redis_turns_are_read_on_and_stopped() {
    let Some(mut redis) = Redis::start().await else { return };
    let Some(bed) = Bed::with_redis(&redis.address()).await else { return };
    let (me, gate) = (caller("t"), Gate::new());
    let (mut here, gates) = bed.one.running().await;
    bed.one.providers[1].plays(in_two(&gate));
    let mut unkept = bed.one.chat(Ask { store: false, ..ask("b", "x") }).await;
    let mut there = bed.two.engine.events(&me, here.turn_id(), 0).await.unwrap().unwrap();
    let mut also = bed.two.engine.events(&me, unkept.turn_id(), 0).await.unwrap().unwrap();
    let mut seen = read_until(&mut there, |events| events.len() >= 2).await;
    let mut unkept_seen = read_until(&mut also, |events| events.len() >= 2).await;
    redis.kill().await;
    gates[0].open();
    seen.extend(read_until(&mut there, |events| !events.is_empty()).await);
    assert_eq!(kinds(&seen), ["started", "+one ", "+two "], "through the store");
    let (other, _gates) = bed.one.running().await;
    kept(&bed.two.store, other.turn_id(), "one ").await;
    let cancelled = bed.two.engine.cancel(&me, other.turn_id()).await.unwrap();
    assert_eq!(cancelled.status, TurnStatus::Cancelled);
    // What is not kept is told anew from its beginning once Redis is back, without its memory.
    redis.start_again().await;
    gate.open();
    unkept_seen.extend(read_all(&mut also).await);
    assert_eq!(unkept_seen, read_all(&mut unkept).await);
    gates[1].open();
    seen.extend(read_all(&mut there).await);
    assert_eq!(seen, read_all(&mut here).await);
    bed.finish().await;
}

#[tokio::test]
async fn nothing_stays_in_redis() {
    let Some(redis) = Redis::start().await else { return };
    let Some(bed) = Bed::with_redis(&redis.address()).await else { return };
    for store in [true, false] {
        let turn = bed.one.chat(Ask { store, ..ask("a", "x") }).await.end().await;
        assert_eq!(turn.status, TurnStatus::Completed);
    }
    let keys = redis.cli(&["--scan", "--pattern", "*turn:*"]).await;
    for key in keys.lines() {
        let left: i64 = redis.cli(&["PTTL", key]).await.parse().unwrap();
        assert!((-2..=60_000).contains(&left) && left != -1, "{key} stays for {left} ms");
    }
    let gone = async {
        while !redis.cli(&["--scan", "--pattern", "*turn:*"]).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::smoke::program::PATIENCE, gone).await.expect("they vanish");
    bed.finish().await;
}

#[tokio::test]
async fn a_turn_ends_with_its_last_reader_wherever_that_is() {
    let Some(bed) = bed().await else { return };
    for replica in [&bed.one, &bed.two] {
        let settings = replica.engine.settings().as_ref().clone();
        replica
            .engine
            .set_settings(engine::Settings { on_disconnect: engine::OnDisconnect::Cancel, ..settings });
    }
    let me = caller("t");
    let watched = async |id, expected| {
        let live = bed.one.cluster.get().unwrap().running();
        let waiting = async {
            while live.is_watched(id).await != expected {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(crate::smoke::program::PATIENCE, waiting).await.expect("it is told");
    };

    // The one who asked leaves, and another goes on reading elsewhere: so does the turn.
    let (here, gates) = bed.one.running().await;
    let id = here.turn_id();
    let mut there = bed.two.engine.events(&me, id, 0).await.unwrap().unwrap();
    watched(id, true).await;
    drop(here);
    gates.iter().for_each(Gate::open);
    assert_eq!(there.end().await.status, TurnStatus::Completed);

    // Once that one leaves, too, the turn ends.
    let (here, _gates) = bed.one.running().await;
    let id = here.turn_id();
    let there = bed.two.engine.events(&me, id, 0).await.unwrap().unwrap();
    watched(id, true).await;
    drop(here);
    drop(there);
    watched(id, false).await;
    let ended = async {
        while !bed.one.engine.turn(&me, id).await.unwrap().status.is_end() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::smoke::program::PATIENCE, ended).await.expect("it ends");
    assert_eq!(bed.one.engine.turn(&me, id).await.unwrap().status, TurnStatus::Cancelled);
    bed.finish().await;
}

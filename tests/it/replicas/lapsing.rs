//! Gateways that are taken for dead, and those that leave.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chat::{ConversationStore, ErrorCode, Maintenance, TurnStatus, UsageRange};
use futures_util::future::join_all;

use super::{Bed, kept};
use crate::kit::{ask, caller, fold, kinds, read_all};
use crate::store::bed::{Bed as Database, new_conversation, turn};

#[tokio::test]
async fn who_was_taken_for_dead_cannot_write_over_its_successor() {
    let Some(bed) = Bed::new().await else { return };
    let (mut here, gates) = bed.one.running().await;
    let (me, id) = (caller("t"), here.turn_id());
    kept(&bed.two.store, id, "one ").await;
    let mut there = bed.two.engine.events(&me, id, 2).await.unwrap().unwrap();
    bed.one.silent.store(true, Ordering::SeqCst);
    // The other settles the turn; who reads it there is told.
    let told = read_all(&mut there).await;
    assert_eq!(kinds(&told), ["=one ", "incomplete"]);
    assert!(told[0].0 > 1_000_000, "above all numbers that can have been given out");
    let settled = bed.two.store.turn(&me.tenant, id).await.unwrap();
    assert_eq!(settled.turn.error.as_ref().unwrap().code, ErrorCode::Internal);
    // The turn goes on where it ran, says more, and ends: that is refused, and its readers get the end that stands.
    gates.iter().for_each(crate::kit::Gate::open);
    let end = here.end().await;
    assert_eq!(end.as_ref(), &settled.turn);
    let mut again = bed.one.engine.events(&me, id, 0).await.unwrap().unwrap();
    assert_eq!(fold(&read_all(&mut again).await).text, "one ");
    let after = bed.two.store.turn(&me.tenant, id).await.unwrap();
    assert_eq!((after.turn, after.log), (settled.turn, settled.log), "not a word of it changed");
    // It joins anew, and its next turn is as good as any.
    bed.one.silent.store(false, Ordering::SeqCst);
    let next = bed.one.chat(ask("a", "again")).await.end().await;
    assert_eq!(next.status, TurnStatus::Completed);
    assert_eq!(bed.two.store.turn(&me.tenant, next.id).await.unwrap().turn, *next);
    // Each call that was made is in the ledger once, the one of the fenced turn as well.
    let turns = bed.two.engine.usage(&me, UsageRange::default()).await.unwrap();
    assert_eq!(turns.iter().map(|sum| sum.turns).sum::<u64>(), 2, "{turns:?}");
    bed.finish().await;
}

#[tokio::test]
async fn a_store_that_is_away_makes_nobody_seem_dead() {
    let Some(bed) = Bed::new().await else { return };
    let (mut here, gates) = bed.one.running().await;
    kept(&bed.two.store, here.turn_id(), "one ").await;
    let before = living(&bed).await;
    // Both are unheard of for longer than it takes to be gone, and then go on.
    for silent in [true, false] {
        for replica in [&bed.one, &bed.two] {
            replica.silent.store(silent, Ordering::SeqCst);
        }
        tokio::join!(bed.one.beat_on(), bed.two.beat_on());
    }
    gates.iter().for_each(crate::kit::Gate::open);
    assert_eq!(here.end().await.status, TurnStatus::Completed);
    assert_eq!(living(&bed).await, before);
    bed.finish().await;
}

/// The names of the processes on the list.
async fn living(bed: &Bed) -> Vec<String> {
    let mut connection =
        <sqlx::PgConnection as sqlx::Connection>::connect(&bed.database.config.url).await.unwrap();
    sqlx::query_scalar("SELECT owner FROM processes ORDER BY owner").fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn who_leaves_is_off_the_list_and_leaves_nothing() {
    let Some(bed) = Bed::new().await else { return };
    let (mut here, _gates) = bed.one.running().await;
    assert_eq!(living(&bed).await.len(), 2);
    bed.one.engine.finish(Duration::ZERO).await;
    assert_eq!(living(&bed).await.len(), 1);
    let end = here.end().await;
    assert_eq!(end.error.as_ref().unwrap().code, ErrorCode::Draining);
    assert_eq!(bed.two.engine.turn(&caller("t"), end.id).await.unwrap(), end);
    assert!(bed.two.store.open_turns(None).await.unwrap().is_empty());
    bed.finish().await;
}

#[tokio::test]
async fn who_leaves_waits_for_turns_that_are_read_there() {
    let Some(bed) = Bed::new().await else { return };
    let (here, gates) = bed.one.running().await;
    let mut there = bed.two.engine.events(&caller("t"), here.turn_id(), 0).await.unwrap().unwrap();
    let reading = async {
        let events = read_all(&mut there).await;
        assert_eq!(fold(&events).text, "one two three");
    };
    let leaving = async {
        gates[0].open();
        kept(&bed.two.store, here.turn_id(), "one two ").await;
        let finish = bed.two.engine.finish(Duration::from_secs(60));
        tokio::join!(finish, async { gates[1].open() });
    };
    tokio::join!(reading, leaving);
    bed.finish().await;
}

/// The turns of one that is gone go to one of those that want them, each once.
#[tokio::test]
async fn of_many_survivors_one_takes_over() {
    let Some(bed) = Database::postgres().await else { return };
    let tokens: Vec<u64> = join_all(["dead", "left", "alive"].map(|name| bed.store.join(name)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(tokens.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    for (number, owner) in ["dead", "dead", "left", "alive"].into_iter().enumerate() {
        let target = chat::TurnTarget::New(Box::new(new_conversation(number as i64)));
        let mut new = turn(target, "hello", number as i64);
        new.owner = owner.into();
        bed.accept(new).await.unwrap();
    }
    bed.store.leave("left").await.unwrap();
    let roll = bed.store.renew("alive").await.unwrap();
    let dead: Vec<_> = roll.others.into_iter().filter(|peer| peer.owner == "dead").collect();
    assert_eq!(dead.len(), 1);
    // One that has said something since is alive: its turns stay its own. What has left is anybody's.
    bed.store.renew("dead").await.unwrap();
    assert_eq!(bed.store.take_over("alive", dead).await.unwrap(), 1);
    let dead: Vec<_> = bed.store.renew("alive").await.unwrap().others;
    let survivors: Vec<String> = (0..20).map(|number| format!("survivor-{number}")).collect();
    for name in &survivors {
        bed.store.join(name).await.unwrap();
    }
    let all = survivors.iter().map(|name| bed.store.take_over(name, dead.clone()));
    let taken: Vec<u64> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(taken.iter().sum::<u64>(), 2, "{taken:?}");
    assert!(matches!(bed.store.renew("dead").await, Err(chat::StoreError::Fenced)));
    assert_eq!(bed.store.open_turns(Some("alive")).await.unwrap().len(), 2);
    assert!(bed.store.open_turns(Some("dead")).await.unwrap().is_empty());
    // A name that was fenced can come back as a new process alone: under a higher token.
    assert!(bed.store.join("dead").await.unwrap() > *tokens.iter().max().unwrap());
    bed.finish().await;
}

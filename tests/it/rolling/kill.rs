//! One of two is killed under load: what it ran is settled by the other, and a repeat there is the settled turn.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use super::{Clients, Stage, Told, streams};
use crate::crash::stream::{joined, text_of};

/// About eight seconds for a turn: longer than it takes to be settled.
const PAUSE_MS: u32 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_gateway_ran_is_settled_by_the_other() {
    let Some(mut stage) = Stage::open(PAUSE_MS).await else { return };
    let clients = Clients::new(stage.nginx.client.clone(), 0);
    // One turn each.
    clients.enough.store(true, Ordering::SeqCst);
    let all = join_all((0..streams()).map(|number| clients.ask_on_and_on(number)));
    let killing = async {
        clients.begun.subscribe().wait_for(|begun| *begun >= streams()).await.unwrap();
        let at = Instant::now();
        stage.gateways[0].kill().await;
        at
    };
    let (told, killed) = tokio::join!(all, killing);
    let told: Vec<Told> = told.into_iter().flatten().collect();
    let (whole, settled): (Vec<_>, Vec<_>) =
        told.iter().partition(|told| told.turn()["status"] == "completed");
    for told in &whole {
        told.check_whole();
    }
    let slowest = settled.iter().map(|told| told.events.last().unwrap().at - killed).max();
    eprintln!(
        "{} turns of {} were settled; the last reader was told {slowest:?} after the kill, {} streams broke off",
        settled.len(),
        told.len(),
        clients.broken.load(Ordering::SeqCst)
    );
    assert!(slowest.expect("it ran some") < Duration::from_secs(60));
    for told in &settled {
        let turn = told.turn();
        // What was said in the last second may not have been kept.
        let expected = if text_of(turn).is_empty() { "failed" } else { "incomplete" };
        assert_eq!(turn["status"], expected, "{turn:#}");
        assert_eq!(joined(&told.events), text_of(turn));
        assert!(told.events.windows(2).all(|two| two[0].id < two[1].id), "no number stands for two events");
    }
    // The same request is the same turn: that of the dead gateway, at the other.
    let again = told.iter().map(|told| async {
        let repeat = clients.begin(told).await.rest().await;
        assert_eq!(repeat.last().unwrap().raw, told.events.last().unwrap().raw);
    });
    stream::iter(again).buffer_unordered(16).collect::<Vec<()>>().await;
    stage.check_books(&told).await;
    stage.finish([1]).await;
}

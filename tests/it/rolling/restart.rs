//! Both gateways are restarted, one after the other, in the middle of everything.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use super::{Clients, Stage, Told, streams};

/// About four seconds for a turn.
const PAUSE_MS: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing_and_doubles_nothing() {
    let Some(mut stage) = Stage::open(PAUSE_MS).await else { return };
    let clients = Clients::new(stage.nginx.client.clone(), 15);
    let all = join_all((0..streams()).map(|number| clients.ask_on_and_on(number)));
    let restarting = async {
        // Twice as many turns as there are clients, so that all are in the middle of something.
        for which in [0, 1] {
            let so_far = *clients.begun.borrow();
            clients.begun.subscribe().wait_for(|begun| *begun >= so_far + streams()).await.unwrap();
            eprintln!("gateway {which} was restarted, and took {:?} to leave", stage.restart(which).await);
        }
        clients.enough.store(true, Ordering::SeqCst);
    };
    let (told, ()) = tokio::join!(all, restarting);
    let told: Vec<Told> = told.into_iter().flatten().collect();
    let count = |number: &std::sync::atomic::AtomicUsize| number.load(Ordering::SeqCst);
    eprintln!(
        "{} turns by {} clients: {} refused as draining and repeated, {} connections given up, {} streams broken off, {} answered by nginx",
        told.len(),
        streams(),
        count(&clients.refused),
        count(&clients.dropped),
        count(&clients.broken),
        count(&clients.unanswered),
    );
    assert!(told.len() >= 2 * streams(), "turns on both sides of a restart");
    assert!(count(&clients.dropped) > 0, "or nothing was tried");
    for told in &told {
        told.check_whole();
    }
    // Whoever reads it now is told the same, to the byte.
    let again = told.iter().map(|told| async {
        let now = clients.read(told.id(), 0).await.rest().await;
        let raw = |events: &[crate::crash::stream::Event]| -> String {
            events.iter().map(|event| event.raw.as_str()).collect()
        };
        assert_eq!(raw(&now), raw(&told.events));
    });
    stream::iter(again).buffer_unordered(16).collect::<Vec<()>>().await;
    stage.check_books(&told).await;
    stage.finish([0, 1]).await;
}

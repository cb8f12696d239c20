//! Two gateways, one Redis: what they count is exact.

use std::sync::Arc;
use std::time::Duration;

use chat::{Hit, KeyId, Pot, Rate, Spent, Unit};
use cluster::Config;
use futures_util::future::join_all;

use super::{Member, config, room, today, tokens, used};
use crate::kit::redis;
use crate::smoke::program::PATIENCE;

async fn pair(change: impl FnOnce(&mut Config)) -> Option<[Member; 2]> {
    let mut config = config(&redis::shared()?);
    change(&mut config);
    Some([Member::join(&config).await, Member::join(&config).await])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_let_through_once_whoever_is_asked() {
    let Some(members) = pair(|_| {}).await else { return };
    let (key, rate) = (KeyId::new(), Rate { per_minute: 1, burst: 50 });
    let asked = (0..200).map(|number: usize| members[number % 2].limits.request(key, rate));
    let states: Vec<_> = join_all(asked).await.into_iter().map(Option::unwrap).collect();
    let mut through: Vec<_> =
        states.iter().filter(|state| state.wait.is_none()).map(|state| state.remaining).collect();
    through.sort_unstable();
    assert_eq!(through, (0..50).collect::<Vec<_>>(), "each is told how many are left, none twice");
    for refused in states.iter().filter_map(|state| state.wait) {
        assert!(refused > Duration::from_secs(30) && refused <= Duration::from_secs(60), "{refused:?}");
    }
    // Another key has its own.
    assert_eq!(members[0].limits.request(KeyId::new(), rate).await.unwrap().remaining, 49);
}

#[tokio::test]
async fn requests_come_back_with_time() {
    let Some([one, other]) = pair(|_| {}).await else { return };
    let (key, rate) = (KeyId::new(), Rate { per_minute: 6_000, burst: 1 });
    assert_eq!(one.limits.request(key, rate).await.unwrap().wait, None);
    let waiting = async {
        while other.limits.request(key, rate).await.unwrap().wait.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("a hundredth of a second is enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_at_once_are_counted_over_all() {
    let Some(members) = pair(|_| {}).await else { return };
    let key = KeyId::new();
    let rooms: Vec<_> = (0..100).map(|_| room(key, Some(10), Vec::new(), 0)).collect();
    let asked = rooms.iter().enumerate().map(|(number, room)| members[number % 2].limits.admit(room));
    let told: Vec<_> = join_all(asked).await.into_iter().map(Option::unwrap).collect();
    let of = |number: usize| told[number].hit;
    let let_in: Vec<_> = (0..100).filter(|number| of(*number).is_none()).collect();
    assert_eq!(let_in.len(), 10);
    assert!((0..100).all(|number| matches!(of(number), None | Some(Hit::Turns))));
    // One ends here: there is room for one there.
    members[let_in[0] % 2].limits.settle(&rooms[let_in[0]], Vec::new());
    let there = &members[(let_in[0] + 1) % 2];
    there.sees(&rooms[0], 9).await;
    let (next, after) = (room(key, Some(10), Vec::new(), 0), room(key, Some(10), Vec::new(), 0));
    assert_eq!(there.limits.admit(&next).await.unwrap().hit, None);
    assert_eq!(there.limits.admit(&after).await.unwrap().hit, Some(Hit::Turns));
    // One that did not come about gives its place back, too.
    there.limits.release(&next);
    there.sees(&after, 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_spent_once_by_all_together() {
    let Some(members) = pair(|_| {}).await else { return };
    let key = KeyId::new();
    for member in &members {
        member.ledger.set_spent(500);
    }
    let rooms: Vec<_> = (0..60).map(|_| room(key, None, vec![tokens(1000)], 100)).collect();
    let asked = rooms.iter().enumerate().map(|(number, room)| members[number % 2].limits.admit(room));
    let told: Vec<_> = join_all(asked).await.into_iter().map(Option::unwrap).collect();
    let let_in: Vec<_> = (0..60).filter(|number| told[*number].hit.is_none()).collect();
    assert_eq!(let_in.len(), 5, "500 are spent, and 5 reserves of 100 fit beside them");
    assert!(told.iter().all(|admission| matches!(admission.hit, None | Some(Hit::SetAside(0)))));
    // They cost less than was set aside for them: 500 + 5 * 40 are spent.
    for number in &let_in {
        members[number % 2].limits.settle(&rooms[*number], vec![used(40)]);
    }
    members[0].sees_taken(&rooms[0], &[700]).await;
    let large = room(key, None, vec![tokens(1000)], 301);
    assert_eq!(members[1].limits.admit(&large).await.unwrap().hit, Some(Hit::Pot(0)));
    let again = rooms.iter().map(|room| members[1].limits.admit(room));
    let again = join_all(again).await;
    assert_eq!(again.iter().filter(|told| told.as_ref().unwrap().hit.is_none()).count(), 3);
    members[0].sees_taken(&rooms[0], &[1000]).await;
}

#[tokio::test]
async fn money_is_counted_to_the_billionth_and_by_currency() {
    let Some([one, other]) = pair(|_| {}).await else { return };
    let key = KeyId::new();
    let pot = |currency: &str| Pot {
        span: today(),
        unit: Unit::Money(currency.to_owned()),
        limit: 90_000_000_000_000_001,
    };
    let with = |currency: &str| room(key, None, vec![pot(currency)], 0);
    let spent = |amount| Spent { span: today(), unit: Unit::Money("RUB".to_owned()), amount };
    for cost in [45_000_000_000_000_000, 45_000_000_000_000_000] {
        let turn = with("RUB");
        assert_eq!(one.limits.admit(&turn).await.unwrap().hit, None);
        one.limits.settle(&turn, vec![spent(cost)]);
    }
    // More than a double could tell from its neighbours.
    other.sees_taken(&with("RUB"), &[90_000_000_000_000_000]).await;
    let turn = with("USD");
    assert_eq!(other.limits.admit(&turn).await.unwrap().taken.pots, [0]);
}

#[tokio::test]
async fn limits_that_are_not_enforced_are_counted_and_told() {
    let Some([one, other]) = pair(|_| {}).await else { return };
    let key = KeyId::new();
    let rooms: Vec<_> =
        (0..3).map(|_| chat::Room { enforced: false, ..room(key, Some(1), vec![tokens(10)], 10) }).collect();
    assert_eq!(one.limits.admit(&rooms[0]).await.unwrap().hit, None);
    let second = other.limits.admit(&rooms[1]).await.unwrap();
    assert_eq!((second.hit, second.taken.turns), (Some(Hit::Turns), 2));
    assert_eq!(second.taken.pots, [20]);
}

#[tokio::test]
async fn places_of_a_gateway_that_died_lapse_and_those_of_one_that_lives_do_not() {
    let lease = Duration::from_millis(400);
    let Some([one, other]) = pair(|config| config.lease = lease).await else { return };
    let key = KeyId::new();
    let turn = || room(key, Some(2), vec![tokens(100)], 30);
    let (dies, lives) = (turn(), turn());
    assert_eq!(one.limits.admit(&dies).await.unwrap().hit, None);
    assert_eq!(other.limits.admit(&lives).await.unwrap().hit, None);
    assert_eq!(other.limits.admit(&turn()).await.unwrap().hit, Some(Hit::Turns));
    one.cluster.close();
    other.sees(&lives, 1).await;
    other.sees_taken(&lives, &[30]).await;
    // Many times as long as a lease holds, its place is still there: it is renewed.
    let begun = std::time::Instant::now();
    while begun.elapsed() < lease * 3 {
        assert_eq!(other.limits.look(&lives).await.unwrap().turns, 1);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_the_ledger_learns_elsewhere_is_asked_for_again() {
    let reread = Duration::from_millis(200);
    let Some([one, other]) = pair(|config| config.reread = reread).await else { return };
    let turn = room(KeyId::new(), None, vec![tokens(1000)], 0);
    one.ledger.set_spent(10);
    other.ledger.set_spent(10);
    assert_eq!(one.limits.admit(&turn).await.unwrap().taken.pots, [10]);
    // A gateway that died had spent more than it could tell.
    other.ledger.set_spent(70);
    one.ledger.set_spent(70);
    other.sees_taken(&turn, &[70]).await;
    // What was told but is not in the ledger yet is not forgotten over it.
    one.limits.settle(&turn, vec![used(5)]);
    other.sees_taken(&turn, &[75]).await;
}

#[tokio::test]
async fn a_ledger_that_is_down_takes_nothing_from_what_is_known() {
    let Some([one, other]) = pair(|_| {}).await else { return };
    let key = KeyId::new();
    let turn = || room(key, None, vec![tokens(100)], 60);
    one.ledger.set_spent(30);
    assert_eq!(one.limits.admit(&turn()).await.unwrap().hit, None);
    other.ledger.down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(other.limits.admit(&turn()).await.unwrap().hit, Some(Hit::SetAside(0)));
}

#[tokio::test]
async fn tls_a_password_and_an_authority_of_its_own() {
    let Some(_) = redis::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (file("cert.pem", cert.pem()), file("key.pem", signing_key.serialize_pem()));
    let options =
        ["--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no", "--requirepass", "hunter22"];
    let tls = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &certificate];
    let redis = redis::Redis::with(&[&options[..], &tls[..]].concat()).await.unwrap();
    let mut config = config("");
    config.url = format!("rediss://:hunter22@localhost:{}", redis.port).into();
    config.ca_file = Some(certificate.into());
    let member = Member::join(&config).await;
    let state = member.limits.request(KeyId::new(), Rate { per_minute: 10, burst: 3 }).await;
    assert_eq!(state.unwrap().remaining, 2);
    let shown = format!("{:?} {:?} {config:?}", member.cluster, Arc::clone(&member.limits));
    assert!(!shown.contains("hunter22"), "{shown}");
}

#[tokio::test]
async fn hints_reach_the_others_and_not_oneself() {
    let Some([one, other]) = pair(|_| {}).await else { return };
    let (heard, mut by_one) = tokio::sync::mpsc::unbounded_channel();
    let here = one.cluster.hints(move |hint| heard.send(hint).unwrap());
    let (heard, mut by_other) = tokio::sync::mpsc::unbounded_channel();
    let there = other.cluster.hints(move |hint| heard.send(hint).unwrap());
    let hint = |provider: &str| cluster::Hint {
        provider: provider.to_owned(),
        kind: cluster::HintKind::Failing,
        lasts: Duration::from_secs(15),
    };
    // Until both have subscribed hints are lost, as they may be.
    let meeting = async {
        loop {
            here.tell(hint("here"));
            there.tell(hint("there"));
            if let (Ok(first), Ok(second)) = (by_one.try_recv(), by_other.try_recv()) {
                return (first, second);
            }
            tokio::task::yield_now().await;
        }
    };
    let (first, second) = tokio::time::timeout(PATIENCE, meeting).await.expect("they hear each other");
    assert_eq!((first, second), (hint("there"), hint("here")));
    while let Ok(heard) = by_one.try_recv() {
        assert_eq!(heard, hint("there"));
    }
}

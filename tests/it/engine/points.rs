//! Fault points: the process ends, or the store fails, before and after every single call between acceptance and end.

use std::collections::HashMap;
use std::sync::Arc;

use chat::{
    ConversationId, ConversationStore, ErrorCode, Failure, Maintenance, Message, PageRequest, Piece, Role,
    Turn, TurnStatus, WhenBusy,
};
use engine::{Ask, PutMessage, Reader, Refused};

use super::faulty::{Faulty, Point, When, Wrong};
use crate::kit::{Act, Gate, Kit, Options, Scripted, ask, caller, idempotency, text};

/// The calls that a turn's way through the store is made of.
const OPERATIONS: [&str; 9] = [
    "repeat_of",
    "conversation",
    "accept_turn",
    "begin_turn",
    "checkpoint",
    "end_turn",
    "put_message",
    "note_unstored",
    "free_unstored",
];
/// More calls of one operation than the scene has.
const NUMBER_MAX: usize = 20;

/// What happened in the scene, as far as anybody was told.
#[derive(Default)]
struct Told {
    /// Turns that were accepted, by what was said.
    accepted: Vec<(&'static str, Reader)>,
    refused: Vec<(&'static str, Refused)>,
    ended: Vec<Arc<Turn>>,
    conversation: Option<ConversationId>,
}

/// A kit whose store goes wrong at these points.
async fn kit(points: &[Point]) -> (Kit, Arc<Faulty>) {
    let mut faulty = None;
    let kit = Kit::wrapped(
        Options::default(),
        [Scripted::threads(), Scripted::replay(), Scripted::replay()],
        |store| Arc::clone(faulty.insert(Arc::new(Faulty::new(store, points)))) as Arc<dyn ConversationStore>,
    )
    .await;
    (kit, faulty.unwrap())
}

/// A turn that is retried upstream, checkpointed and spoken to the end; one that waits for it; a message put in; one that fails
/// without effect; one that is moved to another assistant; one that is not kept and fails. Ends early at a crash.
async fn scene(kit: &Kit, faulty: &Faulty, told: &mut Told) {
    let me = caller("t");
    let gate = Gate::new();
    let first = vec![
        Act::Retried(Failure::Failed),
        Act::Give(Piece::Text("one ".into())),
        Act::Wait(gate.clone()),
        Act::Give(Piece::Text("two".into())),
        Act::Give(Piece::End(None)),
    ];
    kit.a().plays(first);
    accept(kit, told, "first", Ask { idempotency: idempotency("first", 1), ..ask("a", "first") }).await;
    if let Some((_, reader)) = told.accepted.first_mut() {
        let turn = kit.engine.turn(&me, reader.turn_id()).await.unwrap();
        told.conversation = turn.conversation_id;
    }
    let here = |ask: Ask| Ask { conversation_id: told.conversation, ..ask };
    let (second, third) = (here(ask("a", "second")), here(ask("b", "third")));
    accept(kit, told, "second", Ask { when_busy: Some(WhenBusy::Queue), ..second }).await;
    if let Some(conversation) = told.conversation {
        let put = PutMessage { role: Role::Operator, author: None, text: "put in".into() };
        // Whether it was put in is not what this is about.
        let _ = kit.engine.put_message(&me, conversation, put, None).await;
        faulty.checkpoints.subscribe().wait_for(|count| *count > 0).await.unwrap();
    }
    gate.open();
    for (_, reader) in &mut told.accepted {
        told.ended.push(reader.end().await);
    }
    kit.b().plays(vec![Act::Refuse(Failure::Busy { retry_after: None }.into())]);
    accept(kit, told, "third", Ask { idempotency: idempotency("third", 1), ..third }).await;
    kit.b().plays(vec![Act::Refuse(Failure::Busy { retry_after: None }.into())]);
    let unstored = Ask { store: false, idempotency: idempotency("unstored", 1), ..ask("b", "unstored") };
    accept(kit, told, "unstored", unstored).await;
    let done = told.ended.len();
    for (_, reader) in told.accepted.iter_mut().skip(done) {
        told.ended.push(reader.end().await);
    }
}

async fn accept(kit: &Kit, told: &mut Told, name: &'static str, ask: Ask) {
    match kit.engine.chat(&caller("t"), ask).await {
        Ok(reader) => told.accepted.push((name, reader)),
        Err(refused) => told.refused.push((name, refused)),
    }
}

/// How many attempts were sent for each turn, and how many the ledger has.
fn calls(kit: &Kit) -> (HashMap<String, usize>, HashMap<String, usize>) {
    let mut made = HashMap::new();
    for provider in &kit.providers {
        for turn in provider.sent.lock().unwrap().iter() {
            *made.entry(turn.uuid().simple().to_string()).or_default() += 1;
        }
    }
    let connection = rusqlite::Connection::open(kit.folder.path().join("test.db")).unwrap();
    let mut rows = connection.prepare("SELECT lower(hex(turn_id)) FROM ledger").unwrap();
    let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut kept = HashMap::new();
    for turn in rows.map(Result::unwrap) {
        *kept.entry(turn).or_default() += 1;
    }
    (made, kept)
}

async fn messages(kit: &Kit, conversation: ConversationId) -> Vec<Message> {
    let page = PageRequest { limit: 100, cursor: None };
    let messages = kit.engine.messages(&caller("t"), conversation, false, page).await.unwrap().items;
    assert!(messages.windows(2).all(|two| two[0].position < two[1].position));
    messages
}

/// Whatever went wrong: nothing that was accepted is lost, nothing runs for ever, and the conversation goes on.
async fn check(kit: &Kit, told: &Told, why: &str) {
    let me = caller("t");
    for (name, reader) in told.accepted.iter().filter(|(name, _)| *name != "unstored") {
        let turn = kit
            .engine
            .turn(&me, reader.turn_id())
            .await
            .unwrap_or_else(|error| panic!("{why}: {name}: {error}"));
        assert!(turn.status.is_end(), "{why}: {name} is {}", turn.status.as_str());
        let said = messages(kit, turn.conversation_id.unwrap()).await;
        let asked = |one: &&Message| one.turn_id == Some(turn.id) && one.role == Role::User;
        let asked: Vec<_> = said.iter().filter(asked).map(|one| one.content.text()).collect();
        assert_eq!(asked, [*name], "{why}");
        let reply =
            turn.message.as_ref().map(|message| message.content.text().into_owned()).unwrap_or_default();
        assert!(["one two", "ok"].iter().any(|text| text.starts_with(&reply)), "{why}: {name}: {reply:?}");
        let mut again = kit.engine.events(&me, turn.id, 0).await.unwrap().unwrap();
        assert_eq!(crate::kit::fold(&crate::kit::read_all(&mut again).await).text, reply, "{why}: {name}");
    }
    for turn in told.ended.iter().filter(|turn| turn.conversation_id.is_some()) {
        let kept = kit.engine.turn(&me, turn.id).await.unwrap();
        assert_eq!(kept.as_ref(), turn.as_ref(), "{why}: an end that was told stands");
    }
    for (name, refused) in &told.refused {
        assert_eq!(refused.error.code, ErrorCode::StoreUnavailable, "{why}: {name}: {refused}");
    }
    if let Some(conversation) = told.conversation {
        kit.c().plays(text(&["next"]));
        // Behind whatever the store may have of a turn that was refused.
        let queue = Some(WhenBusy::Queue);
        let next = Ask { conversation_id: Some(conversation), when_busy: queue, ..ask("c", "next") };
        let next = kit.turn(next).await;
        assert_eq!(next.status, TurnStatus::Completed, "{why}");
        let said = messages(kit, conversation).await;
        let end: Vec<_> = said.iter().rev().take(2).map(|one| one.content.text()).collect();
        assert_eq!(end, ["next", "next"], "{why}");
    }
    while !kit.store.open_turns(None).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Plays `scene` with the fault at every call of every operation that it makes; says how many there were.
async fn at_every_point(wrong: Wrong, scene: impl AsyncFn(Point) -> bool) -> usize {
    let mut reached = 0;
    for operation in OPERATIONS {
        for number in 1..=NUMBER_MAX {
            let before = reached;
            for when in [When::Before, When::After] {
                reached += usize::from(scene(Point { operation, number, when, wrong }).await);
            }
            if reached == before {
                break;
            }
        }
    }
    reached
}

#[tokio::test]
async fn a_crash_at_any_point_is_settled_at_the_next_start() {
    let crashes = at_every_point(Wrong::Crash, async |point| {
        let (kit, faulty) = kit(&[point]).await;
        let mut told = Told::default();
        let crashed = tokio::select! {
            biased;
            () = faulty.crashed.cancelled() => true,
            () = scene(&kit, &faulty, &mut told) => false,
        };
        let why = format!("{point:?}");
        let (made, _) = calls(&kit);
        let kit = kit.killed_and_restarted().await;
        check(&kit, &told, &why).await;
        let (_, kept) = calls(&kit);
        for (name, turn) in stored(&told) {
            let (made, kept) = (made.get(&turn).copied().unwrap_or(0), kept.get(&turn).copied().unwrap_or(0));
            // What is noted is noted before it is sent: a call that was about to be made is in the ledger as well.
            let most = if name == "first" { 2 } else { 1 };
            assert!((made..=most).contains(&kept), "{why}: {name}: {made} calls, {kept} rows");
        }
        crashed
    });
    assert!(crashes.await > 20);
}

#[tokio::test]
async fn a_failure_at_any_point_passes_without_a_restart() {
    let failures = at_every_point(Wrong::Once, async |point| {
        let (kit, faulty) = kit(&[point]).await;
        let mut told = Told::default();
        scene(&kit, &faulty, &mut told).await;
        let reached = faulty.disarm();
        let why = format!("{point:?}");
        check(&kit, &told, &why).await;
        let (made, kept) = calls(&kit);
        for (name, turn) in stored(&told) {
            let (made, kept) = (made.get(&turn).copied().unwrap_or(0), kept.get(&turn).copied().unwrap_or(0));
            assert_eq!(made, kept, "{why}: {name}");
        }
        // Keys of what was refused, or failed without effect, are free: the same request is a new turn.
        for (name, (assistant, kept)) in [("third", ("b", true)), ("unstored", ("b", false))] {
            let conversation = told.conversation.filter(|_| kept);
            let same = || Ask {
                store: kept,
                conversation_id: conversation,
                idempotency: idempotency(name, 1),
                when_busy: Some(WhenBusy::Queue),
                ..ask(assistant, name)
            };
            let turn = loop {
                match kit.engine.chat(&caller("t"), same()).await {
                    Ok(mut reader) => {
                        let turn = reader.end().await;
                        // A key is freed a moment after the failure was told.
                        if turn.status == TurnStatus::Completed {
                            break turn;
                        }
                    }
                    Err(refused) => assert_eq!(refused.error.code, ErrorCode::ReplyNotKept, "{why}: {name}"),
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(turn.message.as_ref().unwrap().content.text(), "ok", "{why}: {name}");
        }
        let kit = kit.killed_and_restarted().await;
        check(&kit, &told, &why).await;
        reached
    });
    assert!(failures.await > 20);
}

#[tokio::test]
async fn a_checkpoint_that_nobody_was_told_of_is_not_kept_twice() {
    let lost = Point { operation: "checkpoint", number: 1, when: When::After, wrong: Wrong::Once };
    let (kit, faulty) = kit(&[lost]).await;
    let (gate, me) = (Gate::new(), caller("t"));
    let piece = |text: &str| Act::Give(Piece::Text(text.to_owned()));
    kit.a().plays(vec![piece("on"), Act::Wait(gate.clone()), piece("ce"), Act::Hang]);
    let reader = kit.engine.chat(&me, ask("a", "first")).await.unwrap();
    faulty.checkpoints.subscribe().wait_for(|count| *count == 1).await.unwrap();
    gate.open();
    let kept = async |kit: &Kit| {
        let turn = kit.store.turn(&me.tenant, reader.turn_id()).await.unwrap().turn;
        turn.message.map(|message| message.content.text().into_owned()).unwrap_or_default()
    };
    while !kept(&kit).await.ends_with("ce") {
        tokio::task::yield_now().await;
    }
    let kit = kit.killed_and_restarted().await;
    assert_eq!(kept(&kit).await, "once");
}

/// The turns that were accepted to be kept, by the ids that their rows have.
fn stored(told: &Told) -> Vec<(&'static str, String)> {
    let kept = told.accepted.iter().filter(|(name, _)| *name != "unstored");
    kept.map(|(name, reader)| (*name, reader.turn_id().uuid().simple().to_string())).collect()
}
